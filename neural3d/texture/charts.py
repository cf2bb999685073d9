"""Windows onto a surface, square and straight: seen along the normal of a place, at the texture's own density.

What an atlas tears apart hangs together in a chart, and what it turns or mirrors stands upright: so a prior of images
can continue it. Around what is unknown a chart shows what is known.
"""

import math
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from neural3d.priors.exemplar.poisson import harmonic_fill
from neural3d.texture.atlas import Atlas

_LEAST_FACING = 0.35
"""Cosine of the steepest slope that a chart shows; beyond, texels smear."""
_DEEP = 0.5
"""How far from its plane a chart reaches to either side, in its own widths."""
_SHALLOW_PX = 8.0
_SAME_PX = 2.5
"""A texel whose height is off by more texels than this is hidden behind what the chart shows."""
_CANDIDATES, _LOOKED_AT = 48, 20_000
_BESIDE = 2000
"""Texels of which the middles of windows are chosen."""


@dataclass(frozen=True)
class Frame:
    """Where a chart lies: x to the right, y down, its normal towards the eye."""

    center: Float[Tensor, "3"]
    axes: Float[Tensor, "3 3"]
    """Rows: right, down, normal; the first two times the third's cross product is right-handed as pixels are."""
    spacing: float
    """Of its pixels, in the units of the surface."""
    side_px: int
    reach_px: float
    """How far from its plane it shows the surface, to either side."""

    @property
    def shallow(self) -> "Frame":
        """The same window just above the surface, under what hides it."""
        return replace(self, reach_px=_SHALLOW_PX)

    def places(self, points: Float[Tensor, "N 3"]) -> Float[Tensor, "N 3"]:
        """Column, row (from the upper left corner) and height over the plane, all in pixels."""
        local = (points - self.center) @ self.axes.T / self.spacing
        return local + local.new_tensor([self.side_px / 2, self.side_px / 2, 0.0])


@dataclass(frozen=True)
class Chart:
    """What a window shows."""

    frame: Frame
    image: Float[Tensor, "3 H W"]
    """In [-1, 1]; where nothing is known, what is expected there from afar."""
    unknown: Bool[Tensor, "H W"]
    """On the surface, and to be filled in."""
    known: Bool[Tensor, "H W"]
    """On the surface, and known; what is neither is beside the surface, or turned away."""
    heights: Float[Tensor, "H W"]
    """Over the plane, in pixels."""


def continued(chart: Chart) -> Chart:
    """The same with its unknown texels expected to go on as smoothly as can be from what the chart shows."""
    known = chart.known
    mean = chart.image[:, known].mean(1)[:, None, None] if bool(known.any()) else chart.image.new_zeros(3, 1, 1)
    smooth = harmonic_fill(torch.where(known, chart.image, mean), ~known)
    return replace(chart, image=torch.where(known, chart.image, smooth))


def frame_at(
    center: Float[Tensor, "3"], normal: Float[Tensor, "3"], up: Float[Tensor, "3"], spacing: float, side_px: int
) -> Frame:
    """Upright where that means something: down is away from `up` as far as the plane allows."""
    aside = up if float(torch.dot(up, normal).abs()) < 0.95 else torch.eye(3)[int(normal.abs().argmin())]
    right = torch.nn.functional.normalize(torch.linalg.cross(aside, normal), dim=0)
    down = torch.linalg.cross(right, normal)
    return Frame(center, torch.stack([right, down, normal]), spacing, side_px, _DEEP * side_px)


def chart_of(atlas: Atlas, frame: Frame) -> Chart:
    """Look through the window: one ray a pixel, from above the surface along the normal."""
    side = frame.side_px
    steps = (torch.arange(side) + 0.5 - side / 2) * frame.spacing
    rows, columns = torch.meshgrid(steps, steps, indexing="ij")
    right, down, normal = frame.axes
    high = frame.reach_px * frame.spacing
    plane = frame.center + columns.reshape(-1, 1) * right + rows.reshape(-1, 1) * down
    hits = atlas.caster.hits(plane + high * normal, (-normal).expand(side * side, 3))
    mesh = atlas.surface.mesh
    corners = mesh.triangles[hits.triangles.clamp_min(0)]
    facing = _unit_normals(mesh.vertices[corners]) @ normal
    shown = (hits.triangles >= 0) & (hits.distances < 2 * high) & (facing > _LEAST_FACING)
    uvs = (atlas.surface.uvs[corners] * hits.weights[..., None]).sum(1)
    numbers = atlas.numbers_at(uvs)
    shown &= numbers >= 0
    known = shown & atlas.known[numbers.clamp_min(0)]
    image = 2 * atlas.colors[numbers.clamp_min(0)] - 1
    heights = torch.where(shown, (high - hits.distances) / frame.spacing, -torch.inf)
    square = (side, side)
    return Chart(
        frame,
        image.T.reshape(3, *square).contiguous(),
        (shown & ~known).reshape(square),
        known.reshape(square),
        heights.reshape(square),
    )


def written_back(atlas: Atlas, chart: Chart, image: Float[Tensor, "3 H W"]) -> Atlas:
    """The unknown texels that a chart shows take their colours from it; those that are known stay."""
    open_ = (~atlas.known).nonzero()[:, 0]
    places = chart.frame.places(atlas.texels.points[open_])
    facing = atlas.texels.normals[open_] @ chart.frame.axes[2] > 0.8 * _LEAST_FACING
    side = chart.frame.side_px
    pixels = places[:, :2].floor().long()
    inside = ((pixels >= 0) & (pixels < side)).all(dim=1) & facing
    open_, places, pixels = open_[inside], places[inside], pixels[inside]
    columns, rows = pixels.unbind(1)
    shown = chart.unknown[rows, columns] & ((chart.heights[rows, columns] - places[:, 2]).abs() < _SAME_PX)
    open_, places = open_[shown], places[shown]
    colors, known = atlas.colors.clone(), atlas.known.clone()
    colors[open_] = (_between_pixels(image, places[:, :2]) + 1) / 2
    known[open_] = True
    return atlas.with_colors(colors.clamp(0, 1), known)


def next_frame(
    atlas: Atlas, side_px: int, up: Float[Tensor, "3"], generator: torch.Generator, tried: Bool[Tensor, "N"]
) -> tuple[Frame, int] | None:
    """The window that shows much that is unknown beside much that is known, and the texel in its middle.

    None where nothing is unknown but what was in the middle before.
    """
    open_ = (~atlas.known & ~tried).nonzero()[:, 0]
    if len(open_) == 0:
        return None
    spacing = atlas.spacing
    picked = open_[torch.randperm(len(open_), generator=generator)[:_CANDIDATES]]
    looked = torch.randperm(len(atlas.known), generator=generator)[:_LOOKED_AT]
    points, normals, known = atlas.texels.points[looked], atlas.texels.normals[looked], atlas.known[looked]
    near = torch.cdist(atlas.texels.points[picked], points) < 0.5 * side_px * spacing
    near &= atlas.texels.normals[picked] @ normals.T > 0.5
    counts = [(near & mask).sum(1).float() for mask in (~known, known)]
    best = int(((counts[0] + 0.1) * (counts[1] + 0.05 * counts[0] + 0.1)).argmax())
    seed = int(picked[best])
    return frame_around(atlas, seed, side_px, up), seed


def frame_around(atlas: Atlas, texel: int, side_px: int, up: Float[Tensor, "3"]) -> Frame:
    """A window with a texel in its middle, along the mean normal of what lies around it."""
    points, normals = atlas.texels.points, atlas.texels.normals
    spacing = atlas.spacing
    near = ((points - points[texel]).norm(dim=1) < 0.15 * side_px * spacing) & (normals @ normals[texel] > 0.3)
    mean = torch.nn.functional.normalize(normals[near].sum(0) + 1e-6 * normals[texel], dim=0)
    return frame_at(points[texel], mean, up, spacing, side_px)


def known_frames(
    atlas: Atlas, side_px: int, up: Float[Tensor, "3"], count: int, generator: torch.Generator
) -> list[Frame]:
    """Windows all over what is known, each far from the others."""
    known = atlas.known.nonzero()[:, 0]
    if len(known) == 0:
        return []
    pool = known[torch.randperm(len(known), generator=generator)[:_BESIDE]]
    return _spread_frames(atlas, pool, side_px, up, count)


def _spread_frames(
    atlas: Atlas, pool: Int64[Tensor, "K"], side_px: int, up: Float[Tensor, "3"], count: int
) -> list[Frame]:
    if len(pool) == 0:
        return []
    chosen = [int(pool[0])]
    while len(chosen) < min(count, len(pool)):
        apart = torch.cdist(_places_and_normals(atlas, pool), _places_and_normals(atlas, torch.tensor(chosen)))
        chosen.append(int(pool[apart.amin(1).argmax()]))
    return [frame_around(atlas, texel, side_px, up) for texel in chosen]


def frames_beside_unknown(
    atlas: Atlas, side_px: int, up: Float[Tensor, "3"], count: int, generator: torch.Generator
) -> list[Frame]:
    """Windows on what is known where it ends, each far from the others: what is unknown goes on from there."""
    open_, known = (rows.nonzero()[:, 0] for rows in (~atlas.known, atlas.known))
    if len(open_) == 0 or len(known) == 0:
        return []
    open_, known = (rows[torch.randperm(len(rows), generator=generator)[:_BESIDE]] for rows in (open_, known))
    apart = torch.cdist(atlas.texels.points[known], atlas.texels.points[open_]).amin(1)
    pool = known[apart < 0.25 * side_px * atlas.spacing]
    return _spread_frames(atlas, pool, side_px, up, count)


def _places_and_normals(atlas: Atlas, numbers: Int64[Tensor, "K"]) -> Float[Tensor, "K 6"]:
    """Where a sheet has two sides, these are far from each other, too."""
    size = atlas.texels.points.std(0).norm()
    return torch.cat([atlas.texels.points[numbers] / size, 0.5 * atlas.texels.normals[numbers]], dim=1)


def _unit_normals(corners: Float[Tensor, "R 3 3"]) -> Float[Tensor, "R 3"]:
    a, b, c = corners.unbind(1)
    return torch.nn.functional.normalize(torch.linalg.cross(b - a, c - a), dim=1)


def _between_pixels(image: Float[Tensor, "3 H W"], places: Float[Tensor, "N 2"]) -> Float[Tensor, "N 3"]:
    """Bicubic: bilinear, copied texels lose sharpness on their way back."""
    grid = (2 * places / image.shape[1] - 1)[None, None]
    found = torch.nn.functional.grid_sample(
        image[None], grid, mode="bicubic", padding_mode="border", align_corners=False
    )
    return found[0, :, 0].T


def nearest_known(atlas: Atlas) -> Atlas:
    """Texels that no chart shows take the colour of the nearest one that is known; grey where none is."""
    open_, known = (~atlas.known).nonzero()[:, 0], atlas.known.nonzero()[:, 0]
    colors = atlas.colors.clone()
    if len(known) == 0:
        return atlas.with_colors(torch.full_like(colors, 0.5), torch.ones_like(atlas.known))
    stride = max(1, math.ceil(len(known) / 50_000))
    from_known = known[::stride]
    for part in open_.split(2048):
        apart = torch.cdist(atlas.texels.points[part], atlas.texels.points[from_known])
        colors[part] = atlas.colors[from_known[apart.argmin(1)]]
    return atlas.with_colors(colors, torch.ones_like(atlas.known))
