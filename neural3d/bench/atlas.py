"""The atlas table: how long it takes to complete the texture of a whole surface."""

import time
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from neural3d.bench.machine import provenance
from neural3d.bench.texture_cases import MADE
from neural3d.priors.metrics import score
from neural3d.surface.bake import Texture
from neural3d.surface.mesh import Mesh
from neural3d.surface.open3d_library import require_open3d
from neural3d.surface.texels import texels_of
from neural3d.surface.unwrap import unwrap
from neural3d.texture.atlas import Atlas, atlas_of
from neural3d.texture.charts import chart_of, frame_around
from neural3d.texture.complete import CompleteConfig, complete

_UP = torch.tensor([0.0, 0.0, 1.0])
_SUBDIVISIONS = 4
_JUDGED = 12
_WINDOW_PX = 160


def measure_atlas(*, side_px: int, unseen: float, texture: str = "bricks", seed: int = 0) -> dict[str, Any]:
    """Complete a ball that is papered with a made texture, with and without `is_fast`.

    Raises: InputError where open3d or xatlas is not installed.
    """
    true = papered_ball(side_px, texture, seed)
    known = ~holes(true, unseen, seed)
    rows = {}
    for name, is_fast in (("default", False), ("fast", True)):
        began = time.monotonic()
        found = complete(true.with_colors(true.colors, known), _UP, CompleteConfig(is_fast=is_fast, seed=seed))
        seconds = time.monotonic() - began
        rows[name] = {
            "seconds": seconds,
            "method": found.choice.method,
            "windows": found.num_charts,
            "smooth_texels": found.num_smooth,
            "card": _judged(true, found.atlas, known),
        }
    asked = {"side": side_px, "texture": texture, "texels": len(known), "unseen": float((~known).float().mean())}
    return {"table": "atlas", **asked, "modes": rows, **provenance()}


def papered_ball(side_px: int, texture: str, seed: int) -> Atlas:
    """A ball of radius 1 with a made texture laid on it from the six sides, all of it known."""
    found = require_open3d().geometry.TriangleMesh.create_icosahedron(1.0).subdivide_midpoint(_SUBDIVISIONS)
    vertices, triangles = (torch.from_numpy(np.asarray(values)) for values in (found.vertices, found.triangles))
    vertices = torch.nn.functional.normalize(vertices.float(), dim=1)
    flat = unwrap(Mesh(vertices, triangles.long(), torch.full_like(vertices, 0.5)), side_px)
    texels = texels_of(flat, side_px)
    paper = (MADE[texture](side_px, seed) + 1) / 2
    picture = torch.zeros(side_px, side_px, 3)
    picture[texels.covered] = _papered(texels.points, paper, 1 / texels.spacing)
    return atlas_of(flat, Texture(picture, texels.covered, texels.covered))


def _papered(points: Float[Tensor, "N 3"], paper: Float[Tensor, "3 S S"], per_unit: float) -> Float[Tensor, "N 3"]:
    """A pixel a texel, seen along the axis that a place is furthest out on."""
    axis = points.abs().argmax(1)
    across = torch.stack([points.roll(-1 - k, 1)[:, :2] for k in range(3)])[axis, torch.arange(len(points))]
    pixels = (across * per_unit).round().long() % paper.shape[1]
    return paper[:, pixels[:, 1], pixels[:, 0]].T


def holes(atlas: Atlas, share: float, seed: int) -> Bool[Tensor, "N"]:
    """So much of the texels, in a few round holes of several sizes."""
    generator = np.random.default_rng(seed)
    found = torch.zeros_like(atlas.known)
    while float(found.float().mean()) < share:
        middle = atlas.texels.points[int(generator.integers(len(found)))]
        away = (atlas.texels.points - middle).norm(dim=1)
        left = int(share * len(found)) - int(found.sum())
        radius = min(float(generator.uniform(0.1, 0.4)), float(away[~found].sort().values[left]))
        found |= away <= radius
    return found


def _judged(true: Atlas, done: Atlas, known: Bool[Tensor, "N"]) -> dict[str, float]:
    """The metric card over windows onto holes."""
    generator, open_ = torch.Generator().manual_seed(0), (~known).nonzero()[:, 0]
    middles = open_[torch.randperm(len(open_), generator=generator)[:_JUDGED]].tolist()
    frames = [frame_around(true, texel, _WINDOW_PX, _UP) for texel in middles]
    pairs = [(chart_of(true, frame).image, chart_of(done, frame).image) for frame in frames]
    masks = [chart_of(true.with_colors(true.colors, known), frame).unknown for frame in frames]
    card = score([pair[1] for pair in pairs], [pair[0] for pair in pairs], masks)
    return {name: getattr(card, name) for name in ("c2st", "swd", "sharpness", "seam", "layout")}
