"""The arcs table: cameras of one side withheld, what they alone saw completed, and held against their photos."""

import math
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from neural3d.bench.machine import provenance
from neural3d.bench.textures import opencv_fill
from neural3d.capture import load_capture
from neural3d.errors import InputError
from neural3d.evaluation import evaluation_background, photo_colors
from neural3d.metrics import psnr
from neural3d.priors.fitting import seeded
from neural3d.priors.metrics import score
from neural3d.render.images import write_png
from neural3d.render.rendering import RenderFn
from neural3d.render.splats import render_function
from neural3d.run import Run
from neural3d.scene import Scene
from neural3d.splats.gaussians import Gaussians
from neural3d.surface.bake import bake
from neural3d.surface.photo_views import Unexposed, photo_views
from neural3d.surface.unwrap import unwrap
from neural3d.surface.whole import whole_surface
from neural3d.texture.atlas import Atlas, atlas_of
from neural3d.texture.charts import Chart, nearest_known
from neural3d.texture.complete import CompleteConfig, Progress, complete, in_windows
from neural3d.texture.pictures import shown_texels
from neural3d.texture.proposals import filled
from neural3d.texture.splats import with_completed
from neural3d.train.config import SplatConfig
from neural3d.train.exposure import exposure_removal
from neural3d.train.splats import train_splats

AS_TRAINED = "as trained"
METHODS = (AS_TRAINED, "flat", "nearest", "telea", "smooth", "quilt", "patchnn", "auto-fast")
_REACH = 0.25
_LEAST_PX = 200
"""Of a picture, to say anything about what no photo saw in it."""
_MOST_PICTURES = 4


@dataclass(frozen=True)
class Arc:
    """Which cameras are withheld."""

    degrees: float
    center_degrees: float
    """Azimuth about the axis that points up, from the first camera on."""


@dataclass(frozen=True)
class Seen:
    """A model that never saw the arc, and its surface."""

    scene: Scene
    """The arc's views are its test views."""
    gaussians: Gaussians
    atlas: Atlas


def measure_arcs(
    capture: Path,
    arc: Arc,
    *,
    downscale: float,
    config: SplatConfig,
    methods: Sequence[str],
    side_px: int,
    triangles: int = 50_000,
    pictures: Path | None = None,
) -> dict[str, Any]:
    """Train without the arc, complete by each method, and judge on the arc's photos.

    With `pictures`, a sheet of each of some views goes there: the photo, then each method.

    Raises: InputError where the arc holds all cameras or none, or where a method's library is missing.
    """
    scene = without_arc(load_capture(capture, downscale=downscale), arc)
    with tempfile.TemporaryDirectory() as folder, Run.create(Path(folder) / "run", {}) as run:
        trained = train_splats(scene, config, run=run)
        checkpoint = run.latest_checkpoint()
    if checkpoint is None:
        raise InputError("training was stopped before its first checkpoint")
    unexposed = exposure_removal(config.exposure, checkpoint.tensors, linear=trained.gaussians.linear)
    seen = seen_of(scene, trained.gaussians, unexposed, side_px, triangles)
    rows, sheets = judged(seen, methods)
    for name, sheet in list(sheets.items())[:_MOST_PICTURES] if pictures is not None else ():
        write_png(pictures / f"{Path(name).stem}.png", sheet)
    return {
        "table": "arcs",
        "capture": capture.name,
        "photos": len(scene.photos),
        "withheld": len(scene.test_indices),
        **asdict(arc),
        "downscale": downscale,
        "steps": trained.step,
        "train_seconds": trained.train_seconds,
        "unseen": float((~seen.atlas.known).float().mean()),
        "methods": rows,
        **provenance(),
    }


def without_arc(scene: Scene, arc: Arc) -> Scene:
    """All views in the arc are test views, all others are trained on.

    Raises: InputError where the arc holds all cameras or none.
    """
    azimuths = azimuths_deg(scene)
    apart = (azimuths - azimuths[0] - arc.center_degrees + 180) % 360 - 180
    inside = apart.abs() <= arc.degrees / 2
    if bool(inside.all()) or not bool(inside.any()):
        which = "all" if bool(inside.all()) else "none"
        raise InputError(f"an arc of {arc.degrees:g} degrees holds {which} of the capture's cameras; choose another")
    return replace(scene, train_indices=(~inside).nonzero()[:, 0], test_indices=inside.nonzero()[:, 0])


def azimuths_deg(scene: Scene) -> Float[Tensor, "V"]:
    """Where the cameras stand about the place that they look at, around the axis that points up."""
    centers = scene.cameras.centers_world.double()
    forward = scene.cameras.camera_from_world[:, 2, :3].double()
    across = torch.eye(3).double() - forward[:, :, None] * forward[:, None]
    middle = torch.linalg.solve(across.sum(0), (across @ centers[:, :, None]).sum(0))[:, 0]
    up = torch.nn.functional.normalize(scene.up_world.double(), dim=0)
    first = torch.nn.functional.normalize(torch.linalg.cross(up, torch.eye(3).double()[int(up.abs().argmin())]), dim=0)
    away = centers - middle
    return torch.rad2deg(torch.atan2(away @ torch.linalg.cross(up, first), away @ first)).float()


def seen_of(
    scene: Scene,
    gaussians: Gaussians,
    unexposed: Callable[[int], Unexposed | None],
    side_px: int,
    triangles: int,
) -> Seen:
    """The surface of a model, with what the training photos say of it, as `texture complete` has it.

    Raises: InputError where open3d or xatlas is not installed, or where there is no surface.
    """
    cameras = scene.cameras[scene.train_indices]
    flat = unwrap(whole_surface(gaussians, cameras, triangles=triangles, reach=_REACH), side_px)
    photos = [scene.photos[index] for index in scene.train_indices.tolist()]
    return Seen(
        scene, gaussians, atlas_of(flat, bake(flat, photo_views(gaussians, cameras, photos, unexposed), side_px))
    )


def judged(seen: Seen, methods: Sequence[str]) -> tuple[dict[str, Any], dict[str, Float[Tensor, "H W 3"]]]:
    """What each method scores on the test views, and for each view a sheet: the photo, then each method's render.

    Raises: InputError where a method's library is missing, or where no test view shows what no photo saw.
    """
    views = [view for index in seen.scene.test_indices.tolist() if (view := _view(seen, index)) is not None]
    if not views:
        raise InputError("no withheld view shows anything that the others did not see; take a wider arc")
    sheets = {view.name: [view.photo] for view in views}
    rows = {}
    for method in methods:
        atlas = None if method == AS_TRAINED else completed(seen, method)
        model = seen.gaussians if atlas is None else _with(seen, atlas)
        rows[method], renders = _scores(seen, views, model, atlas)
        for view, render in zip(views, renders, strict=True):
            sheets[view.name].append(render)
    return rows, {name: torch.cat(row, dim=1) for name, row in sheets.items()}


def completed(seen: Seen, method: str) -> Atlas:
    """The surface, filled in: `flat` is the mean colour of what is known.

    Raises: InputError where a method's library is missing.
    """
    atlas, up = seen.atlas, seen.scene.up_world
    everything = torch.ones_like(atlas.known)
    match method:
        case "flat":
            mean = atlas.colors[atlas.known].mean(0)
            return atlas.with_colors(torch.where(atlas.known[:, None], atlas.colors, mean), everything)
        case "nearest":
            return nearest_known(atlas)
        case "telea":
            return nearest_known(in_windows(atlas, up, _telea(), CompleteConfig(), Progress()).atlas)
    name, is_fast = method.removesuffix("-fast"), method.endswith("-fast")
    return complete(atlas, up, CompleteConfig(name, is_fast=is_fast)).atlas


def _telea() -> Callable[[Chart], Float[Tensor, "3 H W"]]:
    fill = opencv_fill("telea")

    def propose(image: Tensor, unknown: Tensor, texels: Any, generator: torch.Generator) -> Tensor:
        return fill(image, unknown, 0)

    return lambda chart: filled(chart, propose, (), seeded(0))


@dataclass(frozen=True)
class _View:
    name: str
    index: int
    photo: Float[Tensor, "H W 3"]
    valid: Bool[Tensor, "H W"] | None
    unseen: Bool[Tensor, "H W"]
    """Pixels that show texels which no training photo saw, and of which the photo shows something."""
    texels: Tensor


def _view(seen: Seen, index: int) -> _View | None:
    """None where too little is seen of what is judged."""
    photo, background = seen.scene.photos[index], evaluation_background(seen.scene.has_alpha)
    texels = shown_texels(seen.atlas, seen.scene.cameras[index])
    unseen = (texels >= 0) & ~seen.atlas.known[texels.clamp_min(0)]
    if photo.alpha is not None:
        unseen &= photo.alpha > 250
    if photo.valid is not None:
        unseen &= photo.valid
    if int(unseen.sum()) < _LEAST_PX:
        return None
    return _View(photo.name, index, photo_colors(photo, background), photo.valid, unseen, texels)


def _with(seen: Seen, atlas: Atlas) -> Gaussians:
    return with_completed(seen.gaussians, atlas, seen.atlas.known, seen.scene.cameras[seen.scene.train_indices])


def _scores(
    seen: Seen, views: Sequence[_View], model: Gaussians, atlas: Atlas | None
) -> tuple[dict[str, Any], list[Tensor]]:
    render = render_function(model, background=evaluation_background(seen.scene.has_alpha))
    with torch.no_grad():
        renders = [render(seen.scene.cameras[view.index]).colors[0].clamp(0, 1) for view in views]
    signed = [[(2 * image - 1).permute(2, 0, 1).contiguous() for image in images] for images in (
        [torch.where(v.unseen[..., None], r, v.photo) for v, r in zip(views, renders, strict=True)],
        [view.photo for view in views],
    )]  # fmt: skip
    card = score(*signed, [view.unseen for view in views])
    return {
        "psnr_trained": _mean(_of_photos(seen.scene, render)),
        "psnr": _mean([psnr(r, v.photo, v.valid) for v, r in zip(views, renders, strict=True)]),
        "psnr_unseen": _over_all([(r, v) for v, r in zip(views, renders, strict=True)]),
        "mesh_psnr_unseen": None
        if atlas is None
        else _over_all([(atlas.colors[view.texels.clamp_min(0)], view) for view in views]),
        "num_gaussians": len(model),
        "card": {**asdict(card), "penalty": card.penalty},
    }, renders


def _of_photos(scene: Scene, render: RenderFn) -> list[float]:
    """PSNR of the views that were trained on: completing must leave what they show as it was."""
    background, found = evaluation_background(scene.has_alpha), []
    for index in scene.train_indices.tolist():
        photo = scene.photos[index]
        colors = render(scene.cameras[index]).colors[0].clamp(0, 1)
        found.append(psnr(colors, photo_colors(photo, background), photo.valid))
    return found


def _over_all(pairs: Sequence[tuple[Tensor, _View]]) -> float:
    """Of all unseen pixels of all views together: a view that shows few of them says little."""
    errors = torch.cat([(image - view.photo).double().square().mean(-1)[view.unseen] for image, view in pairs])
    return float(-10 * torch.log10(errors.mean()))


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)
