"""What the masks of a run's photos name: for render --layers object, and to have an object alone."""

from dataclasses import replace
from pathlib import Path

from neural3d.capture.masks import ObjectMasks, object_masks
from neural3d.cli.options import Render
from neural3d.cli.plates import photos_of
from neural3d.cli.progress import say
from neural3d.cli.runs import Trained
from neural3d.errors import InputError
from neural3d.render.cryptomatte import cryptomatte_header, require_mmh3
from neural3d.render.objects import NONE, Objects, objects_in_views, votes_in_views
from neural3d.splats.gaussians import Gaussians
from neural3d.texture.objects import held


def require_objects(options: Render) -> None:
    """Refuse what cannot be rendered before anything is loaded.

    Raises: InputError.
    """
    if "object" in options.layers:
        require_mmh3(options.output)
    elif options.objects is not None:
        raise InputError("--objects: these go into the layer object; add it to --layers, or leave them out")


def named_objects(options: Render, trained: Trained) -> Objects:
    """The run's Gaussians by object.

    Raises: InputError where the model is a field, the capture is gone, or its photos have no masks.
    """
    if not isinstance(trained.model, Gaussians):
        raise InputError(f"--layers object: {options.run} is a radiance field, which has no parts that could be named")
    masks = _masks(trained, options.objects)
    cryptomatte_header(masks.names)  # names that collide are refused before the work
    objects = objects_in_views(trained.model, trained.cameras, masks.names, masks.shares)
    counts = [int((objects.object_from_gaussian == number).sum()) for number in range(NONE, len(masks.names))]
    of_each = ", ".join(f"{name} {count}" for name, count in zip(masks.names, counts[1:], strict=True))
    say(f"splats by object: {of_each}; of none {counts[0]}")
    return objects


def isolated(trained: Trained, folder: Path, capture: Path | None) -> Trained:
    """The same run with the splats alone that most photos show within masks.

    Raises: InputError where the model is a field, the capture is gone, its photos have no masks there, or these hold
        no splat.
    """
    settings = trained.settings if capture is None else replace(trained.settings, capture=capture)
    trained, gaussians = replace(trained, settings=settings), trained.gaussians
    masks = _masks(trained, folder)
    rows = held(gaussians, *votes_in_views(gaussians, trained.cameras, len(masks.names), masks.shares))
    if len(rows) == 0:
        raise InputError(f"--objects {folder}: its masks hold none of the splats; white must be what is kept")
    say(f"neural3d: {len(rows)} of {len(gaussians)} splats are of what the masks hold")
    return replace(trained, model=gaussians[rows])


def _masks(trained: Trained, folder: Path | None) -> ObjectMasks:
    photos = photos_of(trained, "the masks")
    sizes = tuple((width, height) for width, height in trained.views.cameras.size_px.tolist())
    return object_masks(photos, sizes, folder, trained.settings.capture)
