"""The surface of a run's model, and its texture: what export and texture have in common."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from neural3d.cli.camera_exports import refuse
from neural3d.cli.options import Export
from neural3d.cli.progress import say
from neural3d.cli.runs import Trained, load_scene
from neural3d.errors import InputError
from neural3d.export.selection import Selection, select
from neural3d.render.model import Model
from neural3d.scene import Scene
from neural3d.splats.gaussians import Gaussians
from neural3d.surface.depth_views import DepthView, seen_by
from neural3d.surface.photo_views import Unexposed, photo_views
from neural3d.train.config import SplatConfig
from neural3d.train.exposure import exposure_removal

MIN_TEXTURE_PX, MAX_TEXTURE_PX = 64, 8192


@dataclass(frozen=True)
class Seen:
    """What a texture is baked from."""

    views: Callable[[], Iterator[DepthView]]
    source: str
    """`photos` or `renders`."""


def chosen_model(options: Export, trained: Trained) -> Model:
    """Of a splat model, only what was asked for.

    Raises: InputError.
    """
    if not isinstance(trained.model, Gaussians):
        refuse(options, ("min_opacity", "max_splats"), "runs of splats")
        return trained.model
    selection = Selection(None, options.min_opacity, options.max_splats)
    way = trained.views.capture_from_scene
    return trained.model[select(trained.model, selection, cameras=trained.cameras, capture_from_scene=way)]


def require_texture_size(side_px: int) -> None:
    """Raises: InputError."""
    if not MIN_TEXTURE_PX <= side_px <= MAX_TEXTURE_PX:
        raise InputError(f"--texture {side_px}: expected {MIN_TEXTURE_PX} to {MAX_TEXTURE_PX} pixels")


def seen_of(
    trained: Trained, model: Model, source: str | None, capture: Path | None = None, whole: Model | None = None
) -> Seen:
    """The photos that the run learnt from, or renders of all its views.

    Where the model is a part of a `whole`, photos show of it what nothing else hides.

    Where neither is asked for, photos are taken if the capture is still there; else a warning says why they are not.

    Raises: InputError where photos are asked for and are not there.
    """
    if source == "renders":
        return _renders(trained, model)
    try:
        return _photos(trained, model, load_scene(trained.settings, trained.views, capture), whole)
    except InputError as error:
        if source == "photos" or capture is not None:
            raise
        say(f"neural3d: warning: the texture is made from renders, not from photos: {error}")
        return _renders(trained, model)


def tell_views(what: str) -> Callable[[int, int], None]:
    """Says now and then how many views are done."""

    def tell(done: int, views: int) -> None:
        if done == views or done % 20 == 0:
            say(f"neural3d: {done} of {views} views {what}")

    return tell


def _renders(trained: Trained, model: Model) -> Seen:
    cameras, tell = trained.cameras, tell_views("in the texture")

    def views() -> Iterator[DepthView]:
        for index in range(len(cameras)):
            yield seen_by(model, cameras[index])
            tell(index + 1, len(cameras))

    return Seen(views, "renders")


def _photos(trained: Trained, model: Model, scene: Scene, whole: Model | None) -> Seen:
    """Those held out stay out, so that they can still judge."""
    indices, tell = scene.train_indices.tolist(), tell_views("in the texture")
    photos, cameras = [scene.photos[index] for index in indices], trained.cameras[scene.train_indices]

    def views() -> Iterator[DepthView]:
        for number, view in enumerate(photo_views(model, cameras, photos, color_maps(trained), whole)):
            yield view
            tell(number + 1, len(indices))

    return Seen(views, "photos")


def color_maps(trained: Trained) -> Callable[[int], Unexposed | None]:
    """What takes each training photo's exposure out, where the run has learnt it."""
    config, tensors = trained.settings.config, trained.checkpoint.tensors
    if isinstance(config, SplatConfig):
        return exposure_removal(config.exposure, tensors, linear=trained.gaussians.linear)
    # Whether a field has learnt any depends on its kind and on the capture; what it learns is affine.
    return exposure_removal("affine" if "exposure.matrices" in tensors else "none", tensors)
