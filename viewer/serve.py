"""Look at a finished model: what `neural3d view` does."""

import sys
import time
import webbrowser
from collections.abc import Callable
from pathlib import Path

import numpy as np
from jaxtyping import Float
from torch import Tensor

from neural3d.errors import InputError
from neural3d.fields.field import RadianceField
from neural3d.render.rendering import RenderFn
from neural3d.scene import Scene
from neural3d.splats.gaussians import Gaussians
from neural3d.viewer.app import UP, WHITE, Viewer
from neural3d.viewer.gate import LOOPBACK_HOSTS
from neural3d.viewer.pose_preview import PosePreview
from neural3d.viewer.space import view_without_scene
from neural3d.viewer.stage import set_up_direction, show_initial_view


def view_gaussians(
    gaussians: Gaussians,
    scene: Scene | None = None,
    *,
    up_world: tuple[float, float, float] = UP,
    title: str = "neural3d",
    host: str = "127.0.0.1",
    port: int = 7007,
    allow_hosts: tuple[str, ...] = (),
    render_fn_from: Callable[[Gaussians], RenderFn] | None = None,
    background: tuple[float, float, float] = WHITE,
    save_folder: Path | None = None,
    before: Gaussians | None = None,
) -> Viewer:
    """A viewer that shows this model; close it when done.

    The model is in the frame of `scene`, whose photos, up direction and first camera are shown. Without a scene,
    visitors start facing the bulk of the splats, with `up_world` up. With a model of what was `before`, in the same
    frame, a switch shows that in its place. All else is as for `Viewer`.

    Raises:
        InputError: the model is empty, or the address cannot be listened on.
    """
    if not len(gaussians):
        raise InputError(
            "viewer: the model holds no Gaussians, so there is nothing to look at; train or export it again"
        )
    viewer = Viewer(
        scene,
        title=title,
        is_training=False,
        host=host,
        port=port,
        allow_hosts=allow_hosts,
        render_fn_from=render_fn_from,
        background=background,
        up_world=up_world,
        extent=_extent(gaussians.means_world),
        save_folder=save_folder,
    )
    if scene is None:
        opaque = gaussians.means_world[gaussians.logit_opacities > 0.0]
        _face(viewer, opaque if len(opaque) else gaussians.means_world, up_world)
    if before is None:
        viewer.show(gaussians)
    else:
        viewer.show_with_before(gaussians, before)
    return viewer


def view_field(
    field: RadianceField,
    scene: Scene | None = None,
    *,
    render_fn_from: Callable[[RadianceField], RenderFn],
    around: Float[Tensor, "P 3"],
    up_world: tuple[float, float, float],
    title: str = "neural3d",
    host: str = "127.0.0.1",
    port: int = 7007,
    allow_hosts: tuple[str, ...] = (),
    background: tuple[float, float, float] = WHITE,
    save_folder: Path | None = None,
) -> Viewer:
    """A viewer that shows this field, drawn by the engine; close it when done.

    Without a scene, visitors start facing the bulk of the points `around`. All else is as for `view_gaussians`.

    Raises:
        InputError: the address cannot be listened on.
    """
    viewer = Viewer(
        scene,
        title=title,
        is_training=False,
        is_field=True,
        host=host,
        port=port,
        allow_hosts=allow_hosts,
        render_fn_from=render_fn_from,
        background=background,
        up_world=up_world,
        extent=_extent(around),
        save_folder=save_folder,
    )
    if scene is None:
        _face(viewer, around, up_world)
    viewer.show(field)
    return viewer


def _extent(points: Float[Tensor, "P 3"]) -> float:
    """About how far the bulk of some points lies from their middle."""
    finite = points.detach().cpu()[points.detach().cpu().isfinite().all(dim=1)].double()
    if not len(finite):
        return 1.0
    return max(float((finite - finite.median(dim=0).values).norm(dim=1).median()), 1e-6)


def _face(viewer: Viewer, points: Float[Tensor, "P 3"], up_world: tuple[float, float, float]) -> None:
    centers, up = points.double().cpu().numpy(), np.asarray(up_world, dtype=np.float64)
    view = view_without_scene(centers[np.isfinite(centers).all(axis=1)], up / np.linalg.norm(up))
    set_up_direction(viewer.server, up)
    show_initial_view(viewer.server, view, float(np.linalg.norm(view.position - view.look_at)))


def announce(viewer: Viewer | PosePreview, *, open_browser: bool = False) -> None:
    """Print the address, with a warning when it reaches beyond this machine, and open it in a browser if asked."""
    print(f"viewer: {viewer.url}", flush=True)
    host = viewer.server.get_host()
    if host not in LOOPBACK_HOSTS:
        print(
            f"viewer: warning: listening on {host}, beyond this machine; whoever has the address with its token can "
            "look and stop the training, and what is sent can be read on the way. ssh -L is safer.",
            file=sys.stderr,
        )
    if open_browser:
        webbrowser.open(viewer.url)


def serve_forever(viewer: Viewer, *, open_browser: bool = False) -> None:
    """Print the address and stay until Ctrl-C, which closes the viewer and is passed on."""
    announce(viewer, open_browser=open_browser)
    try:
        while True:
            time.sleep(0.5)  # in slices: a long wait hears no Ctrl-C on some systems
    finally:
        viewer.close()
