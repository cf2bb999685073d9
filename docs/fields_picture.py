"""Makes docs/fields.png: `python docs/fields_picture.py RUN RUN RUN`, in a checkout with the extra [test] and Chromium.

The runs are of `neural3d train nerf` on one capture, with --tiny, --field hashgrid and --field points.
"""

import sys
from pathlib import Path

import numpy as np
from PIL import Image
from viewer_picture import NO_NOTICES, ROOT, is_full, opened_browser, wait_until

from neural3d.cli.runs import load_scene, load_trained
from neural3d.evaluation import evaluation_background
from neural3d.render.model import model_render_function
from neural3d.viewer import Viewer

WIDTH = 480
"""Of each page in the picture, pixels."""
PHOTO = 8


def page_of(run: Path) -> Image.Image:
    """The viewer on a run of a field, at a photo's camera."""
    trained = load_trained(run)
    scene = load_scene(trained.settings, trained.views, None)
    red, green, blue = evaluation_background(scene.has_alpha, trained.settings.background).tolist()
    where = {"is_training": False, "is_field": True, "background": (red, green, blue), "title": run.name}
    with Viewer(scene, port=0, render_fn_from=model_render_function, **where) as viewer, opened_browser() as page:
        viewer.show(trained.model)
        page.open(viewer.url)
        wait_until(lambda: bool(viewer.visits))
        (visit,) = viewer.visits.values()
        page.evaluate(NO_NOTICES)
        for photo in range(PHOTO + 1):
            page.click("Next")
            wait_until(lambda photo=photo: visit._photo == photo)
        wait_until(lambda: is_full(viewer))
        return Image.fromarray(page.screenshot())


def make_picture(runs: list[Path], output: Path) -> None:
    """The pages side by side."""
    pages = [page_of(run) for run in runs]
    small = [page.resize((WIDTH, round(WIDTH * page.height / page.width)), Image.Resampling.LANCZOS) for page in pages]
    Image.fromarray(np.concatenate([np.asarray(page) for page in small], axis=1)).save(output, optimize=True)


if __name__ == "__main__":
    make_picture([Path(run) for run in sys.argv[1:]], ROOT / "docs" / "fields.png")
