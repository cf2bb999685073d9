"""Colour maps of photos: what they learn, what they leave to the scene, and what a checkpoint keeps of them."""

import pytest
import torch

from neural3d.errors import InputError
from neural3d.ops.bilateral_slice import bilateral_slice
from neural3d.ops.photometric import photometric_loss
from neural3d.run import Run
from neural3d.splats.view import splat_view
from neural3d.srgb import encode_srgb
from neural3d.train.config import LearningRates
from neural3d.train.exposure import (
    AffineExposure,
    BilateralExposure,
    Exposure,
    GridMap,
    exposure_from_tensors,
    exposure_removal,
    fresh_exposure,
    total_variation_gradient,
)
from neural3d.train.gradients import photo_gradient
from neural3d.train.photos import build_pyramid

from .small_scenes import make_scene, psnr_of, same, stop_at, train, truth

KINDS = ("affine", "bilateral")
GAINS = (0.75, 1.25, 0.8, 1.2, 0.9, 1.1, 0.95, 1.05)


def maps(exposure: Exposure) -> torch.Tensor:
    """All photos' numbers."""
    photos = range(len(exposure.tensors()["exposure.matrices"]))
    found = [exposure.color_map(photo) for photo in photos]
    return torch.stack([map_.grid if isinstance(map_, GridMap) else map_.matrix for map_ in found])


@pytest.mark.parametrize("kind", KINDS)
def test_fresh_maps_change_nothing(kind):
    exposure, image = fresh_exposure(kind, 3), torch.rand(3, 20, 30)
    assert isinstance(exposure, Exposure)
    assert torch.allclose(exposure.color_map(2).apply(image), image, atol=1e-6)


def test_the_grid_is_part_of_the_chain():
    gaussians, grid, background = truth(), torch.randn(12, 4, 3, 5), torch.tensor([0.2, 0.5, 0.8])
    photo = build_pyramid(make_scene(), 0).levels[0][0]
    ours = photo_gradient(gaussians, photo, background, sh_degree=0, exposure=GridMap(grid), ssim_weight=0.2)
    leaves, leaf = gaussians.map(lambda t: t.clone().requires_grad_()), grid.clone().requires_grad_()
    shown = bilateral_slice(splat_view(leaves, photo.view, background).image, leaf)
    loss = photometric_loss(shown, photo.pixels, background=background, ssim_weight=0.2)
    d_grid, d_means, d_sh = torch.autograd.grad(loss, [leaf, leaves.means_world, leaves.sh])
    assert torch.equal(ours.loss, loss) and torch.equal(ours.exposure, d_grid)
    assert torch.equal(ours.gaussians.means_world, d_means) and torch.equal(ours.gaussians.tensors()["sh"], d_sh)


def test_total_variation_is_the_mean_square_along_each_axis():
    grid = torch.randn(12, 4, 3, 1, dtype=torch.float64, requires_grad=True)
    variation = grid.diff(dim=1).square().mean() + grid.diff(dim=2).square().mean()
    (expected,) = torch.autograd.grad(variation, grid)
    assert torch.allclose(total_variation_gradient(grid.detach()), expected)


def test_smoothing_wears_a_lonely_peak_down():
    """Of two photos, so that the mean does not take it away."""
    exposure = BilateralExposure.identity(2)
    peak = exposure.differences[0, 0, 4, 8, 8]
    peak += 1
    for step in range(1, 40, 2):
        exposure.update(0, torch.zeros(12, 8, 16, 16), rate=0.2, step=step)
    assert peak < 0.7
    assert exposure.differences[0, 0, 4, 8, 7] > 0.1 and not exposure.differences[1].any()


@pytest.mark.parametrize("kind", KINDS)
def test_a_photos_map_learns_alone_and_their_mean_stays_the_identity(kind):
    exposure = fresh_exposure(kind, 4)
    fresh = maps(exposure)
    pull = torch.ones_like(fresh[0]) if kind == "bilateral" else torch.ones(3, 4)
    exposure.update(1, pull, rate=0.01, step=1)
    moved = (maps(exposure) - fresh).abs().flatten(1).amax(dim=1)
    assert moved[1] > 0.009 and (moved[[0, 2, 3]] < 1e-4).all()
    for step in range(2, 401):
        exposure.update((step - 1) % 4, pull, rate=0.01, step=step)
    assert (maps(exposure).mean(dim=0) - fresh[0]).abs().max() < 0.15 < 400 / 4 * 0.01


@pytest.mark.parametrize("kind", KINDS)
def test_gains_go_to_the_maps_and_the_scene_stays_as_it_was(kind):
    """Photos of different brightness: with maps the model comes nearer to photos without."""
    scene, options = make_scene(gains=GAINS), {"steps": 400, "rates": LearningRates(exposure=0.02)}
    results = {name: psnr_of(train(scene, exposure=name, **options).gaussians, make_scene()) for name in ("none", kind)}
    assert results[kind] > results["none"] + 1


@pytest.mark.parametrize("kind", KINDS)
def test_a_checkpoint_keeps_all_of_it(kind):
    exposure = fresh_exposure(kind, 3)
    for tensor in exposure.tensors().values():
        tensor.copy_(torch.rand_like(tensor))
    other = {"gaussians.sh": torch.zeros(1)}
    assert same(exposure_from_tensors(kind, exposure.tensors() | other).tensors(), exposure.tensors())
    assert exposure_from_tensors("none", exposure.tensors()) is None


@pytest.mark.parametrize("wanted", KINDS)
@pytest.mark.parametrize("trained", ["none", *KINDS])
def test_a_run_that_learnt_other_maps_is_refused(wanted, trained):
    learnt = fresh_exposure(trained, 2)
    tensors = {} if learnt is None else learnt.tensors()
    if wanted == trained:
        assert exposure_from_tensors(wanted, tensors) is not None
    else:
        with pytest.raises(InputError, match=f"--exposure {wanted}: .* use --exposure {trained}"):
            exposure_from_tensors(wanted, tensors)


def test_a_run_with_grids_in_parts_is_the_run_in_one_go(tmp_path):
    """Stopped before, at and behind the step that recentres; and on another number of threads."""
    scene, steps = make_scene(gains=GAINS), 20
    torch.set_num_threads(2)
    with Run.create(tmp_path / "one", {}) as run:
        train(scene, run=run, steps=steps, exposure="bilateral")
    expected = Run.open(tmp_path / "one").latest_checkpoint().tensors
    assert expected["exposure.differences"].any()
    torch.set_num_threads(1)
    with Run.create(tmp_path / "parts", {}):
        pass
    done = 0
    for stop in (7, 8, 9, steps):
        with Run.resume(tmp_path / "parts") as run:
            watchers = [stop_at(stop - done)] if stop < steps else []
            done = train(scene, run=run, steps=steps, exposure="bilateral", observers=watchers).step
    assert done == steps
    assert same(Run.open(tmp_path / "parts").latest_checkpoint().tensors, expected)


def test_grids_learn_what_no_one_map_can_say():
    """Each photo is dark on another side: the other half of it shows the scene as it is."""
    exposure, random = BilateralExposure.identity(2), torch.Generator().manual_seed(0)
    image = torch.rand(3, 40, 60, generator=random)
    side = (torch.arange(60) < 30).float()
    photos = [image * (1 - 0.3 * side), image * (0.7 + 0.3 * side)]
    for step in range(1, 601):
        photo = (step - 1) % 2
        shown = exposure.color_map(photo).apply(image)
        gradient = exposure.color_map(photo).vjp(image, (shown - photos[photo]).sign() / shown.numel())[1]
        exposure.update(photo, gradient, rate=0.02, step=step)
    errors = [(exposure.color_map(i).apply(image) - photos[i]).abs().mean().item() for i in (0, 1)]
    one_map = (0.85 * image - photos[0]).abs().mean().item()
    assert max(errors) < 0.5 * one_map


def test_a_map_of_light_is_taken_out_of_light():
    """The map doubled the light; halved display values would be another colour."""
    matrices = 2 * torch.eye(3, 4).flatten().repeat(2, 1)
    tensors = AffineExposure(matrices, torch.zeros_like(matrices), torch.zeros_like(matrices)).tensors()
    light = 0.5 * torch.rand(3, 4, 5, generator=torch.Generator().manual_seed(1))
    render, photo = encode_srgb(light), encode_srgb(2 * light)
    found = exposure_removal("affine", tensors, linear=True)(1)(photo, render)
    assert torch.allclose(found, render, atol=1e-5)
    assert (exposure_removal("affine", tensors)(1)(photo, render) - photo / 2).abs().max() < 1e-5


def test_what_is_taken_out_of_dark_light_is_a_number():
    """A map may add more light than a dark pixel holds, and none below 0 can be shown."""
    matrices = torch.tensor([[1.0, 0, 0, 0.1, 0, 1, 0, 0.1, 0, 0, 1, 0.1]])
    tensors = AffineExposure(matrices, torch.zeros_like(matrices), torch.zeros_like(matrices)).tensors()
    dark = torch.zeros(3, 2, 2)
    assert (exposure_removal("affine", tensors, linear=True)(0)(dark, dark) == 0).all()
