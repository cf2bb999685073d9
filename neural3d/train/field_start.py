"""From a field to splats: the first Gaussians lie on the surfaces that the training photos' cameras see in it."""

from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from neural3d.errors import InputError
from neural3d.fields.field import RadianceField
from neural3d.fields.rays import Rays, rays_through
from neural3d.ops.neighbors import neighbor_distances
from neural3d.scene import Scene
from neural3d.splats.gaussians import Gaussians
from neural3d.train.initial import FEWEST_POINTS, LARGEST_GAP, round_gaussians
from neural3d.train.random_numbers import Purpose, generator

ASKED_RAYS = 1.5
"""Rays for each Gaussian: some meet nothing."""
LEAST_ALPHA = 0.5
"""Of a ray that met something."""
FOOTPRINT_PX = 4.0
LEAST_THICKNESS = 0.1
"""Optical thickness of so many pixels at a point; where it is less, light of two surfaces was averaged."""
FLATNESS = 0.3
"""Of a Gaussian across the surface, by its size along it."""


def field_gaussians(
    field: RadianceField, scene: Scene, *, count: int, sh_degree: int, antialiased: bool, seed: int
) -> Gaussians:
    """At most `count` Gaussians on what random pixels of the training photos see of a field in the scene's frame.

    They are as large as the gaps between them, flat along the surface, and have the field's colours.

    Raises:
        InputError: The photos' cameras see next to nothing of the field.
    """
    means, colors, sizes = _surface(field, scene, int(ASKED_RAYS * count), seed)
    if len(means) < FEWEST_POINTS:
        raise InputError("the field shows no surface to the capture's cameras; train it longer, or on this capture")
    means, colors, sizes = means[:count], colors[:count], sizes[:count]
    gaps = neighbor_distances(means, 3).clamp(min=1e-6 * scene.extent, max=LARGEST_GAP * scene.extent)
    found = round_gaussians(means, colors, gaps, sh_degree=sh_degree, antialiased=antialiased)
    flat = torch.tensor([1.0, 1.0, FLATNESS]).log()
    quats = quaternions_to(_normals(field, means, sizes))
    return replace(found, log_scales=found.log_scales + flat, quats_wxyz=quats)


def _surface(
    field: RadianceField, scene: Scene, count: int, seed: int
) -> tuple[Float[Tensor, "M 3"], Float[Tensor, "M 3"], Float[Tensor, "M"]]:
    """Places, straight colours, and the size of FOOTPRINT_PX there."""
    rays, pixel = _random_rays(scene, count, seed)
    seen = field.shade(rays)
    means = rays.origins + seen.distances[:, None] * rays.directions
    sizes = FOOTPRINT_PX * pixel * seen.distances
    kept = (seen.alphas >= LEAST_ALPHA) & means.isfinite().all(dim=1)
    kept &= field.densities(means) * sizes >= LEAST_THICKNESS
    colors = (seen.colors / seen.alphas.clamp(min=LEAST_ALPHA)[:, None]).clamp(0, 1)
    return means[kept].contiguous(), colors[kept], sizes[kept]


def _random_rays(scene: Scene, count: int, seed: int) -> tuple[Rays, Float[Tensor, "R"]]:
    """Through pixels of the training photos, and what a pixel covers at distance one."""
    random, chosen = generator(seed, Purpose.INITIAL), scene.train_indices
    views = chosen[torch.from_numpy(random.integers(0, len(chosen), count))]
    places = torch.from_numpy(random.random((count, 2), dtype=np.float32))
    rays = rays_through(scene.cameras, views, places * scene.cameras.size_px[views])
    return rays, (1 / scene.cameras.focal_px[views]).amax(dim=1)


def _normals(field: RadianceField, means: Float[Tensor, "N 3"], sizes: Float[Tensor, "N"]) -> Float[Tensor, "N 3"]:
    """Along the density's gradient, by central differences over a footprint; +z where it is the same all around."""
    slopes = []
    for axis in torch.eye(3):
        aside = sizes[:, None] * axis
        slopes.append((field.densities(means + aside) + 1).log() - (field.densities(means - aside) + 1).log())
    x, y, z = slopes
    length = (x * x + y * y + z * z).sqrt()
    slope = torch.stack([x, y, z], dim=1) / length.clamp(min=1e-12)[:, None]
    return torch.where((length > 1e-6)[:, None], slope, torch.tensor([0.0, 0.0, 1.0]))


def quaternions_to(normals: Float[Tensor, "N 3"]) -> Float[Tensor, "N 4"]:
    """Rotations (wxyz) that turn the z axis to unit vectors, or to their opposites where that is the shorter way."""
    x, y, z = (normals * torch.where(normals[:, 2:] < 0, -1.0, 1.0)).unbind(1)
    length = (2 * (1 + z)).sqrt()
    return torch.stack([length / 2, -y / length, x / length, torch.zeros_like(x)], dim=1)
