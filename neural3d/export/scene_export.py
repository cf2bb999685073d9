"""A model as a file of any splat format, turned upright, with what only some formats ask for."""

from pathlib import Path
from typing import Any

from jaxtyping import Float, Int
from torch import Tensor

from neural3d.cameras import Cameras
from neural3d.export.formats import SplatFormat
from neural3d.export.html import FirstView, view_of_cameras, whole_view
from neural3d.export.rows import Written
from neural3d.export.up_axis import UpAxis, composed, upright
from neural3d.scene import Similarity
from neural3d.splats.gaussians import Gaussians


def export_scene(
    path: Path,
    gaussians: Gaussians,
    chosen: SplatFormat,
    *,
    capture_from_scene: Similarity,
    up_world: Float[Tensor, "3"],
    cameras: Cameras | None = None,
    indices: Int[Tensor, "M"] | None = None,
    up: UpAxis | None = None,
    spz_version: int = 3,
    metres_per_unit: float = 1.0,
) -> Written:
    """Write the rows `indices` (None: all).

    `up_world` is in the capture's frame, the Gaussians and the cameras are in the scene's. `up` is the axis that the
    file shall have up; None: y for glTF, which says so, else the capture's own. `metres_per_unit` is what a unit of the
    file is, for USD, which says so.

    Raises: InputError; StorageError.
    """
    axis: UpAxis = up or ("y" if chosen.name == "glb" else "keep")
    turned = composed(upright(axis, up_world), capture_from_scene)
    more: dict[str, Any] = {}
    if chosen.name == "spz":
        more["version"] = spz_version
    if chosen.name == "usd":
        more |= {"up_axis": usd_axis(axis, up_world), "metres_per_unit": metres_per_unit}
    if chosen.name == "html":
        up_file = (upright(axis, up_world).rotation @ up_world.double()).float()
        more |= {"view": _first_view(gaussians, cameras, up_file, turned), "title": path.stem}
    return chosen.write(path, gaussians, capture_from_scene=turned, indices=indices, **more)


def usd_axis(up: UpAxis, up_world: Float[Tensor, "3"]) -> str:
    """What the stage says is up: USD knows +y and +z alone."""
    if up in ("y", "z"):
        return up.upper()
    return "Z" if up == "keep" and up_world[2] > up_world[1] else "Y"


def _first_view(
    gaussians: Gaussians, cameras: Cameras | None, up_file: Float[Tensor, "3"], turned: Similarity
) -> FirstView:
    """As the first photo shows it; of a file, whole."""
    if cameras is None:
        x, y, z = up_file.tolist()
        return whole_view(gaussians, turned, (x, y, z))
    return view_of_cameras(cameras, gaussians.means_world, up_file, turned)
