"""The generated scenes do the work that they claim."""

from dataclasses import replace

import pytest
import torch

from neural3d.bench.scenes import RENDER_200K, STEP_14K, STEP_50K, TWIN, blended_share, count_pairs, generate
from neural3d.ops.bin import bin_gaussians
from neural3d.ops.project import project
from neural3d.ops.rasterize import rasterize
from neural3d.ops.records import Projected
from neural3d.splats.view import view_of

SMALL = replace(TWIN, width=50, height=37, num_gaussians=80, pairs=20_000)


def _projected(scene) -> Projected:
    gaussians, view = scene.gaussians, view_of(scene.cameras, 0)
    parameters = (gaussians.means_world, gaussians.quats_wxyz, gaussians.log_scales, gaussians.logit_opacities)
    camera = (view.camera_from_world, view.focal_px, view.principal_px)
    return project(*parameters, *camera, width=view.width, height=view.height)


def _pixels_in_box(mean: torch.Tensor, conic: torch.Tensor, width: int, height: int) -> int:
    """One pixel after the other."""
    a, b, c = conic.double().tolist()
    variance_x, variance_y = torch.linalg.inv(torch.tensor([[a, b], [b, c]], dtype=torch.float64)).diag().tolist()
    mean_x, mean_y = mean.double().tolist()
    return sum(
        abs(x + 0.5 - mean_x) <= 3 * variance_x**0.5 and abs(y + 0.5 - mean_y) <= 3 * variance_y**0.5
        for x in range(width)
        for y in range(height)
    )


def test_pairs_are_the_pixels_of_the_boxes():
    projected = _projected(generate(SMALL))
    culled = replace(projected, extents_px=projected.extents_px.clone())
    culled.extents_px[::7] = 0
    counts = [_pixels_in_box(m, c, 50, 37) for m, c in zip(projected.means_px, projected.conics, strict=True)]
    assert count_pairs(projected, 50, 37) == sum(counts)
    assert count_pairs(culled, 50, 37) == sum(n for i, n in enumerate(counts) if i % 7)


def test_boxes_are_clipped_to_the_image():
    means_px = torch.tensor([[2.0, 2.0], [9.5, 3.5], [-100.0, 3.0]])
    variances = torch.tensor([100.0, 1.0, 1.0])
    conics = torch.stack([1 / variances, torch.zeros(3), 1 / variances], dim=1)
    projected = Projected(means_px, conics, torch.ones(3), torch.ones(3), torch.ones(3, 2))
    # All of the image; columns 6 to 9 in all rows, as 3.5 +- 3 holds the centres 0.5 to 6.5 of which 5 exist; none.
    assert count_pairs(projected, 10, 5) == 10 * 5 + 4 * 5


@pytest.mark.parametrize("spec", [TWIN, STEP_14K, STEP_50K], ids=lambda spec: spec.name)
def test_a_scene_has_the_pairs_that_it_is_made_for(spec):
    scene = generate(spec)
    projected = _projected(scene)
    assert len(scene.gaussians) == spec.num_gaussians
    assert (projected.extents_px > 0).all(), "all in view"
    assert count_pairs(projected, spec.width, spec.height) == pytest.approx(spec.pairs, rel=0.01)


def test_the_render_scene_at_a_tenth():
    spec = replace(RENDER_200K, width=404, height=228, num_gaussians=20_000, pairs=11_300_000)
    assert count_pairs(_projected(generate(spec)), 404, 228) == pytest.approx(spec.pairs, rel=0.01)


def test_a_seed_is_a_scene():
    first, again, other = generate(SMALL), generate(SMALL), generate(replace(SMALL, seed=1))
    for name, tensor in first.gaussians.tensors().items():
        assert torch.equal(tensor, again.gaussians.tensors()[name])
        assert not torch.equal(tensor, other.gaussians.tensors()[name])


def test_blended_pairs_are_those_that_the_rasterizer_blends():
    """Each Gaussian alone, in front of a background that shows wherever it is blended."""
    scene = generate(replace(SMALL, logit_opacity=1.0))
    projected = _projected(scene)
    pairs = count_pairs(projected, 50, 37)
    bins = bin_gaussians(projected, width=50, height=37)
    n = len(projected.depths)
    background = torch.zeros(n)
    image, _ = rasterize(
        projected.means_px, projected.conics, projected.opacities, torch.eye(n), bins, background
    )  # One channel a Gaussian: its weight at each pixel.
    assert blended_share(projected, bins, pairs, every=1) == pytest.approx(
        int((image > 0).sum()) / pairs, abs=2 / pairs
    )
