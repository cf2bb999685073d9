"""PSNR, its colour-corrected kin, and SSIM: closed forms and laws."""

import math

import pytest
import torch

from neural3d.metrics import fit_colors, psnr, psnr_color_corrected, ssim, ssim_map
from neural3d.reference import photometric


@pytest.fixture
def photo() -> torch.Tensor:
    return torch.rand(20, 30, 3) * 0.6 + 0.2


@pytest.fixture
def valid() -> torch.Tensor:
    mask = torch.zeros(20, 30, dtype=torch.bool)
    mask[4:15, 3:25] = True
    return mask


def test_psnr_of_a_known_error(photo):
    assert psnr(photo + 0.1, photo) == pytest.approx(20.0, abs=1e-4)
    assert psnr(photo, photo) == math.inf


def test_psnr_clamps_the_image_as_a_screen_does():
    white = torch.ones(4, 4, 3)
    assert psnr(white * 7, white) == math.inf


def test_only_valid_pixels_count(photo, valid):
    damaged = torch.where(valid[..., None], photo + 0.1, 1 - photo)
    assert psnr(damaged, photo, valid) == pytest.approx(20.0, abs=1e-4)
    assert ssim(torch.where(valid[..., None], photo, 1 - photo), photo, valid) == pytest.approx(1.0, abs=1e-9)
    assert psnr_color_corrected(damaged, photo, valid) > 60


def test_nothing_valid_is_an_error(photo):
    nothing = torch.zeros(20, 30, dtype=torch.bool)
    for metric in (psnr, ssim):
        with pytest.raises(ValueError, match="no pixel"):
            metric(photo, photo, nothing)


def test_an_affine_change_of_colours_is_forgiven(photo):
    matrix = torch.tensor([[0.8, 0.1, 0.0], [0.05, 0.7, 0.1], [0.0, 0.1, 0.9]])
    exposed = photo @ matrix + torch.tensor([0.05, 0.0, -0.02])
    assert psnr(exposed, photo) < 30
    assert psnr_color_corrected(exposed, photo) > 90


def test_the_fit_is_the_least_squares_one(photo):
    image = (photo + 0.2 * torch.rand_like(photo)).clamp(0, 1)
    best = (fit_colors(image, photo) - photo).square().sum()
    residual = (fit_colors(image, photo) - photo).flatten(0, 1).double()
    rows = torch.cat([image.flatten(0, 1), torch.ones(600, 1)], dim=-1).double()
    assert (rows.T @ residual).abs().max() < 1e-4, "the residual is orthogonal to every colour channel and to 1"
    assert best <= (image - photo).square().sum()


def test_one_flat_colour_can_be_fitted(photo):
    fitted = fit_colors(torch.full_like(photo, 0.5), photo)
    assert torch.allclose(fitted, photo.mean((0, 1)).expand_as(photo), atol=1e-5)


def test_ssim_equals_the_reference_twin(photo):
    image = (photo + 0.1 * torch.randn_like(photo)).clamp(0, 1)
    twin = photometric.ssim_map(image.movedim(-1, 0).double(), photo.movedim(-1, 0).double()).mean(0)
    assert torch.allclose(ssim_map(image, photo), twin, atol=1e-10)


def test_ssim_of_flat_images_has_a_closed_form():
    a, b = 0.3, 0.7
    found = ssim_map(torch.full((31, 31, 3), a), torch.full((31, 31, 3), b))[15, 15]
    assert float(found) == pytest.approx((2 * a * b + 1e-4) / (a * a + b * b + 1e-4), abs=1e-6)
