"""The pages of the panel in a real browser, by clicks and drags: one browser and one viewer for all of them."""

import base64
import math
import time
import zipfile
from pathlib import Path

import imageio_ffmpeg
import numpy as np
import pytest

from browser.small_scene import three_blobs
from browser.visitor import drag_until, go_to, screen, until_it_shows, wait, wait_for_screen
from neural3d.export.formats import FORMATS, read_splats, write_splats
from neural3d.scene import Similarity
from neural3d.viewer import Viewer
from neural3d.viewer.models import MAIN


def test_a_photo_and_the_render_share_the_picture(viewer: Viewer, shared_page, shots: Path) -> None:
    shared_page.click("Next")
    (visit,) = viewer.visits.values()
    wait(lambda: visit._photo == 0, "at the first photo")
    shared_page.choose("Compare", "Wipe")

    def is_wiped(pixels: np.ndarray) -> bool:
        left, right = pixels[600, 200].astype(int), pixels[600, 800].astype(int)
        return bool(np.abs(left - 128).max() < 6 and right.min() > 245)

    wait_for_screen(shared_page, shots, "wipe", is_wiped)
    shared_page.choose("Compare", "Off")
    wait(lambda: not visit._is_exact, "the browser draws again")


def test_depth_is_drawn_by_the_engine_in_the_chosen_colours(viewer: Viewer, shared_page, shots: Path) -> None:
    (visit,) = viewer.visits.values()
    shared_page.choose("Show", "Depth")
    shared_page.choose("Colours", "gray")
    wait(lambda: visit.display().colormap == "gray" and visit._is_exact, "the map is chosen")
    page_photos = visit._photos
    page_photos.value = False
    visit.update()

    def is_gray(pixels: np.ndarray) -> bool:
        part = pixels[200:690, 340:930].astype(int)
        return bool(np.ptp(part, axis=2).max() < 12 and part.min() < 60)

    wait_for_screen(shared_page, shots, "depth", is_gray)
    page_photos.value = True
    shared_page.choose("Show", "Colour")
    wait(lambda: not visit._is_exact, "the browser draws again")


@pytest.mark.parametrize(
    ("output", "is_right"),
    [
        # Round splats have the x axis for their shortest: towards him, (1, 0, 0) is red.
        ("Normals", lambda part: part[..., 0].min() > 240 and 100 < part[..., 1].min() < 140),
        ("Opacity", lambda part: np.ptp(part, axis=2).max() < 12 and part.min() < 12 and part.max() > 245),
    ],
)
def test_other_outputs_of_the_engine(viewer: Viewer, shared_page, shots: Path, output: str, is_right) -> None:
    (visit,) = viewer.visits.values()
    go_to(viewer, (4.0, 0.4, 0.5), (0.0, 0.2, 0.0))
    shared_page.choose("Show", output)
    wait(lambda: visit.display().output == output, "it is chosen")
    part = (slice(250, 600), slice(340, 900))
    wait_for_screen(shared_page, shots, output, lambda pixels: bool(is_right(pixels[part].astype(int))))
    shared_page.choose("Show", "Colour")
    wait(lambda: not visit._is_exact, "the browser draws again")


@pytest.mark.parametrize("mode", ["Side by side", "Difference", "FLIP error"])
def test_other_ways_to_compare(viewer: Viewer, shared_page, mode: str) -> None:
    (visit,) = viewer.visits.values()
    shared_page.click("Next")
    wait(lambda: visit._photo is not None, "at a photo")
    shared_page.choose("Compare", mode)
    wait(lambda: visit.display().comparison is not None and visit.display().comparison.mode == mode, "it is compared")
    shared_page.choose("Compare", "Off")
    wait(lambda: visit.display().comparison is None, "it is not compared any more")


def test_what_is_up_and_how_fine_and_on_what(viewer: Viewer, shared_page, shots: Path) -> None:
    (visit,), (client,) = viewer.visits.values(), viewer.server.get_clients().values()
    shared_page.open_folder("Place")
    shared_page.choose("Up", "+y")
    wait(lambda: np.allclose(client.camera.up_direction, (0, 1, 0)), "+y is up")
    shared_page.choose("Up", "As captured")
    wait(lambda: np.allclose(client.camera.up_direction, (0, 0, 1)), "+z is up")
    shared_page.open_folder("Place")
    shared_page.choose("Drawn by", "engine (exact)")
    shared_page.choose("Resolution", "25 %")
    wait(lambda: visit.display().scale == 0.25, "a quarter of the resolution")
    shared_page.type_into("Background", "rgb(0, 0, 0)")
    wait_for_screen(shared_page, shots, "black", lambda pixels: bool(pixels[700, 100].max() < 8))
    shared_page.type_into("Background", "rgb(255, 255, 255)")
    shared_page.choose("Resolution", "Full")
    shared_page.choose("Drawn by", "browser (fast)")
    wait(lambda: not visit._is_exact, "the browser draws again")


def test_a_box_and_a_sphere_crop(viewer: Viewer, shared_page, shots: Path) -> None:
    shared_page.click_tab("Edit")
    shared_page.choose("Region", "Box")
    for form in ("Box", "Sphere"):
        shared_page.choose("Region", form)
        shared_page.tick("Show only what is inside")
        wait(lambda: viewer.document.models.crop is not None, "it is cropped")
        screen(shared_page, shots, f"crop-{form}")
        shared_page.tick("Show only what is inside")
        wait(lambda: viewer.document.models.crop is None, "all is there again")
    shared_page.click("Inside")
    wait(lambda: viewer.document.models.num_selected > 0, "what is inside is selected")
    shared_page.click("Clear")
    shared_page.choose("Region", "None")
    wait(lambda: viewer.document.models.num_selected == 0, "nothing is")


def test_floaters_are_selected_by_a_rectangle_deleted_and_brought_back(viewer: Viewer, shared_page, shots) -> None:
    shared_page.click_tab("Edit")
    shared_page.choose("Tool", "Rectangle")
    wait(lambda: viewer.server.scene._scene_pointer_cb != [], "the tool is taken up")

    def select() -> None:
        go_to(viewer, (4.0, 0.4, 0.3), (0.0, 0.4, 0.0))  # until the page hears of the tool a drag turns the camera
        shared_page.drag((330, 300), (930, 700))

    until_it_shows(select, lambda: viewer.document.models.num_selected > 0, "some are selected")
    count = viewer.document.models.num_selected
    shared_page.wait_for(f"document.body.innerText.includes('{count:,}')")
    screen(shared_page, shots, "selected")
    shared_page.click("Delete selected")
    wait(lambda: viewer.document.models.num_deleted == count, "they are deleted")
    shared_page.choose("Tool", "Off")
    for _ in range(2):
        shared_page.click("Undo")
    wait(lambda: viewer.document.models.num_deleted == 0, "they are back")


def test_a_brush_paints_along_a_drag(viewer: Viewer, shared_page, shots) -> None:
    (client,) = viewer.server.get_clients().values()
    shared_page.click("Clear")
    wait(lambda: viewer.document.models.num_selected == 0, "nothing is selected")
    shared_page.choose("Tool", "Brush")
    shared_page.wait_for(
        "window.neural3dBrush && !!document.querySelector('label[for=\"' + neural3dBrush.field + '\"]')"
    )
    before = client.camera.position.copy()
    middle = shared_page.evaluate(
        "(r => [r.x + r.width / 2, r.y + r.height / 2])"
        "(document.querySelector('canvas[data-engine]').getBoundingClientRect())"
    )
    shared_page.drag((60, middle[1]), (900, middle[1]))
    wait(lambda: viewer.document.models.num_selected > 0, "some are selected")
    count = viewer.document.models.num_selected
    shared_page.wait_for(f"document.body.innerText.includes('{count:,}')")
    screen(shared_page, shots, "brushed")
    assert 0 < count < 600 and np.array_equal(client.camera.position, before), "the camera keeps still"
    assert "Stroke" not in shared_page.text(), "its field is not seen"
    shared_page.choose("Tool", "Off")
    shared_page.click("Undo")
    wait(lambda: viewer.document.models.num_selected == 0, "the stroke is taken back")
    turned = lambda: not np.allclose(client.camera.position, before, atol=1e-3)  # noqa: E731
    drag_until(shared_page, turned, "without the brush the camera turns")


def test_key_frames_make_a_path_that_is_previewed(viewer: Viewer, shared_page, shots: Path) -> None:
    shared_page.click_tab("Path")
    path = viewer.controls._path
    (client,) = viewer.server.get_clients().values()
    shared_page.click("Add key frame")
    wait(lambda: len(path.keys) == 1, "one key frame")
    before = client.camera.position.copy()
    drag_until(shared_page, lambda: not np.allclose(client.camera.position, before, atol=1e-3), "the camera has turned")
    shared_page.click("Add key frame")
    wait(lambda: len(path.keys) == 2, "two key frames")
    path._seconds.value = 0.5
    shared_page.click("Preview")
    wait(lambda: np.allclose(client.camera.position, path.keys[-1].position, atol=0.05), "it has come to its end")
    screen(shared_page, shots, "path")


def test_keys_add_key_frames_and_lead_back(viewer: Viewer, shared_page) -> None:
    path, (client,) = viewer.controls._path, viewer.server.get_clients().values()
    count = len(path.keys)
    shared_page.press_key("k")
    wait(lambda: len(path.keys) == count + 1, "one key frame more")
    go_to(viewer, (7.0, -1.0, 1.0), (0.0, -0.5, 0.3))
    shared_page.press_key("h")
    start = viewer.server.initial_camera.position
    wait(lambda: np.allclose(client.camera.position, start, atol=1e-3), "back at the start")


def test_a_key_frame_has_an_angle_of_view_of_its_own(viewer: Viewer, shared_page) -> None:
    path, (client,) = viewer.controls._path, viewer.server.get_clients().values()
    shared_page.type_into("Number", "1")
    wait(lambda: path._index() == 0, "the first is chosen")
    others = [key.fov_rad for key in path.keys[1:]]
    shared_page.type_into("Angle of view", "80")
    wait(lambda: abs(path.keys[0].fov_rad - math.radians(80)) < 1e-3, "it is wide")
    assert [key.fov_rad for key in path.keys[1:]] == others
    shared_page.click("Go there")
    wait(lambda: abs(client.camera.fov - math.radians(80)) < 1e-3, "what he sees is as wide")
    wait(lambda: np.allclose(client.camera.position, path.keys[0].position, atol=1e-3), "and from there")


def test_a_path_is_kept_as_a_file_and_comes_back(viewer: Viewer, shared_page, tmp_path: Path) -> None:
    path = viewer.controls._path
    before = path.keys
    shared_page.call("Page.setDownloadBehavior", behavior="allow", downloadPath=str(tmp_path))
    shared_page.open_folder("Path as a file")
    shared_page.click("Save")
    wait((tmp_path / "camera_path.json").is_file, "the file has come")
    for count in range(len(before) - 1, -1, -1):
        shared_page.click("Delete")
        wait(lambda count=count: len(path.keys) == count, "one less")
    shared_page.give_file(f"file_upload_{path._load._impl.uuid}", tmp_path / "camera_path.json")
    wait(lambda: len(path.keys) == len(before), "they are back")
    for found, key in zip(path.keys, before, strict=True):
        assert np.allclose(found.position, key.position, atol=1e-5) and abs(found.fov_rad - key.fov_rad) < 1e-5
    shared_page.open_folder("Path as a file")


@pytest.mark.parametrize(
    ("form", "name"),
    [("PNG frames", "path_png.zip"), ("EXR frames", "path_exr.zip"), ("Video (MP4)", "path.mp4")],
)
def test_a_path_is_rendered_with_progress_and_comes_as_a_file(
    viewer: Viewer, shared_page, tmp_path: Path, form: str, name: str
) -> None:
    if name.endswith("_exr.zip"):
        pytest.importorskip("OpenEXR", reason="OpenEXR is not installed: pip install OpenEXR mmh3 tifffile")
    shared_page.call("Page.setDownloadBehavior", behavior="allow", downloadPath=str(tmp_path))
    viewer.controls._render._size.value = (64, 48)
    count = len(viewer.controls._path.move().keys)
    shared_page.choose("As", form)
    shared_page.click("Render")
    wait((tmp_path / name).is_file, "the file has come")
    wait(lambda: not list(tmp_path.glob("*.crdownload")), "all of it")
    if name.endswith(".mp4"):
        assert next(imageio_ffmpeg.read_frames(str(tmp_path / name)))["size"] == (64, 48)
        assert imageio_ffmpeg.count_frames_and_secs(str(tmp_path / name))[0] == count
    else:
        with zipfile.ZipFile(tmp_path / name) as packed:
            assert len(packed.namelist()) == count and packed.testzip() is None
    shared_page.wait_for_button("Download again")
    assert f"of {count}" in viewer.controls._render._status.content


def test_a_render_is_cancelled(viewer: Viewer, shared_page) -> None:
    render, path = viewer.controls._render, viewer.controls._path
    render._size.value, path._seconds.value = (1920, 1080), 600.0
    count = len(path.move().keys)
    shared_page.click("Render")
    shared_page.wait_for(f"document.body.innerText.includes('of {count}')")
    shared_page.click("Cancel")
    shared_page.wait_for("document.body.innerText.includes('The render was stopped')")
    wait(lambda: not render._thread.is_alive() and render._result is None, "it has ended")
    path._seconds.value = 0.5


def test_a_file_is_dropped_on_the_page_and_what_is_visible_is_downloaded(
    viewer: Viewer, shared_page, shots: Path, tmp_path: Path
) -> None:
    write_splats(tmp_path / "cup.splat", three_blobs()[:50], capture_from_scene=Similarity.identity())
    content = base64.b64encode((tmp_path / "cup.splat").read_bytes()).decode()
    shared_page.click_tab("Files")
    shared_page.evaluate(
        f"fetch('data:;base64,{content}').then(r => r.arrayBuffer()).then(b => {{ const d = new DataTransfer();"
        "d.items.add(new File([b], 'cup.splat'));"
        "document.body.dispatchEvent(new DragEvent('drop', {dataTransfer: d, bubbles: true, cancelable: true})); })"
    )
    wait(lambda: viewer.document.models.names == (MAIN, "cup"), "the file is open", seconds=300.0)
    screen(shared_page, shots, "opened")
    shared_page.call("Page.setDownloadBehavior", behavior="allow", downloadPath=str(tmp_path))
    shared_page.click("Download")
    wait((tmp_path / "scene.ply").is_file, "the file has come")
    wait(lambda: not list(tmp_path.glob("*.crdownload")), "all of it")
    assert len(read_splats(tmp_path / "scene.ply")) == 650
    shared_page.tick("Visible")
    wait(lambda: not viewer.document.models["cup"].visible, "it is hidden")
    shared_page.tick("Move with a gizmo")
    wait(lambda: viewer.controls._models._gizmo is not None, "it can be moved")
    shared_page.tick("Move with a gizmo")
    shared_page.click("Remove")
    wait(lambda: viewer.document.models.names == (MAIN,), "it is gone")


@pytest.mark.parametrize("name", FORMATS)
def test_what_is_visible_is_downloaded_in_any_format(viewer: Viewer, shared_page, tmp_path: Path, name: str) -> None:
    if name == "usd":
        pytest.importorskip("pxr", reason="usd-core is not installed: pip install usd-core")
    shared_page.click_tab("Files")
    shared_page.call("Page.setDownloadBehavior", behavior="allow", downloadPath=str(tmp_path))
    shared_page.choose("Format", name)
    shared_page.click("Download")
    file = tmp_path / f"scene{FORMATS[name].suffixes[0]}"
    wait(file.is_file, "the file has come")
    wait(lambda: not list(tmp_path.glob("*.crdownload")), "all of it")
    if name == "html":
        assert file.read_bytes().lower().startswith(b"<!doctype html>")
    else:
        assert len(read_splats(file)) == 600


def test_what_is_visible_is_saved_with_the_run(viewer: Viewer, shared_page) -> None:
    shared_page.click_tab("Files")
    shared_page.choose("Format", "spz")
    shared_page.click("Save with the run")
    wait((viewer.controls._files._place.save_folder / "edited-001.spz").is_file, "the file is there")
    shared_page.wait_for("document.body.innerText.includes('edited-001.spz')")


def test_the_help_names_every_key(viewer: Viewer, shared_page, shots: Path) -> None:
    shared_page.click_tab("Help")
    shared_page.wait_for("document.body.innerText.includes('Browser or engine')")
    text = shared_page.text()
    for shortcut in viewer.controls._shortcuts():
        assert shortcut.label in text and shortcut.shown in text
    screen(shared_page, shots, "help")


def test_a_small_window_shows_picture_and_panel(viewer: Viewer, shared_page, shots: Path) -> None:
    shared_page.call("Emulation.setDeviceMetricsOverride", width=390, height=780, deviceScaleFactor=1, mobile=True)
    shared_page.open(viewer.url)
    wait(lambda: [v._aspect for v in tuple(viewer.visits.values())] == [0.5], "a visitor with a phone")
    shared_page.wait_for("document.querySelector('canvas')?.getBoundingClientRect().width > 300")
    bar = "(e => e && e.getBoundingClientRect())(document.querySelector('.mantine-Paper-root[style*=\"bottom: 0px\"]'))"
    shared_page.wait_for(f"(r => r && r.width === 390 && r.height < 80)({bar})")
    screen(shared_page, shots, "phone")
    shared_page.open_folder("balls")
    shared_page.wait_for(f"(r => r && r.width === 390 && r.height > 300)({bar})")
    time.sleep(0.5)
    screen(shared_page, shots, "phone-panel")
    assert shared_page.evaluate("document.documentElement.scrollWidth") <= 390, "nothing sticks out"
    assert not [said for said in shared_page.console if '"level": "error"' in said]
