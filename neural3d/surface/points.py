"""What a model's views show, joined to one cloud of points with normals and colours.

Source: Merrell et al. 2007, Real-Time Visibility-Based Fusion of Depth Maps: a view's depth stays where others have it,
too, and goes where they see past it.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from neural3d.cameras import Cameras
from neural3d.errors import InputError
from neural3d.render.layers import points_at
from neural3d.render.model import Model
from neural3d.scene import Similarity
from neural3d.surface.depth_views import BEHIND, DepthView, seen_by
from neural3d.surface.thinning import thinned_rows

PIXELS_PER_POINT = 8
"""That are rendered of all views together: not all show something, and some show the same."""
LEAST_SIDE_PX, LEAST_VIEWS = 128, 24
"""Smaller views would not show where a surface ends, so that some are left out, but not so many that sides are lost."""
TOLERANCE = 0.01
"""Of the depth, within which two views mean the same."""
WITNESSES = 8
"""Views that are asked about what another one shows: those that see most of it."""
LEAST_WITNESSES = 2
_SAMPLE = 256
"""Pixels of a view by which its witnesses are chosen."""


@dataclass(frozen=True)
class SurfacePoints:
    """P points of surfaces."""

    places: Float[Tensor, "P 3"]
    normals: Float[Tensor, "P 3"]
    """Of length one, on the side that was seen."""
    colors: Float[Tensor, "P 3"]
    """Display sRGB in [0, 1]."""

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, rows: Tensor) -> "SurfacePoints":
        """Some of them."""
        return SurfacePoints(self.places[rows], self.normals[rows], self.colors[rows])

    def moved(self, b_from_a: Similarity) -> "SurfacePoints":
        """The same points in another frame."""
        normals = (self.normals.double() @ b_from_a.rotation.T).float()
        return replace(self, places=b_from_a.apply(self.places.double()).float(), normals=normals)


def surface_points(
    model: Model,
    cameras: Cameras,
    most: int,
    *,
    within: Callable[[Float[Tensor, "P 3"]], Bool[Tensor, "P"]] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> SurfacePoints:
    """At most so many points that several of a model's views agree on, in the scene's frame, evenly spread.

    `within` says at which places they are wanted, before they are thinned out: there may be none. `progress` is told
    how many views of how many are rendered.

    Raises: InputError where the views show no surface, or agree on none.
    Limits: what is beyond three times the middle depth is left out as background, and what fewer than three views see.
        Thin, see-through and mirroring things have no depth to go by. A splat has the depth of its centre everywhere.
    """
    small, views = sized_for(cameras, most), []
    for index in range(len(small)):
        views.append(_without_empty(seen_by(model, small[index])))
        if progress is not None:
            progress(index + 1, len(small))
    depths = torch.cat([view.depths[(view.depths > 0) & view.depths.isfinite()] for view in views])
    if len(depths) == 0:
        raise InputError("no view of the model shows a surface; train longer")
    middle = float(depths.median())
    parts = [_agreed(views, index, BEHIND * middle) for index in range(len(views))]
    found = SurfacePoints(*(torch.cat([getattr(part, name) for part in parts]) for name in _NAMES))
    if len(found) == 0:
        raise InputError("the views agree on no surface; train longer")
    if within is not None:
        found = found[within(found.places)]
    rows = torch.cat([getattr(found, name) for name in _NAMES], dim=1)
    pixel = middle / float(small.focal_px.median())
    places, normals, colors = thinned_rows(rows, most, finest=pixel / 2, fewest=1).split(3, dim=1)
    return SurfacePoints(places, torch.nn.functional.normalize(normals, dim=1), colors.clamp(0, 1))


_NAMES = ("places", "normals", "colors")


def sized_for(cameras: Cameras, most: int) -> Cameras:
    """Views of one size with as many pixels as so many points need; some of them where they would be too small."""
    width, height = cameras.size_px.max(dim=0).values.tolist()
    pixels = PIXELS_PER_POINT * most
    scale = max(math.sqrt(pixels / (len(cameras) * width * height)), LEAST_SIDE_PX / max(width, height))
    scale = min(1.0, scale)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    apart = max(1, min(len(cameras) * size[0] * size[1] // pixels, len(cameras) // LEAST_VIEWS))
    # Views that were taken one after the other look alike: a few of all are better than all of a few.
    return cameras[torch.arange(0, len(cameras), apart)].scaled(*size)


def _without_empty(view: DepthView) -> DepthView:
    """Where nothing is along a ray, the depth is infinite."""
    return view if view.empty is None else replace(view, depths=torch.where(view.empty, math.inf, view.depths))


def _agreed(views: Sequence[DepthView], index: int, farthest: float) -> SurfacePoints:
    """What a view shows and others have at the same place."""
    view = views[index]
    assert view.normals is not None, "rendered views have normals"
    depths = view.depths[..., 0]
    shown = (depths > 0) & (depths < farthest) & (view.normals.abs().amax(dim=-1) > 0)
    found = SurfacePoints(
        points_at(view.camera, torch.where(shown[..., None], view.depths, 0))[shown],
        view.normals[shown],
        view.colors[shown],
    )
    others = [views[i] for i in _witnesses(views, index, found.places)]
    agreeing, past = torch.zeros(len(found), dtype=torch.int32), torch.zeros(len(found), dtype=torch.int32)
    for other in others:
        same, beyond = _compared(other, found.places)
        agreeing += same
        past += beyond
    return found[(agreeing >= min(LEAST_WITNESSES, len(views) - 1)) & (past <= agreeing)]


def _witnesses(views: Sequence[DepthView], index: int, places: Float[Tensor, "P 3"]) -> list[int]:
    """The views that agree with most of some of the points."""
    some = places[torch.linspace(0, len(places) - 1, min(_SAMPLE, len(places))).long()]
    agreeing = {i: int(_compared(views[i], some)[0].sum()) for i in range(len(views)) if i != index}
    return sorted(agreeing, key=lambda i: -agreeing[i])[:WITNESSES]


def _compared(view: DepthView, places: Float[Tensor, "P 3"]) -> tuple[Bool[Tensor, "P"], Bool[Tensor, "P"]]:
    """Where a view shows something at a point itself, and where it looks through it."""
    camera = view.camera
    in_camera = places @ camera.camera_from_world[0, :3, :3].T + camera.camera_from_world[0, :3, 3]
    depths = in_camera[:, 2]
    pixels = in_camera[:, :2] / depths.clamp(min=1e-12)[:, None] * camera.focal_px[0] + camera.principal_px[0]
    column, row = _whole(pixels, camera).unbind(1)
    inside = (depths > 0) & ((pixels >= 0) & (pixels < camera.size_px[0])).all(dim=1)
    there = torch.where(inside, view.depths[row, column, 0], 0)
    same = (there - depths).abs() <= TOLERANCE * depths
    return same & (there > 0), there > (1 + TOLERANCE) * depths


def _whole(pixels: Float[Tensor, "P 2"], camera: Cameras) -> Int[Tensor, "P 2"]:
    """The pixels that points lie in, or the nearest in the picture."""
    return pixels.clamp(min=0).minimum(camera.size_px[0] - 1).nan_to_num().long()
