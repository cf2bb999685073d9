"""One HTML page that shows a scene by itself, offline: the pictures of a SOG file, and a small WebGL 2 program.

Open it from a disk, mail it, put it on any server: it fetches nothing, and its content policy lets it fetch nothing.
"""

import base64
import html
import json
import math
import string
import zipfile
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

import torch
from jaxtyping import Float, Int
from torch import Tensor

from neural3d.cameras import Cameras
from neural3d.export.rows import Written
from neural3d.export.sog import META, write_sog
from neural3d.render.paths import focus_point
from neural3d.scene import Similarity
from neural3d.splats.gaussians import Gaussians
from neural3d.storage import atomic_write

_SHARE_WITHIN = 0.9
"""Of the Gaussians that a first view without cameras is to show."""
_HALF_HEIGHT = math.tan(math.radians(25))


@dataclass(frozen=True)
class FirstView:
    """What the page shows when it is opened, in the frame of the file; the view turns about `target`."""

    eye: tuple[float, float, float]
    target: tuple[float, float, float]
    up: tuple[float, float, float]
    half_height: float = _HALF_HEIGHT
    """Tangent of half the vertical angle of view."""
    aspect: float = 1.5
    """Width by height of what a window of any shape must show."""
    light: bool = False
    """White behind the scene, not black."""


def write_html(
    path: str | Path,
    gaussians: Gaussians,
    *,
    capture_from_scene: Similarity,
    indices: Int[Tensor, "M"] | None = None,
    view: FirstView | None = None,
    title: str = "neural3d",
) -> Written:
    """Write Gaussians (those of `indices`, where given) in the frame that `capture_from_scene` leads to, with a viewer.

    Without a `view` the scene is seen whole, -y being up, as cameras that look along +z see it.

    Raises: StorageError; InputError when none is finite.
    Limits: as true as SOG; the browser needs WebGL 2. Order is by depth of the centres: what is very close to each
        other may pop when the view turns.
    """
    path = Path(path)
    written: list[Written] = []

    def write(temporary: Path) -> None:
        pictures = temporary.with_name(f"{temporary.stem}.sog")
        try:
            where = {"capture_from_scene": capture_from_scene, "indices": indices}
            written.append(write_sog(pictures, gaussians, **where))
            first = view or whole_view(gaussians, capture_from_scene)
            temporary.write_text(_page(pictures, first, title), encoding="utf-8")
        finally:
            pictures.unlink(missing_ok=True)

    atomic_write(path, write, estimate_bytes=32 * (len(gaussians) if indices is None else len(indices)))
    return written[0]


def view_of_cameras(
    cameras: Cameras, points: Float[Tensor, "P 3"], up_file: Float[Tensor, "3"], file_from_scene: Similarity
) -> FirstView:
    """Where the first photo was taken, turning about what the photos look at."""
    camera = cameras[0]
    width, height = camera.size_px[0].tolist()
    target = file_from_scene.apply(_ahead(camera, focus_point(cameras, points)))
    eye = file_from_scene.apply(camera.centers_world[0].double().cpu())
    half_height = height / 2 / float(camera.focal_px[0, 1])
    return FirstView(_three(eye), _three(target), _three(up_file), half_height, width / height)


def whole_view(
    gaussians: Gaussians, file_from_scene: Similarity, up: tuple[float, float, float] = (0.0, -1.0, 0.0)
) -> FirstView:
    """From a distance at which nearly all Gaussians are seen, from a little above."""
    means = file_from_scene.apply(gaussians.means_world.double().cpu())
    means = means[means.isfinite().all(1)]
    middle = means.median(0).values
    reach = float((means - middle).norm(dim=1).quantile(_SHARE_WITHIN)) if len(means) < 1 << 24 else 1.0
    upward = torch.tensor(up, dtype=torch.float64)
    helper = torch.eye(3, dtype=torch.float64)[int(upward.abs().argmin())]
    level = torch.linalg.cross(upward, helper)
    away = torch.nn.functional.normalize(level + 0.35 * upward, dim=0)
    distance = max(reach, 1e-6) / math.sin(math.atan(_HALF_HEIGHT))
    return FirstView(_three(middle + distance * away), _three(middle), up)


def _ahead(camera: Cameras, focus: Float[Tensor, "3"]) -> Float[Tensor, "3"]:
    """The point on the camera's axis that is nearest to the focus: the first picture is then the photo's."""
    center, forward = camera.centers_world[0].double().cpu(), camera.forward_world[0].double().cpu()
    distance = float((focus - center) @ forward)
    return center + forward * (distance if distance > 0 else float((focus - center).norm()))


def _three(values: Float[Tensor, "3"]) -> tuple[float, float, float]:
    x, y, z = values.tolist()
    return x, y, z


def _page(pictures: Path, view: FirstView, title: str) -> str:
    with zipfile.ZipFile(pictures) as archive:
        names = [name for name in archive.namelist() if name != META]
        content = {
            "meta": json.loads(archive.read(META)),
            "view": vars(view),
            "files": {name: base64.b64encode(archive.read(name)).decode() for name in names},
        }
    parts = files("neural3d.export") / "page"
    page = string.Template((parts / "page.html").read_text(encoding="utf-8"))
    script = (parts / "viewer.js").read_text(encoding="utf-8")
    # Numbers and base64 alone: nothing in it can end the element.
    return page.substitute(title=html.escape(title), scene=json.dumps(content), script=script)
