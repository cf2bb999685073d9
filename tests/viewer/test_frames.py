"""Exact pictures: latest wins, errors stay with the visitor, training keeps its share."""

import threading
from collections.abc import Callable, Iterator

import numpy as np
import pytest
import torch

from neural3d.cameras import Cameras
from neural3d.render.model import model_render_function
from neural3d.render.rendering import Rendering
from neural3d.splats.gaussians import Gaussians
from neural3d.viewer.display import Drawing
from neural3d.viewer.frames import (
    ALL,
    BAND_SECONDS,
    COARSE_SECONDS,
    MAX_PIXELS,
    MIN_COARSE_HEIGHT,
    FrameServer,
    Share,
    coarse_height,
    fine_height,
    finer_height,
)
from neural3d.viewer.space import View, cameras_from_view


def view(x: float = 0.0, width: int = 320, height: int = 200, z: float = 0.0) -> View:
    return View((1.0, 0.0, 0.0, 0.0), (x, 0.0, z), 1.0, width, height)


def solid(cameras: Cameras, color: float = 0.5) -> Rendering:
    width, height = cameras.size_px[0].tolist()
    return Rendering(torch.full((1, height, width, 3), color), torch.ones(1, height, width, 1))


class Gallery:
    """Collects what is delivered."""

    def __init__(self) -> None:
        self.pictures: list[tuple[int, np.ndarray]] = []
        self.failures: list[tuple[int, Exception]] = []
        self.server = FrameServer(
            lambda client, picture: self.pictures.append((client, picture)),
            lambda client, error: self.failures.append((client, error)),
        )


@pytest.fixture
def gallery() -> Iterator[Gallery]:
    collecting = Gallery()
    yield collecting
    collecting.server.close()


def test_a_resting_visitor_gets_the_full_picture(gallery: Gallery, until: Callable) -> None:
    gallery.server.set_drawing(Drawing(lambda cameras: solid(cameras, 2.0)))
    gallery.server.look(7, view())
    until(lambda: any(picture.shape == (200, 320, 3) for _, picture in gallery.pictures), "the full picture")
    assert {client for client, _ in gallery.pictures} == {7}
    assert gallery.pictures[-1][1].min() == 255


def test_only_the_latest_of_many_moves_is_drawn(gallery: Gallery, until: Callable) -> None:
    """The queue holds one view per client, so a flood of cameras costs no more than one."""
    seen, busy, go_on = [], threading.Event(), threading.Event()

    def slow(cameras: Cameras) -> Rendering:
        seen.append(round(float(cameras.centers_world[0, 0])))
        busy.set()
        go_on.wait(20)
        return solid(cameras)

    gallery.server._learn = lambda *_: None  # it would draw in bands what seems to take so long
    gallery.server.set_drawing(Drawing(slow))
    gallery.server.look(1, view(x=1.0))
    assert busy.wait(20)
    for step in range(2, 5000):
        gallery.server.look(1, view(x=float(step)))
    go_on.set()
    until(lambda: gallery.pictures and len(gallery.pictures) == len(seen) and 4999 in seen, "the last one is drawn")
    assert set(seen) == {1, 4999}


def test_visitors_are_served_in_turn(gallery: Gallery, until: Callable) -> None:
    gallery.server.set_drawing(Drawing(solid))
    for client in range(8):
        gallery.server.look(client, view())
    until(lambda: {client for client, _ in gallery.pictures} == set(range(8)), "everyone is served")


def test_a_new_model_is_drawn_for_those_who_rest(gallery: Gallery, until: Callable) -> None:
    gallery.server.set_drawing(Drawing(lambda cameras: solid(cameras, 0.0)))
    gallery.server.look(1, view())
    until(lambda: gallery.pictures and gallery.pictures[-1][1].shape[0] == 200, "the first model")
    gallery.server.set_drawing(Drawing(lambda cameras: solid(cameras, 1.0)))
    until(lambda: gallery.pictures[-1][1].min() == 255, "the second model")


def test_a_render_error_goes_to_its_visitor_and_the_next_picture_comes(gallery: Gallery, until: Callable) -> None:
    def picky(cameras: Cameras) -> Rendering:
        if cameras.centers_world[0, 0] > 1.0:
            raise ValueError("no such place")
        return solid(cameras)

    gallery.server.set_drawing(Drawing(picky))
    gallery.server.look(1, view(x=5.0))
    until(lambda: bool(gallery.failures), "the failure is told")
    assert gallery.failures[0][0] == 1 and str(gallery.failures[0][1]) == "no such place"
    gallery.server.look(2, view())
    until(lambda: any(client == 2 for client, _ in gallery.pictures), "the other visitor is served")


def test_who_left_gets_no_more(gallery: Gallery, until: Callable) -> None:
    gallery.server.look(1, view())
    gallery.server.look(2, view())
    gallery.server.leave(1)
    gallery.server.leave(9)
    gallery.server.set_drawing(Drawing(solid))
    until(lambda: any(picture.shape[0] == 200 for _, picture in gallery.pictures), "the one who stayed is served")
    assert {client for client, _ in gallery.pictures} == {2}


def test_closing_ends_the_thread_while_nothing_is_due(gallery: Gallery) -> None:
    gallery.server.close()
    assert not gallery.server._thread.is_alive()


@pytest.mark.parametrize("width, height", [(1280, 800), (8192, 8192), (8192, 1), (1, 8192), (1, 1)])
def test_no_window_makes_a_picture_too_large(width: int, height: int) -> None:
    window = view(width=width, height=height)
    drawn_width, drawn_height = cameras_from_view(window, fine_height(window)).size_px[0].tolist()
    assert 1 <= drawn_height <= height and 1 <= drawn_width * drawn_height <= 1.01 * max(MAX_PIXELS, width)
    assert drawn_width == pytest.approx(drawn_height * width / height, abs=1.0)


def test_one_visitor_takes_little_and_many_no_more_than_all_may() -> None:
    share = Share(most=0.4, each=0.15)
    assert [share.of(count) for count in (0, 1, 2, 8)] == [0.15, 0.15, 0.3, 0.4]
    assert ALL.of(1) == ALL.of(8) == 1.0


def test_who_is_given_little_time_rests_the_longer(until: Callable) -> None:
    """By the thread's own waits: with a tenth of the time, nine times as long as it has drawn."""
    rests = []
    server = FrameServer(lambda *_: None, lambda *_: None, Share(0.4, 0.1))
    server._rest = rests.append
    taken = []
    server._learn = lambda seconds, job: taken.append(seconds)
    server.set_drawing(Drawing(solid))
    server.look(1, view())
    until(lambda: len(rests) >= 1, "a picture is drawn")
    server.close()
    assert rests[0] == pytest.approx(9 * taken[0])


def test_the_coarse_height_fits_the_measured_speed() -> None:
    window = view(width=1600, height=900)
    height = coarse_height(window, 1e-6)
    assert height * height * 16 / 9 * 1e-6 == pytest.approx(COARSE_SECONDS, rel=0.02)
    assert coarse_height(window, 1.0) == coarse_height(window, None) == MIN_COARSE_HEIGHT


def test_a_slow_engine_refines_by_doubling() -> None:
    window = view(width=1600, height=900)
    heights = [coarse_height(window, 1e-4)]
    while heights[-1] < 900:
        heights.append(finer_height(window, 1e-4, heights[-1], 900))
    assert heights == [MIN_COARSE_HEIGHT, 64, 128, 256, 512, 900]
    assert finer_height(window, 1e-7, 100, 900) == 900


def test_a_picture_in_bands_is_the_picture_in_one_piece(gallery: Gallery, until: Callable) -> None:
    """Each pixel shows the direction that it looks along; bands of a few rows must fit together."""
    bands = []

    def directions(cameras: Cameras) -> Rendering:
        width, height = cameras.size_px[0].tolist()
        bands.append(height)
        y, x = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij")
        offsets = (torch.stack([x, y], dim=2) - cameras.principal_px[0]) / cameras.focal_px[0]
        return Rendering(torch.cat([0.5 + offsets, offsets[..., :1] * 0], dim=2)[None], torch.ones(1, height, width, 1))

    gallery.server.set_drawing(Drawing(directions))
    gallery.server._seconds_per_pixel, gallery.server._learn = BAND_SECONDS / (7 * 320), lambda *_: None
    gallery.server.look(1, view())
    until(lambda: gallery.pictures and gallery.pictures[-1][1].shape[0] == 200, "the full picture")
    assert 7 in bands
    whole = (directions(cameras_from_view(view(), 200)).colors[0].clamp(0, 1) * 255 + 0.5).byte().numpy()
    assert np.abs(gallery.pictures[-1][1].astype(int) - whole.astype(int)).max() <= 1


def test_a_fine_picture_is_given_up_when_its_visitor_moves_on(gallery: Gallery, until: Callable) -> None:
    """Without that he would wait for all of its bands."""
    seen, fine, go_on = [], threading.Event(), threading.Event()

    def slow(cameras: Cameras) -> Rendering:
        seen.append((float(cameras.centers_world[0, 0]), int(cameras.size_px[0, 1])))
        if sum(height for _, height in seen) > MIN_COARSE_HEIGHT:  # a row of the fine picture
            fine.set()
            assert go_on.wait(20)
        return solid(cameras)

    gallery.server.set_drawing(Drawing(slow))
    gallery.server._seconds_per_pixel, gallery.server._learn = 1e-2, lambda *_: None
    gallery.server.look(1, view(height=MIN_COARSE_HEIGHT + 1))
    assert fine.wait(20)
    gallery.server.look(1, view(x=1.0, height=MIN_COARSE_HEIGHT + 1))
    go_on.set()
    until(lambda: any(x == 1.0 for x, _ in seen), "the new place")
    assert MIN_COARSE_HEIGHT < sum(height for x, height in seen if x == 0.0) < 2 * MIN_COARSE_HEIGHT + 1


@pytest.mark.parametrize("output", ["Colour", "Depth", "Normals", "Opacity"])
def test_bands_of_splats_have_no_seams(output: str) -> None:
    """Large ones near the border of a band are what they are in the whole picture."""
    torch.manual_seed(3)
    splats = Gaussians(
        means_world=torch.randn(40, 3) * torch.tensor([1.0, 1.0, 0.3]),
        log_scales=torch.randn(40, 3) * 0.5 - 1.0,
        quats_wxyz=torch.randn(40, 4),
        logit_opacities=torch.full((40,), 2.0),
        sh=torch.randn(40, 1, 3),
    )
    drawing, cameras = Drawing(model_render_function(splats), splats), cameras_from_view(view(z=-2.0), 200)
    whole = drawing.channels(cameras, output)
    banded = torch.cat(tuple(drawing.bands(cameras, output, 16)))
    assert whole.shape == banded.shape and float((whole - banded).abs().max()) < 1e-4 * float(whole.abs().max())
