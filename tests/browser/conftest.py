"""A headless Chromium for tests, where there is one."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from browser.chromium import CHROMIUM, Page, opened_browser
from browser.small_scene import three_blobs, two_cameras
from browser.visitor import wait
from neural3d.render.model import model_render_function
from neural3d.viewer import Viewer, view_gaussians, visit


def require_browser() -> None:
    if CHROMIUM is None:
        pytest.skip("no chromium on this machine; on Debian: apt-get install chromium")


@pytest.fixture
def page() -> Iterator[Page]:
    """A fresh tab in a fresh browser."""
    require_browser()
    with opened_browser() as tab:
        yield tab


@pytest.fixture(scope="module")
def shared_page() -> Iterator[Page]:
    """One tab for all tests of a module: what they do to it adds up."""
    require_browser()
    with opened_browser() as tab:
        yield tab


@pytest.fixture(scope="module")
def shots(request: pytest.FixtureRequest) -> Path:
    """Where pictures of the screen are kept for people to look at: build/screens/, by the tests' module."""
    folder = request.config.rootpath / "build" / "screens" / request.module.__name__.rsplit(".", 1)[-1]
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@pytest.fixture(scope="module")
def viewer(shared_page: Page, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Viewer]:
    """600 splats in three balls, and two grey photos, with one visitor."""
    where = {"render_fn_from": model_render_function, "title": "balls", "save_folder": tmp_path_factory.mktemp("run")}
    with (
        pytest.MonkeyPatch.context() as patch,
        view_gaussians(three_blobs(), two_cameras(), port=0, **where) as running,
    ):
        # A page that draws slowly may be seconds on its way to a photo, and must not lower its resolution meanwhile:
        # where something lies on the screen would change.
        patch.setattr(visit, "ARRIVAL_SECONDS", 60.0)
        shared_page.open(f"{running.url}&fixedDpr=1")
        shared_page.wait_for("!!document.querySelector('canvas')")
        wait(lambda: bool(running.visits), "the visitor is there")
        yield running
