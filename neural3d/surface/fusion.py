"""Depths and colours of many views fused to one surface.

Source: Curless and Levoy 1996, A Volumetric Method for Building Complex Models from Range Images; in sparse blocks,
Dong et al. 2021, ASH (Open3D's VoxelBlockGrid).
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from neural3d.cameras import Cameras
from neural3d.errors import InputError
from neural3d.render.model import Model
from neural3d.surface.depth_views import BEHIND, DepthView, at_most, seen_by
from neural3d.surface.mesh import Mesh, no_mesh
from neural3d.surface.open3d_library import require_open3d

_BLOCK, _FIRST_BLOCKS = 8, 20_000
_LEAST_WEIGHT = 2.5
"""A view is 1: three must have seen a place before there is a surface."""
_PIXELS = 2.0
_MAX_VOXELS_ACROSS = 2048


@dataclass(frozen=True)
class Fusion:
    """How views are fused."""

    voxel: float | None = None
    """Edge of a voxel in scene units; None: as large as two pixels at the middle depth."""
    longest_px: int = 800
    """Views with longer sides are rendered smaller."""
    truncation: float = 6.0
    """Voxels before and behind a surface that a view speaks of."""


def fuse(
    model: Model,
    cameras: Cameras,
    fusion: Fusion | None = None,
    *,
    progress: Callable[[int, int], None] | None = None,
) -> Mesh:
    """The surface that a model's views agree on, in the scene's frame; colours are those of the renders.

    `progress` is told how many views of how many are fused.

    Raises: InputError where open3d is not installed, or where no surface is found.
    Limits: what fewer than three views see stays open; thin, see-through and mirroring things have no depth. A splat
        has the depth of its centre everywhere, so slanted surfaces come out up to half its width too near.
    """
    fusion = fusion or Fusion()
    small = at_most(cameras, fusion.longest_px)
    first = [seen_by(model, small[i]) for i in range(0, len(small), max(1, len(small) // 8))]
    depths = torch.cat([view.depths[view.depths > 0] for view in first])
    if len(depths) == 0:
        raise InputError("no view of the model shows a surface; train longer, or export points or splats")
    middle = float(depths.median())
    voxel = fusion.voxel or _PIXELS * middle / float(small.focal_px.median())
    if not voxel * _MAX_VOXELS_ACROSS >= middle:
        raise InputError(f"voxels of {voxel:.3g} are too small for a scene {middle:.3g} away; give larger ones")

    def views() -> Iterator[DepthView]:
        for index in range(len(small)):
            yield seen_by(model, small[index])
            if progress is not None:
                progress(index + 1, len(small))

    mesh = fuse_depths(views(), voxel=voxel, truncation=fusion.truncation, farthest=BEHIND * middle)
    if len(mesh) == 0:
        raise InputError("the views agree on no surface; train longer, or export points or splats")
    return mesh


def fuse_depths(views: Iterable[DepthView], *, voxel: float, truncation: float, farthest: float) -> Mesh:
    """The surface that views with known depths agree on; nothing of it is beyond `farthest` of a view.

    Raises: InputError where open3d is not installed.
    """
    grid = _Grid(voxel, truncation, farthest)
    for view in views:
        grid.add(view)
    return grid.mesh()


class _Grid:
    """Signed distances and colours in blocks of voxels, where there are any."""

    def __init__(self, voxel: float, truncation: float, farthest: float) -> None:
        self.o3d, self.truncation, self.farthest = require_open3d(), truncation, farthest
        floats = self.o3d.core.float32
        self.volume = self.o3d.t.geometry.VoxelBlockGrid(
            attr_names=("tsdf", "weight", "color"),
            attr_dtypes=(floats, floats, floats),
            attr_channels=((1), (1), (3)),
            voxel_size=voxel,
            block_resolution=_BLOCK,
            block_count=_FIRST_BLOCKS,
        )

    def add(self, view: DepthView) -> None:
        """One more view."""
        core, image = self.o3d.core, self.o3d.t.geometry.Image
        if not ((view.depths > 0) & (view.depths < self.farthest)).any():
            return
        depth, color = (image(core.Tensor(t.contiguous().numpy())) for t in (view.depths, view.colors))
        camera = (core.Tensor(_intrinsics(view.camera).numpy()), core.Tensor(_extrinsics(view.camera).numpy()))
        limits = (1.0, self.farthest, self.truncation)
        blocks = self.volume.compute_unique_block_coordinates(depth, *camera, *limits)
        self.volume.integrate(blocks, depth, color, *camera, *limits)

    def mesh(self) -> Mesh:
        """The surface where the distance is zero."""
        found = self.volume.extract_triangle_mesh(weight_threshold=_LEAST_WEIGHT)
        if "positions" not in found.vertex or "indices" not in found.triangle:
            return no_mesh()
        vertices, colors = (torch.from_numpy(found.vertex[name].numpy()).float() for name in ("positions", "colors"))
        triangles = torch.from_numpy(found.triangle["indices"].numpy()).long()
        return Mesh(vertices, triangles, colors.clamp(0, 1))


def _intrinsics(camera: Cameras) -> Float[Tensor, "3 3"]:
    """Open3D cuts pixel coordinates down to whole numbers, so that pixels begin there, as ours do."""
    matrix = torch.eye(3, dtype=torch.float64)
    matrix[0, 0], matrix[1, 1] = camera.focal_px[0].double()
    matrix[:2, 2] = camera.principal_px[0].double()
    return matrix


def _extrinsics(camera: Cameras) -> Float[Tensor, "4 4"]:
    return camera.camera_from_world[0].double()
