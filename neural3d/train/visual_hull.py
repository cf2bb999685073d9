"""Which cells of an occupancy grid the photos let be occupied: seen by a camera, and shown empty by next to none.

A field learns nothing where no photo looks, and what photos with alpha show as empty stays empty: whoever leaves such
cells out from the first step on looks along rays where something can be, instead of waiting until training has found
out where nothing is.

Source: Laurentini 1994, The Visual Hull Concept for Silhouette-Based Image Understanding; Mueller et al. 2022, Instant
Neural Graphics Primitives, appendix E.2 (cells that no camera sees).
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int, Int32
from torch import Tensor

from neural3d.cameras import Cameras
from neural3d.errors import InputError
from neural3d.fields.hashgrid import HashGridPlace
from neural3d.scene import Scene
from neural3d.train.initial import EMPTY_SHARE

EMPTY_ALPHA = 8
"""Of 255: less is taken for nothing."""
FEWEST_SHARE = 0.1
"""Of the photos that see the best seen cell; what fewer see of an object is not taken for a part of it."""
NEAREST_RADII = 2.0
"""A camera nearer to a cell than so many of its radii says nothing about it."""
COARSEST_CELLS = 16
"""Along each axis of the first grid that is looked at, at most; only what is left of it is divided."""
POSE_MARGIN = 0.06
"""Of a box's side: where poses are still to be refined, photos may show as empty what is no farther from something."""
TIGHT_CELLS = 64
"""Along each axis of the grid by which a box is drawn tight."""


@dataclass(frozen=True)
class Cells:
    """Balls around cells of a grid, in the scene's frame."""

    centers: Float[Tensor, "C 3"]
    radii: Float[Tensor, "C"]

    def __getitem__(self, rows: Tensor) -> "Cells":
        """Some of them."""
        return Cells(self.centers[rows], self.radii[rows])


@dataclass(frozen=True)
class Looks:
    """What a photo says of cells."""

    seen: Bool[Tensor, "C"]
    """At least in part."""
    whole: Bool[Tensor, "C"]
    """In all their extent."""
    empty: Bool[Tensor, "C"]
    """Whole, and nothing is there."""


def possible_cells(scene: Scene, place: HashGridPlace, side: int) -> Bool[Tensor, "G G G"]:
    """Of a grid of `side` cells along each axis, indexed [z, y, x]."""
    sides = [side]
    while sides[-1] % 2 == 0 and sides[-1] > COARSEST_CELLS:
        sides.append(sides[-1] // 2)
    coarsest = torch.arange(sides[-1])
    z, y, x = torch.meshgrid(coarsest, coarsest, coarsest, indexing="ij")
    corners = torch.stack([x.flatten(), y.flatten(), z.flatten()], dim=1)
    for cells in reversed(sides):
        if cells != sides[-1]:
            corners = (2 * corners[:, None] + _CHILDREN).flatten(0, 1)
        corners = corners[_possible(scene, place, corners, cells, is_finest=cells == side)]
    possible = torch.zeros(side, side, side, dtype=torch.bool)
    x, y, z = corners.unbind(1)
    possible[z, y, x] = True
    return possible


_CHILDREN = torch.tensor([[x, y, z] for z in (0, 1) for y in (0, 1) for x in (0, 1)])


def _possible(
    scene: Scene, place: HashGridPlace, corners: Int[Tensor, "C 3"], side: int, *, is_finest: bool
) -> Int[Tensor, "M"]:
    """Rows of cells that stay; those of a coarse grid stay where any of their parts may."""
    cells, inside = _cells_at(place, corners, side)
    rows = inside.nonzero()[:, 0]
    views = len(scene.train_indices)
    seen, whole, empty = (torch.zeros(len(corners), dtype=torch.int32) for _ in range(3))
    for i in scene.train_indices.tolist():
        # Without alpha nothing is left to be asked of cells that were seen.
        asked = rows if scene.photos[i].alpha is not None else rows[seen[rows] == 0]
        looks = _looks(scene, i, cells[asked])
        seen[asked] += looks.seen
        whole[asked] += looks.whole
        empty[asked] += looks.empty
        rows = rows[empty[rows] <= EMPTY_SHARE * views]
    if not (is_finest and scene.has_alpha):
        return rows[seen[rows] > 0]
    # At the rim of the box few photos are there to say that nothing is.
    enough = FEWEST_SHARE * int(whole.max()) if len(whole) else 0
    return rows[(whole[rows] > enough) & (empty[rows] <= EMPTY_SHARE * whole[rows])]


def widened(possible: Bool[Tensor, "G G G"], margin: float) -> Bool[Tensor, "G G G"]:
    """With all cells that lie next to these, within a share of the grid's side along each axis."""
    cells = math.ceil(margin * len(possible))
    spread = possible.float()[None]
    for _ in range(3):
        spread = torch.nn.functional.max_pool2d(spread, (1, 2 * cells + 1), stride=1, padding=(0, cells))
        spread = spread.permute(0, 3, 1, 2)
    return (spread[0] > 0).contiguous()


def tight_place(scene: Scene, place: HashGridPlace) -> HashGridPlace:
    """The smallest cube around all that the photos let be in a place with bounds.

    Raises:
        InputError: They let nothing be anywhere.
    """
    cells = possible_cells(scene, place, TIGHT_CELLS).nonzero().flip(1)
    if len(cells) == 0:
        raise InputError(
            "the photos' alpha leaves no place where anything could be; check the poses and the alpha channels"
        )
    low, high = cells.amin(dim=0), cells.amax(dim=0) + 1
    middle = (low + high).double() / TIGHT_CELLS - 1
    center = torch.tensor(place.center, dtype=torch.float64) + place.half * middle
    x, y, z = center.tolist()
    return HashGridPlace((x, y, z), place.half * float((high - low).max()) / TIGHT_CELLS)


def _cells_at(place: HashGridPlace, corners: Int[Tensor, "C 3"], side: int) -> tuple[Cells, Bool[Tensor, "C"]]:
    """Cells of a grid by their numbers (x, y, z), and which of them are places of the scene."""
    unit, radius = (corners + 0.5) / side, math.sqrt(3) / side
    center = torch.tensor(place.center, dtype=torch.float32)
    if not place.contracted:
        radii = torch.full_like(unit[:, 0], place.half * radius)
        return Cells(center + place.half * (2 * unit - 1), radii), torch.ones_like(radii, dtype=torch.bool)
    contracted = 4 * unit - 2
    length = _length(contracted)
    # Of a cell that reaches beyond the ball of radius 2 the part inside counts.
    room = (2 - length).clamp(min=radius / 2)
    outward = torch.where(length > 1, 1 / (room * length.clamp(min=1)), 1)
    stretch = torch.where(length > 1, 1 / room.square(), 1)
    cells = Cells(center + place.half * outward[:, None] * contracted, 2 * place.half * radius * stretch)
    return cells, length < 2 + 2 * radius


def _looks(scene: Scene, index: int, cells: Cells) -> Looks:
    """What one photo says."""
    camera, photo = scene.cameras[index], scene.photos[index]
    in_camera = _products(cells.centers, camera.camera_from_world[0, :3, :3]) + camera.camera_from_world[0, :3, 3]
    inside = _products(in_camera, _sides(camera)).amin(dim=1)
    seen = (inside > -cells.radii) & (in_camera[:, 2] > -cells.radii)
    whole = (inside >= cells.radii) & (in_camera[:, 2] > NEAREST_RADII * cells.radii)
    empty = torch.zeros_like(seen)
    if photo.alpha is not None:
        rows = whole.nonzero()[:, 0]
        low, high = _windows(camera, in_camera[rows], cells.radii[rows])
        full = photo.alpha >= EMPTY_ALPHA if photo.valid is None else (photo.alpha >= EMPTY_ALPHA) | ~photo.valid
        empty[rows] = _sums(full, low, high) == 0
    return Looks(seen, whole, empty)


def _sides(camera: Cameras) -> Float[Tensor, "4 3"]:
    """Unit normals of the planes that bound what a camera sees, inwards."""
    (fx, fy), (cx, cy), (width, height) = (
        row[0].tolist() for row in (camera.focal_px, camera.principal_px, camera.size_px)
    )
    planes = torch.tensor([[fx, 0, cx], [-fx, 0, width - cx], [0, fy, cy], [0, -fy, height - cy]])
    return planes / planes.norm(dim=1, keepdim=True)


def _windows(
    camera: Cameras, centers: Float[Tensor, "C 3"], radii: Float[Tensor, "C"]
) -> tuple[Int32[Tensor, "C 2"], Int32[Tensor, "C 2"]]:
    """Pixels (x, y) from which, and before which, balls in the camera's frame are seen: never less than they cover."""
    depth = centers[:, 2:]
    slopes = centers[:, :2] / depth
    reach = camera.focal_px[0] * (1 + slopes.abs()) * (radii[:, None] / (depth - radii[:, None]))
    pixels = camera.focal_px[0] * slopes + camera.principal_px[0]
    size = camera.size_px[0]
    low, high = ((pixels + sign * reach).clamp(min=0).minimum(size) for sign in (-1, 1))
    return low.floor().int(), high.ceil().int()


def _products(vectors: Float[Tensor, "C 3"], rows: Float[Tensor, "K 3"]) -> Float[Tensor, "C K"]:
    """Of each with each, written out: a matrix product may round otherwise with another number of threads."""
    x, y, z = (vectors[:, None, :] * rows).unbind(2)
    return x + y + z


def _length(vectors: Float[Tensor, "C 3"]) -> Float[Tensor, "C"]:
    x, y, z = vectors.unbind(1)
    return (x * x + y * y + z * z).sqrt()


def _sums(marked: Bool[Tensor, "H W"], low: Int32[Tensor, "C 2"], high: Int32[Tensor, "C 2"]) -> Int32[Tensor, "C"]:
    """How many pixels are marked in rectangles from `low` to before `high`, (x, y) inside the image."""
    height, width = marked.shape
    table = torch.zeros(height + 1, width + 1, dtype=torch.int32)
    table[1:, 1:] = marked.int().cumsum(0, dtype=torch.int32).cumsum(1, dtype=torch.int32)
    x0, y0, x1, y1 = (axis.long() for axis in (*low.unbind(1), *high.unbind(1)))
    return table[y1, x1] - table[y0, x1] - table[y1, x0] + table[y0, x0]
