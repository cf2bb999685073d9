"""Samples to what their rays see."""

import math
import warnings

import pytest
import torch

from neural3d.ops.records import RayViews

from .backends import gradients
from .random_rays import make_samples
from .tolerances import GRADCHECK, assert_close

FIELDS = ("colors", "alphas", "depths", "distortions")


def as_tuple(views: RayViews) -> tuple[torch.Tensor, ...]:
    return tuple(getattr(views, name) for name in FIELDS)


def slab(count: int) -> tuple[torch.Tensor, ...]:
    """One ray through [1, 3], in so many equal parts: ts, deltas, ray_offsets."""
    deltas = torch.full((count,), 2 / count, dtype=torch.float64)
    return 1 + deltas.cumsum(0) - deltas / 2, deltas, torch.tensor([0, count], dtype=torch.int32)


def test_a_slab_of_constant_density(backend):
    """Its alpha is 1 - exp(-density length), and the colour is alpha times the slab's."""
    density, color = torch.full((40,), 0.7, dtype=torch.float64), torch.tensor([0.2, 0.5, 0.9], dtype=torch.float64)
    seen = backend.composite(density, color.expand(40, 3).contiguous(), *slab(40), transmittance_min=0.0)
    alpha = 1 - math.exp(-0.7 * 2)
    assert seen.alphas.item() == pytest.approx(alpha, rel=1e-12)
    assert_close(seen.colors[0], alpha * color, "float64 truth")


def test_the_depth_of_a_slab(backend):
    """Integral of t density exp(-density (t - 1)) over [1, 3], of which the sum over 2,000 parts is close."""
    density = torch.full((2000,), 0.7, dtype=torch.float64)
    seen = backend.composite(density, torch.ones(2000, 3, dtype=torch.float64), *slab(2000), transmittance_min=0.0)
    expected = 1 + 1 / 0.7 - math.exp(-1.4) * (3 + 1 / 0.7)
    assert seen.depths.item() == pytest.approx(expected, rel=1e-6)


def test_a_hard_surface_hides_what_is_behind(backend):
    density, color = torch.tensor([0.0, 1e9, 5.0], dtype=torch.float64), torch.eye(3, dtype=torch.float64)
    seen = backend.composite(density, color, *slab(3))
    assert seen.colors[0].tolist() == [0, 1, 0] and seen.alphas.item() == 1
    assert seen.depths.item() == pytest.approx(2.0) and seen.distortions.item() == pytest.approx(2 / 9)


def test_two_thin_sheets_are_as_distorted_as_they_lie_apart(backend):
    """Weights 1/2 and 1/2, 6 apart, of no thickness: 2 * 1/4 * 6 = 3."""
    thin = torch.full((2,), 1e-9, dtype=torch.float64)
    density = torch.tensor([math.log(2) / 1e-9, 1e12], dtype=torch.float64)
    ts, offsets = torch.tensor([1.0, 7.0], dtype=torch.float64), torch.tensor([0, 2], dtype=torch.int32)
    seen = backend.composite(density, torch.ones(2, 3, dtype=torch.float64), ts, thin, offsets, transmittance_min=0.0)
    assert seen.distortions.item() == pytest.approx(3.0, rel=1e-6)


def test_weights_and_transmittance_sum_to_one(backend):
    samples = make_samples(50)
    density = torch.rand(len(samples.ts), dtype=torch.float64) * 3
    inputs = (density, torch.ones(len(density), 3, dtype=torch.float64))
    seen = backend.composite(*inputs, samples.ts, samples.deltas, samples.ray_offsets, transmittance_min=0.0)
    bounds = samples.ray_offsets.tolist()
    absorbed = density * samples.deltas
    left = torch.stack([(-absorbed[i:j].sum()).exp() for i, j in zip(bounds[:-1], bounds[1:], strict=True)])
    assert_close(seen.alphas + left, torch.ones(50, dtype=torch.float64), "float64 truth")
    assert_close(seen.colors, seen.alphas[:, None].expand(50, 3), "float64 truth")


def test_splitting_a_sample_changes_no_colour(backend):
    samples, generator = make_samples(30), torch.Generator().manual_seed(1)
    count = len(samples.ts)
    density = torch.rand(count, generator=generator, dtype=torch.float64) * 2
    color = torch.rand(count, 3, generator=generator, dtype=torch.float64)
    whole = backend.composite(density, color, samples.ts, samples.deltas, samples.ray_offsets, transmittance_min=0.0)
    ts = torch.stack([samples.ts - samples.deltas / 4, samples.ts + samples.deltas / 4], dim=1).view(-1)
    twice = [part.repeat_interleave(2, dim=0) for part in (density, color, samples.deltas / 2)]
    halves = backend.composite(twice[0], twice[1], ts, twice[2], 2 * samples.ray_offsets, transmittance_min=0.0)
    assert_close(halves.colors, whole.colors, "float64 truth")
    assert_close(halves.alphas, whole.alphas, "float64 truth")


def test_a_ray_ends_where_little_light_is_left(backend):
    """Alpha 0.9 each: T = 1, 0.1, 0.01, 0.001. At 0.02 the third sample is not reached, and gets no gradient."""
    density = torch.full((4,), math.log(10) / 0.5, dtype=torch.float64)
    inputs = {"densities": density, "colors": torch.rand(4, 3, dtype=torch.float64)}
    ts, deltas, offsets = slab(4)
    run = lambda leaf: as_tuple(backend.composite(**leaf, ts=ts, deltas=deltas, ray_offsets=offsets,  # noqa: E731
                                                  transmittance_min=0.02))  # fmt: skip
    assert run(inputs)[1].item() == pytest.approx(0.99)
    pulls = gradients(run, inputs)
    assert (pulls["densities"][2:] == 0).all() and (pulls["colors"][2:] == 0).all()
    assert (pulls["densities"][:2] != 0).all() and (pulls["colors"][:2] != 0).all()


def test_derivative(backend):
    samples = make_samples(12, most=5)
    count = len(samples.ts)
    leaves = [torch.rand(count, dtype=torch.float64), torch.rand(count, 3, dtype=torch.float64)]
    constants = (samples.ts, samples.deltas, samples.ray_offsets)
    run = lambda d, c: as_tuple(backend.composite(d, c, *constants, transmittance_min=0.0))  # noqa: E731
    assert torch.autograd.gradcheck(run, [leaf.requires_grad_() for leaf in leaves], **GRADCHECK)


@pytest.mark.parametrize("transmittance_min", [0.0, 0.03])
def test_twins_agree(precision, reference, transmittance_min):
    exact = make_samples(90, most=40)
    count = len(exact.ts)
    inputs = {
        "densities": torch.rand(count, dtype=torch.float64) ** 4,
        "colors": torch.rand(count, 3, dtype=torch.float64),
    }

    def run(backend, dtype):
        samples = make_samples(90, dtype, most=40)
        constants = (samples.ts, samples.deltas, samples.ray_offsets)

        def see(leaf):
            return as_tuple(
                backend.composite(leaf["densities"], leaf["colors"], *constants, transmittance_min=transmittance_min)
            )

        typed = {name: value.to(dtype) for name, value in inputs.items()}
        return see(typed), gradients(see, typed)

    (ours, our_pulls), (theirs, their_pulls) = run(precision.native, precision.dtype), run(reference, torch.float64)
    for one, other in zip(ours, theirs, strict=True):
        assert_close(one, other, precision.values)
    for name in inputs:
        assert_close(our_pulls[name], their_pulls[name], precision.grads)


def test_offsets_that_are_not_the_samples(native):
    if native.name != "native":
        pytest.skip("on a device the host does not see them")
    samples = make_samples(5)
    inputs = (torch.rand(len(samples.ts)).double(), torch.rand(len(samples.ts), 3).double(), samples.ts, samples.deltas)
    for wrong in ([0, 3, 1, len(samples.ts)], [1, len(samples.ts)], [0, len(samples.ts) + 1]):
        with pytest.raises(RuntimeError, match="offsets"):
            native.composite(*inputs, torch.tensor(wrong, dtype=torch.int32))


def test_nerfacc_sees_the_same(backend):
    """Its dense form, which needs no GPU, as the oracle: colours, alphas, depths and the gradients."""
    with warnings.catch_warnings():  # its docstrings have escapes that Python does not know
        warnings.simplefilter("ignore")
        nerfacc = pytest.importorskip("nerfacc", reason="nerfacc is not installed; the extra [test] has it")
    generator = torch.Generator().manual_seed(3)
    rays, count = 11, 7
    ends = (torch.rand(rays, count + 1, generator=generator, dtype=torch.float64) + 0.1).cumsum(dim=1)
    inputs = {
        "densities": 3 * torch.rand(rays * count, generator=generator, dtype=torch.float64),
        "colors": torch.rand(rays * count, 3, generator=generator, dtype=torch.float64),
    }
    middles, offsets = (ends[:, 1:] + ends[:, :-1]) / 2, torch.arange(0, rays * count + 1, count, dtype=torch.int32)

    def ours(leaf):
        lengths = ends.diff(dim=1).reshape(-1)
        return as_tuple(
            backend.composite(**leaf, ts=middles.view(-1), deltas=lengths, ray_offsets=offsets, transmittance_min=0.0)
        )[:3]

    def theirs(leaf):
        density = leaf["densities"].view(rays, count)
        weights, _, _ = nerfacc.render_weight_from_density(ends[:, :-1], ends[:, 1:], density)
        seen = [nerfacc.accumulate_along_rays(weights, values) for values in
                (leaf["colors"].view(rays, count, 3), None, middles[..., None])]  # fmt: skip
        return seen[0], seen[1][:, 0], seen[2][:, 0]

    for one, other in zip(ours(inputs), theirs(inputs), strict=True):
        assert_close(one, other, "float64 truth")
    pulls, their_pulls = gradients(ours, inputs), gradients(theirs, inputs)
    for name in inputs:
        assert_close(pulls[name], their_pulls[name], "float64 twin")
