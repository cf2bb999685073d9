"""Makes docs/viewer.png: `python docs/viewer_picture.py RUN`, in a checkout with the extra [test] and Chromium.

RUN is `runs/demo` of `make demo`.
"""

import sys
import time
from collections.abc import Callable
from pathlib import Path

from PIL import Image

from neural3d.cli.runs import load_scene, load_trained
from neural3d.render.model import model_render_function
from neural3d.viewer import Viewer

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests"))
from browser.chromium import opened_browser  # noqa: E402

FEW = 1500
"""Splats for the browser, which draws them in software here; the picture is the engine's, of all Gaussians."""
NO_NOTICES = (
    "document.head.appendChild(Object.assign(document.createElement('style'),"
    "{textContent: '.mantine-Notifications-root { display: none }'}))"
)
"""A browser without a graphics card is told so on the page; others are not."""


def make_picture(run: Path, output: Path) -> None:
    """The viewer on a run, at a photo, half of which the engine's render covers."""
    trained = load_trained(run)
    scene = load_scene(trained.settings, trained.views, None)
    where = {"is_training": False, "render_fn_from": model_render_function, "title": run.name, "max_splats": FEW}
    with Viewer(scene, port=0, **where) as viewer, opened_browser() as page:
        viewer.show(trained.model)
        page.open(viewer.url)
        wait_until(lambda: bool(viewer.visits))
        (visit,) = viewer.visits.values()
        page.evaluate(NO_NOTICES)
        page.click("Next")
        wait_until(lambda: visit._photo == 0)
        page.choose("Compare", "Wipe")
        wait_until(lambda: is_full(viewer))
        time.sleep(10.0)  # until the page has drawn what has come
        Image.fromarray(page.screenshot()).save(output, optimize=True)


def is_full(viewer: Viewer) -> bool:
    """Whether the engine has drawn the full picture."""
    visitors = list(viewer._frames._visitors.values())
    return bool(visitors) and not visitors[0].coarse_due and not visitors[0].fine_due


def wait_until(condition: Callable[[], bool], seconds: float = 300.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError("the page did not come so far")
        time.sleep(0.1)


if __name__ == "__main__":
    make_picture(Path(sys.argv[1]), ROOT / "docs" / "viewer.png")
