"""Rays, samples and layers that the tests of fields' operators share."""

import torch
from torch import Tensor

from neural3d.ops.nearest_points import nearest_points
from neural3d.ops.point_index import index_points
from neural3d.ops.records import HashLevels, MarchRange, RadianceLayers, RaySamples, RayScale

LEVELS = HashLevels(count=6, coarsest=2, finest=40, log2_rows=9)
"""Three levels with a row for each corner, three that share rows."""
LAYERS = RadianceLayers(inputs=24, ray_inputs=10, width=32, geometry=7)
SCALE = RayScale(0.2, 1.0, 30.0)


def make_rays(count: int, dtype: torch.dtype = torch.float64, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Origins around the origin of the scene, and unit directions to places near it."""
    generator = torch.Generator().manual_seed(seed)
    origins = torch.nn.functional.normalize(torch.randn(count, 3, generator=generator, dtype=torch.float64)) * 3
    aims = torch.randn(count, 3, generator=generator, dtype=torch.float64) * 0.4
    return origins.to(dtype), torch.nn.functional.normalize(aims - origins, dim=1).to(dtype)


def make_grid(cells: int, share: float, seed: int = 0) -> Tensor:
    """A grid of which so many cells are occupied."""
    return torch.rand(cells, cells, cells, generator=torch.Generator().manual_seed(seed)) < share


def make_samples(rays: int, dtype: torch.dtype = torch.float64, most: int = 9, seed: int = 0) -> RaySamples:
    """Rays of none to `most` samples each, with gaps between some of these."""
    generator = torch.Generator().manual_seed(seed)
    counts = torch.randint(0, most + 1, (rays,), generator=generator)
    offsets = torch.cat([torch.zeros(1, dtype=torch.int64), counts.cumsum(0)])
    count = int(offsets[-1])
    deltas = torch.rand(count, generator=generator, dtype=torch.float64) + 0.1
    gaps = torch.rand(count, generator=generator, dtype=torch.float64)
    ends = (deltas + gaps).cumsum(0)
    before = torch.cat([ends.new_zeros(1), ends])[offsets[:-1]].repeat_interleave(counts)
    positions = torch.rand(count, 3, generator=generator, dtype=torch.float64)
    parts = (positions, ends - deltas / 2 - before, deltas)
    return RaySamples(*(part.to(dtype) for part in parts), offsets.int())


def make_guess(rays: int, levels: int = 2, seed: int = 0) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Features and edges of a guess of 13 intervals a ray, and the densities and edges of 9 fine ones."""
    generator = torch.Generator().manual_seed(seed)

    def edges(count: int) -> Tensor:
        steps = torch.rand(rays, count, generator=generator, dtype=torch.float64) + 0.05
        ends = torch.cat([torch.zeros(rays, 1, dtype=torch.float64), steps.cumsum(1)], dim=1)
        return ends / ends[:, -1:]

    features = torch.randn(rays, 13, levels, generator=generator, dtype=torch.float64)
    densities = 3 * torch.rand(rays, 9, generator=generator, dtype=torch.float64)
    return features, edges(13), densities, 0.1 + 0.7 * edges(9)


def field_arguments(dtype: torch.dtype) -> dict[str, tuple]:
    """For each raw operator of a field, what a step of its training would pass."""
    generator = torch.Generator().manual_seed(5)

    def random(*size: int) -> Tensor:
        return torch.randn(*size, generator=generator, dtype=torch.float64).to(dtype)

    origins, directions = make_rays(20, dtype)
    box, samples = torch.tensor([0.0, 0.1, -0.1, 1.0], dtype=dtype), make_samples(20, dtype)
    count, numbers = len(samples.ts), MarchRange(step=0.11, near=0.5, far=50.0, cone=0.02).numbers
    encoded = (samples.positions, random(LEVELS.rows, 4), *LEVELS.numbers, True)
    table = (encoded[1].clone(), encoded[0], random(count, LEVELS.count * 4), *LEVELS.numbers, True)
    moments = (random(LEVELS.rows, 4), random(LEVELS.rows, 4).square(), random(4).abs())
    marched = (origins, directions, torch.rand(20, generator=generator).to(dtype), box, make_grid(6, 0.4), *numbers)
    layers = (random(count, LAYERS.inputs), 0.3 * random(LAYERS.num_weights), random(20, LAYERS.ray_inputs))
    layered = (*layers, samples.ray_offsets, LAYERS.width, LAYERS.geometry)
    light = (random(count).abs(), random(count, 3).sigmoid(), samples.ts, samples.deltas, samples.ray_offsets, 1e-3)
    features, edges, densities, fine = (part.to(dtype) for part in make_guess(20))
    guess, seen = (features, edges), (densities, fine, *SCALE.numbers)
    drawn = torch.rand(20, generator=generator).to(dtype)
    pulls = (random(20, 3), random(20), random(20), random(20))
    found = {
        "hash_encode": encoded,
        "hash_encode_vjp": (*encoded, random(count, LEVELS.count * 4), True, True),
        "adam_hash": (*table, *moments, 3, 0.9, 0.99, 1e-15),
        "march": marched,
        "march_vjp": (origins, directions, box, True, samples.ts, samples.ray_offsets, random(count, 3)),
        "composite": light,
        "composite_vjp": (*light, *pulls),
        "radiance_mlp": layered,
        "proposal_edges": (*guess, drawn, *SCALE.numbers, 7, 0.1),
        "interlevel": (*guess, *seen),
        "interlevel_vjp": (*guess, *seen, random(20)),
        "radiance_mlp_vjp": (*layered, random(count), random(count, 3)),
    }
    if dtype == torch.float32:
        cells = torch.randint(0, 8**3, (100,), generator=generator, dtype=torch.int32)
        grid = (torch.rand(8, 8, 8, generator=generator), torch.zeros(8, 8, 8, dtype=torch.bool))
        found["update_occupancy"] = (*grid, cells, torch.rand(100, generator=generator), 0.9, 0.4)
    return found | _point_arguments(dtype)


def _point_arguments(dtype: torch.dtype) -> dict[str, tuple]:
    """For those of neural points."""
    generator = torch.Generator().manual_seed(6)

    def random(*size: int) -> Tensor:
        return torch.rand(*size, generator=generator, dtype=torch.float64).to(dtype)

    index, places = index_points(random(60, 3), 0.3), random(40, 3)
    looks = (index.sorted_points, index.cells, index.rows, index.first, index.radius, index.cells_per_unit, 4)
    neighbors = nearest_points(places, index, 4)
    learnt = (random(60, 16) - 0.5, random(60), random(3, 16) - 0.5)
    blended = (places, index.points, *learnt, neighbors, index.radius)
    shares = torch.ops.neural3d.blend_points(*blended)[2]
    return {
        "nearest_points": (places, *looks),
        "blend_points": blended,
        "blend_points_vjp": (*blended, shares, random(40, 16), random(40)),
    }
