"""Downscaling: exact areas, premultiplied filters, strict validity, and bands that leave no seam."""

import numpy as np
import pytest
import torch

from neural3d.capture import resample
from neural3d.capture.lenses import Lens, lens_from_colmap
from neural3d.capture.resample import develop


def pinhole(width: int, height: int) -> Lens:
    return lens_from_colmap("PINHOLE", width, height, (50.0, 50.0, width / 2, height / 2))


def noise(height: int, width: int, channels: int = 3, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, channels), dtype=np.uint8)


def area_average(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """Brute force: integrate the image, constant on each pixel, over the rectangle of each new pixel."""
    full_height, full_width = image.shape[:2]
    result = np.zeros((height, width, *image.shape[2:]))
    for row in range(height):
        for column in range(width):
            y0, y1 = row * full_height / height, (row + 1) * full_height / height
            x0, x1 = column * full_width / width, (column + 1) * full_width / width
            for y in range(int(y0), min(full_height, int(np.ceil(y1 - 1e-9)))):
                for x in range(int(x0), min(full_width, int(np.ceil(x1 - 1e-9)))):
                    area = (min(y1, y + 1) - max(y0, y)) * (min(x1, x + 1) - max(x0, x))
                    result[row, column] += area * image[y, x] / ((y1 - y0) * (x1 - x0))
    return result


def test_full_size_changes_no_byte():
    image = noise(17, 23)
    developed = develop(image, None, pinhole(23, 17), 23, 17)
    np.testing.assert_array_equal(developed.pixels.numpy(), image)
    assert developed.alpha is None and developed.valid is None


def test_a_whole_factor_is_the_mean_of_each_block():
    image = noise(800, 800)
    developed = develop(image, None, pinhole(800, 800), 400, 400)
    blocks = image.reshape(400, 2, 400, 2, 3).astype(float).mean(axis=(1, 3))
    np.testing.assert_array_equal(developed.pixels.numpy(), np.floor(blocks + 0.5).astype(np.uint8))


@pytest.mark.parametrize("size", [(11, 9), (16, 12), (23, 17), (7, 17), (1, 1)])
def test_other_factors_average_over_exact_areas(size):
    image = noise(17, 23)
    developed = develop(image, None, pinhole(23, 17), *size)
    expected = area_average(image.astype(float), size[1], size[0])
    assert np.abs(developed.pixels.numpy() - expected).max() <= 0.5 + 1e-3


@pytest.mark.parametrize("model", ["PINHOLE", "OPENCV"])
@pytest.mark.parametrize("size", [(60, 40), (30, 20), (41, 27)])
def test_bands_leave_no_seam(monkeypatch, model, size):
    params = (50.0, 50.0, 31.0, 19.0) + ((-0.1, 0.05, 0.01, -0.01) if model == "OPENCV" else ())
    lens, image, usable = lens_from_colmap(model, 60, 40, params), noise(40, 60, 4), noise(40, 60, 1)[..., 0] > 20
    whole = develop(image, usable, lens, *size)
    monkeypatch.setattr(resample, "BAND_PIXELS", 150)
    banded = develop(image, usable, lens, *size)
    for name in ("pixels", "alpha", "valid"):
        difference = getattr(whole, name).int() - getattr(banded, name).int()
        # Bilinear weights are computed from other numbers: a rounding may fall the other way.
        assert difference.abs().max() <= 1 and (difference != 0).float().mean() < 0.01, name


def test_transparent_pixels_do_not_bleed_colour():
    image = np.zeros((4, 4, 4), dtype=np.uint8)
    image[:, :, 0] = 255
    image[:, ::2] = (0, 200, 0, 255)
    developed = develop(image, None, pinhole(4, 4), 2, 2)
    assert developed.pixels.tolist() == [[[0, 200, 0]] * 2] * 2
    assert developed.alpha.tolist() == [[128, 128], [128, 128]]


def test_colours_are_stored_straight():
    image = noise(12, 12, 4)
    image[..., 3] = np.maximum(image[..., 3], 40)
    developed = develop(image, None, pinhole(12, 12), 6, 6)
    alpha = area_average(image[..., 3:].astype(float), 6, 6)
    premultiplied = area_average(image[..., :3] * (image[..., 3:] / 255.0), 6, 6)
    assert np.abs(developed.pixels.numpy() - premultiplied / (alpha / 255)).max() <= 0.5 + 1e-2
    assert np.abs(developed.alpha.numpy() - alpha[..., 0]).max() <= 0.5 + 1e-3
    unchanged = develop(image, None, pinhole(12, 12), 12, 12)
    np.testing.assert_array_equal(torch.cat([unchanged.pixels, unchanged.alpha[..., None]], -1).numpy(), image)


@pytest.mark.parametrize("size", [(6, 6), (5, 5), (12, 12)])
def test_a_pixel_is_valid_when_all_of_it_is(size):
    usable = noise(12, 12, 1, seed=3)[..., 0] > 30
    developed = develop(noise(12, 12), usable, pinhole(12, 12), *size)
    expected = area_average(usable.astype(float), size[1], size[0]) > 1 - 1e-6
    np.testing.assert_array_equal(developed.valid.numpy(), expected)


def test_a_mask_goes_through_the_lens_with_the_photo():
    lens = lens_from_colmap("SIMPLE_RADIAL", 64, 48, (50.0, 32.0, 24.0, -0.2))
    image = np.full((48, 64, 3), 255, dtype=np.uint8)
    usable = np.ones((48, 64), dtype=bool)
    usable[10:30, 15:40] = False
    image[~usable] = 0
    developed = develop(image, usable, lens, 64, 48)
    assert (developed.pixels[developed.valid] == 255).all()
    assert (developed.pixels[~developed.valid] == 0).float().mean() > 0.8
