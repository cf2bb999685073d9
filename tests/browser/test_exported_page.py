"""`export --format html`: the page shows what our renderer shows, answers to mouse and keys, and fetches nothing."""

import math
import re
from pathlib import Path

import numpy as np
import pytest
import torch

from neural3d.cameras import Cameras
from neural3d.export.html import FirstView, view_of_cameras, write_html
from neural3d.export.sog import write_sog
from neural3d.export.sog_reader import read_sog
from neural3d.render.paths import look_at
from neural3d.render.splats import render_splats
from neural3d.scene import Similarity
from neural3d.splats.gaussians import Gaussians

SAME = Similarity.identity()
UP = (0.0, 0.0, 1.0)
VIEW = FirstView(eye=(3.0, -1.5, 1.0), target=(0.1, 0.0, -0.1), up=UP, half_height=0.35, aspect=1.2)
UPPER, LOWER = 60, 590
"""Rows of the screen between the title and the buttons."""


def some_gaussians(*, antialiased: bool = False) -> Gaussians:
    generator = torch.Generator().manual_seed(11)
    count = 1500
    return Gaussians(
        means_world=torch.randn(count, 3, generator=generator) * 0.4,
        log_scales=torch.randn(count, 3, generator=generator) * 0.5 - 3.0,
        quats_wxyz=torch.randn(count, 4, generator=generator),
        logit_opacities=torch.randn(count, generator=generator) + 0.5,
        sh=torch.randn(count, 16, 3, generator=generator) * torch.tensor([0.9] + [0.15] * 15)[:, None],
        antialiased=antialiased,
    )


def camera_of(view: FirstView, width: int, height: int) -> Cameras:
    """What the page makes of a first view."""
    eye, target, up = (torch.tensor(values)[None].double() for values in (view.eye, view.target, view.up))
    focal = 0.5 * min(height, width / view.aspect) / view.half_height
    size = torch.tensor([[width, height]])
    return Cameras(look_at(eye, target, up[0]).float(), torch.full((1, 2), focal), size / 2, size)


def wait_until_shown(page) -> None:
    """The element is null while a page loads."""
    state = page.wait_for("document.documentElement && document.documentElement.dataset.state")
    assert state == "ready", (page.text(), page.console)


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    return 10 * math.log10(1 / np.square(a - b).mean())


@pytest.mark.parametrize("antialiased", [False, True])
def test_the_page_shows_what_we_render(page, tmp_path: Path, antialiased: bool):
    """Of the same quantised Gaussians: what is left is the blending in 8 bits."""
    gaussians = some_gaussians(antialiased=antialiased)
    write_html(tmp_path / "ü <b>.html", gaussians, capture_from_scene=SAME, view=VIEW, title="ü <b>")
    page.open((tmp_path / "ü <b>.html").as_uri())
    wait_until_shown(page)
    assert "1,500 splats" in page.text() and "ü <b>" in page.text()
    shown = page.screenshot()[UPPER:LOWER] / 255
    write_sog(tmp_path / "same.sog", gaussians, capture_from_scene=SAME)
    width, height = page.evaluate("[innerWidth, innerHeight]")
    with torch.no_grad():
        ours = render_splats(read_sog(tmp_path / "same.sog"), camera_of(VIEW, width, height)).colors[0]
    expected = ours.clamp(0, 1).numpy()[UPPER:LOWER]
    assert expected.mean() > 0.05 and psnr(shown, expected) > 40, psnr(shown, expected)
    assert not page.console


def test_mouse_keys_and_buttons(page, tmp_path: Path):
    write_html(tmp_path / "a.html", some_gaussians(), capture_from_scene=SAME, view=VIEW)
    page.open((tmp_path / "a.html").as_uri())
    wait_until_shown(page)
    first = page.screenshot()[UPPER:LOWER].astype(int)

    def changed() -> float:
        page.evaluate("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
        return float(np.abs(page.screenshot()[UPPER:LOWER] - first).mean())

    for kind, x in (("mousePressed", 600), ("mouseMoved", 660), ("mouseReleased", 660)):
        page.call("Input.dispatchMouseEvent", type=kind, x=x, y=400, button="left", buttons=1, clickCount=1)
    assert changed() > 2, "a drag turns the scene"
    page.click("Reset")
    assert changed() == 0, "back to the first view, to the pixel"
    page.call("Input.dispatchMouseEvent", type="mouseWheel", x=600, y=400, deltaX=0, deltaY=300)
    assert changed() > 2, "the wheel goes away from it"
    for kind in ("keyDown", "keyUp"):
        page.call("Input.dispatchKeyEvent", type=kind, key="r", text="r" if kind == "keyDown" else "")
    assert changed() == 0
    page.click("Background")
    assert changed() > 50, "white behind the scene"
    page.click("Help")
    assert "two fingers" in page.text()


def test_the_page_is_all_there_is(tmp_path: Path):
    """Nothing to load, nowhere to send: no address, and a policy that forbids any."""
    write_html(
        tmp_path / "a.html", some_gaussians(), capture_from_scene=SAME, title="</title><script>alert(1)</script>"
    )
    text = (tmp_path / "a.html").read_text(encoding="utf-8")
    assert "default-src 'none'" in text and not re.search(r"https?://|\bsrc=|@import|url\(|<link", text)
    assert text.count("<script") == 2 and "<script>alert" not in text
    assert [p.name for p in tmp_path.iterdir()] == ["a.html"]


def test_the_first_view_is_the_first_photos():
    size = torch.tensor([[300, 200]]).repeat(8, 1)
    angles = torch.arange(8) * 0.7
    eyes = torch.stack([3 * angles.cos(), 3 * angles.sin(), torch.full((8,), 0.5)], dim=-1).double()
    poses = look_at(eyes, torch.zeros(8, 3).double(), torch.tensor(UP)).float()
    cameras = Cameras(poses, torch.full((8, 2), 250.0), size / 2, size)
    way = Similarity(2.0, torch.eye(3).double(), torch.tensor([1.0, 0, 0]).double())
    view = view_of_cameras(cameras, torch.zeros(5, 3), torch.tensor(UP), way)
    assert view.eye == pytest.approx((7, 0, 1), abs=1e-5) and view.target == pytest.approx((1, 0, 0), abs=1e-4)
    assert view.half_height == pytest.approx(0.4) and view.aspect == 1.5
