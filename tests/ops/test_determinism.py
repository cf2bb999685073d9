"""One instruction set gives one result, bit by bit, at any number of threads and on every run."""

from collections.abc import Iterator

import torch
from torch import Tensor

from neural3d.ops.records import MarchRange, RadianceLayers

from .backends import Backend, gradients, render
from .random_rays import LEVELS, SCALE, make_grid, make_guess, make_rays
from .random_scenes import as_dtype, make_gaussians, make_view

SIZE = (203, 149)


def everything(native: Backend, dtype: torch.dtype) -> Iterator[Tensor]:
    """What each operator returns, forward and backward, and a step of the optimiser."""
    generator = torch.Generator().manual_seed(1)
    gaussians, view = as_dtype(make_gaussians(3000, size=0.05), dtype), make_view(*SIZE, focal=150.0).to(dtype)
    target = torch.randint(0, 256, (SIZE[1], SIZE[0], 3), generator=generator, dtype=torch.uint8)
    background = torch.tensor([0.2, 0.5, 0.8], dtype=dtype)
    exposure = torch.eye(3, 4, dtype=dtype) + 0.1 * torch.randn(3, 4, generator=generator, dtype=dtype)
    grid = torch.randn(12, 8, 16, 16, generator=generator, dtype=dtype)
    inputs = gaussians | {"exposure": exposure, "grid": grid}

    def image_and_loss(leaves: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        image, alphas = render(native, leaves, view, background)
        exposed = native.color_affine(image, leaves["exposure"])
        gridded = native.bilateral_slice(image, leaves["grid"])
        return image, alphas, gridded, native.photometric_loss(exposed, target, background=background)

    yield from image_and_loss(inputs)
    grads = gradients(image_and_loss, inputs)
    yield from grads.values()
    state = [
        gaussians["means_world"].clone(),
        grads["means_world"],
        *torch.rand(2, 3000, 3, generator=generator).to(dtype),
    ]
    native.adam_step(*state, torch.tensor([0.1, 0.01, 0.001], dtype=dtype), step=5)
    yield from state


def a_field(native: Backend, dtype: torch.dtype) -> Iterator[Tensor]:
    """Rays through all operators of a field, forward and backward, and the memory of its grid."""
    generator = torch.Generator().manual_seed(2)
    origins, directions = make_rays(500, dtype)
    box, grid = torch.tensor([0.0, 0.0, 0.0, 1.0], dtype=dtype), make_grid(12, 0.3)
    layers = RadianceLayers(inputs=4 * LEVELS.count, ray_inputs=3)
    leaves = {
        "origins": origins,
        "directions": directions,
        "table": torch.randn(LEVELS.rows, 4, generator=generator, dtype=torch.float64).to(dtype),
        "weights": 0.2 * torch.randn(layers.num_weights, generator=generator, dtype=torch.float64).to(dtype),
    }

    def look(leaf: dict[str, Tensor]) -> tuple[Tensor, ...]:
        offsets = torch.full((500,), 0.5, dtype=dtype)
        samples = native.march(leaf["origins"], leaf["directions"], offsets, box, grid, MarchRange(0.02))
        features = native.hash_encode(samples.positions, leaf["table"], LEVELS)
        light = native.radiance_mlp(features, leaf["weights"], leaf["directions"], samples.ray_offsets, layers)
        seen = native.composite(*light, samples.ts, samples.deltas, samples.ray_offsets)
        return seen.colors, seen.alphas, seen.depths, seen.distortions

    yield from look(leaves)
    yield from gradients(look, leaves).values()
    features, edges, densities, fine = (part.to(dtype) for part in make_guess(500))
    yield native.proposal_edges(features, edges, edges[:, 5].contiguous(), SCALE, count=20, uniform=0.1)
    explain = lambda leaf: (native.interlevel(leaf["features"], edges, densities, fine, SCALE),)  # noqa: E731
    yield from (*explain({"features": features}), gradients(explain, {"features": features})["features"])
    places, pulls = torch.rand(9000, 3, generator=generator).to(dtype), torch.randn(9000, 24, generator=generator)
    table = [tensor.to(dtype) for tensor in torch.rand(3, LEVELS.rows, 4, generator=generator)]
    native.adam_step_hash(
        table[0], places, pulls.to(dtype), LEVELS, *table[1:], torch.full((4,), 0.1, dtype=dtype), step=5
    )
    yield from table
    memory, cells = torch.rand(64, 64, 64, generator=generator), torch.arange(0, 64**3, 3, dtype=torch.int32)
    found = torch.rand(len(cells), generator=generator)
    occupied = torch.zeros(64, 64, 64, dtype=torch.bool)
    native.update_occupancy(memory, occupied, cells, found, decay=0.9, threshold=0.6)
    yield from (memory, occupied)


def test_threads_change_no_bit_of_a_field(precision):
    torch.set_num_threads(1)
    expected = list(a_field(precision.native, precision.dtype))
    for threads in (2, 3, 17):
        torch.set_num_threads(threads)
        assert all(map(torch.equal, a_field(precision.native, precision.dtype), expected))


def test_threads_change_no_bit(precision):
    native, dtype = precision.native, precision.dtype
    torch.set_num_threads(1)
    expected = list(everything(native, dtype))
    for threads in (2, 3, 2):
        torch.set_num_threads(threads)
        assert all(map(torch.equal, everything(native, dtype), expected))
