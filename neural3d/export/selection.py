"""Which Gaussians of a model are written: within a box, opaque enough, the ones that matter most."""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from neural3d.cameras import Cameras
from neural3d.errors import InputError
from neural3d.render.contributions import blend_weights
from neural3d.render.paths import look_at
from neural3d.scene import Similarity
from neural3d.splats.gaussians import Gaussians

_NUM_AROUND = 20
_SIDE_PX = 256
"""Of the square views around a model; they are 90 degrees wide."""
_SHARE_WITHIN = 0.9
"""Of the Gaussians that lie within the model's reach; what is further away are floaters and the sky."""
_DISTANCE = 1.6
"""Of the cameras around it from its middle, in reaches: it fills them."""


@dataclass(frozen=True)
class Selection:
    """What to keep; nothing is left out where nothing is said."""

    box: tuple[float | int, ...] | None = None
    """Least x, y, z and greatest x, y, z of the means, in the capture's frame and units."""
    min_opacity: float = 0.0
    """In [0, 1]."""
    max_splats: int | None = None
    """Of those left, the ones that contribute most."""


def select(
    gaussians: Gaussians,
    selection: Selection,
    *,
    capture_from_scene: Similarity,
    cameras: Cameras | None = None,
) -> Int[Tensor, "M"]:
    """The rows to keep, in their order.

    What a Gaussian contributes is the sum of its blending weights over all pixels of the cameras, which are in the
    scene's frame; without cameras, of views from all around the model and from within.

    Raises: InputError when a limit makes no sense, or when none is left.
    """
    _require_sensible(selection)
    keep = torch.sigmoid(gaussians.logit_opacities) >= selection.min_opacity
    if selection.box is not None:
        low, high = torch.tensor(selection.box).reshape(2, 3).double()
        means = capture_from_scene.apply(gaussians.means_world.double())
        keep &= ((means >= low) & (means <= high)).all(1)
    rows = keep.nonzero()[:, 0]
    if not len(rows):
        raise InputError(f"none of the {len(gaussians)} Gaussians is left; widen --crop or lower --min-opacity")
    if selection.max_splats is None or len(rows) <= selection.max_splats:
        return rows
    weights = blend_weights(gaussians, cameras_around(gaussians) if cameras is None else cameras)
    return rows[weights[rows].topk(selection.max_splats).indices.sort().values]


def cameras_around(gaussians: Gaussians) -> Cameras:
    """Views of a model of which no cameras are known: inwards from a sphere around it, and outwards from its middle."""
    means = gaussians.means_world.double()
    middle = means.median(0).values
    distances = (means - middle).norm(dim=1)
    reach = distances.kthvalue(max(1, int(_SHARE_WITHIN * len(means)))).values.clamp(min=1e-12)
    outside = _directions(_NUM_AROUND) * reach * _DISTANCE
    axes = torch.cat([torch.eye(3), -torch.eye(3)]).double()
    places = torch.cat([outside, torch.zeros(6, 3, dtype=torch.float64)]) + middle
    targets = torch.cat([torch.zeros_like(outside), axes * reach]) + middle
    up = torch.tensor([0.30, 0.59, 0.75])  # along none of the directions
    poses = look_at(places, targets, up).float()
    size = torch.full((len(poses), 2), _SIDE_PX)
    return Cameras(poses, torch.full((len(poses), 2), _SIDE_PX / 2), size / 2, size)


def _directions(count: int) -> Float[Tensor, "V 3"]:
    """Unit vectors spread evenly.

    Source: the Fibonacci lattice; Swinbank and Purser 2006.
    """
    number = torch.arange(count, dtype=torch.float64) + 0.5
    z, turn = 1 - 2 * number / count, number * (math.pi * (3 - math.sqrt(5)))
    return torch.stack([(1 - z * z).sqrt() * turn.cos(), (1 - z * z).sqrt() * turn.sin(), z], dim=1)


def require_box(box: tuple[float | int, ...]) -> None:
    """Raises: InputError where it is not the least x, y, z and the greatest."""
    if len(box) != 6 or not all(a < b for a, b in zip(box[:3], box[3:], strict=True)):
        shown = " ".join(f"{value:g}" for value in box)
        raise InputError(f"--crop {shown}: expected the least x y z, then a greatest x y z above each")


def _require_sensible(selection: Selection) -> None:
    if not 0 <= selection.min_opacity <= 1:
        raise InputError(f"--min-opacity {selection.min_opacity:g}: expected 0 to 1")
    if selection.max_splats is not None and selection.max_splats < 1:
        raise InputError(f"--max-splats {selection.max_splats}: expected 1 or more")
    if selection.box is not None:
        require_box(selection.box)
