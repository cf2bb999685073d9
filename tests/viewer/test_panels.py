"""The pages of the panel through the wire, as viser's own page speaks: edit, path, render, open, export."""

import io
import json
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import torch
import zstandard
from open3d_or_skip import open3d_or_skip
from surface_ball import ball, cameras_around
from websockets.sync.client import ClientConnection

from neural3d.errors import InputError
from neural3d.export.formats import read_splats, write_splats
from neural3d.render.model import model_render_function
from neural3d.scene import Scene, Similarity
from neural3d.splats.gaussians import Gaussians
from neural3d.viewer import Viewer, view_gaussians
from neural3d.viewer.editing import BRUSH, NO_TOOL, RECTANGLE
from neural3d.viewer.inbox import PART_BYTES
from neural3d.viewer.meshes import MESH
from neural3d.viewer.models import MAIN, Entry
from neural3d.viewer.pointer import picked_point
from neural3d.viewer.space import View, cameras_from_view
from neural3d.viewer.visit import BY_ENGINE


@dataclass
class Guest:
    """A page that presses what it is told to."""

    viewer: Viewer
    socket: ClientConnection

    def send(self, kind: str, **fields: Any) -> None:
        self.socket.send(msgspec.msgpack.encode({"type": kind, **fields}))

    def set(self, handle: Any, value: Any) -> None:
        self.send("GuiUpdateMessage", uuid=handle._impl.uuid, updates={"value": value})

    def click_on_picture(self, x: float, y: float, origin: tuple, direction: tuple) -> None:
        where = {"ray_origin": origin, "ray_direction": direction, "screen_pos": [(x, y)]}
        self.send("ScenePointerMessage", event_type="click", modifier=None, **where)

    def drag_on_picture(self, low: tuple, high: tuple) -> None:
        where = {"ray_origin": None, "ray_direction": None, "screen_pos": [low, high]}
        self.send("ScenePointerMessage", event_type="rect-select", modifier=None, **where)

    def upload(self, handle: Any, name: str, content: bytes) -> None:
        parts = [content[at : at + PART_BYTES] for at in range(0, len(content), PART_BYTES)]
        common = {"source_component_uuid": handle._impl.uuid, "transfer_uuid": "t" + name}
        self.send(
            "FileTransferStartUpload",
            filename=name,
            mime_type="",
            part_count=len(parts),
            size_bytes=len(content),
            **common,
        )
        for index, part in enumerate(parts):
            self.send("FileTransferPart", part_index=index, content=part, **common)

    def download(self) -> tuple[str, bytes]:
        """The next file that comes."""
        name, parts, missing = "", {}, None
        while missing is None or missing:
            for message in self._messages():
                if message["type"] == "FileTransferStartDownload":
                    name, missing = message["filename"], message["part_count"]
                elif message["type"] == "FileTransferPart":
                    parts[message["part_index"]] = message["content"]
                    missing -= 1
        return name, b"".join(parts[index] for index in sorted(parts))

    def _messages(self) -> list[dict]:
        raw = self.socket.recv(timeout=60)
        size = int.from_bytes(raw[8:16], "little")
        inner = zstandard.ZstdDecompressor().decompress(raw[16 : 16 + size], max_output_size=10**8)
        found = msgspec.msgpack.decode(inner)["messages"]
        return [message for message in found if message is not None]


@pytest.fixture
def guest(gaussians: Gaussians, scene: Scene, clients_of: Callable, until, tmp_path: Path) -> Iterator[Guest]:
    """Somebody who looks at 300 splats on a sphere from (0, 0, -4) along +z."""
    where = {"render_fn_from": model_render_function, "save_folder": tmp_path / "exports"}
    with view_gaussians(gaussians, scene, port=0, **where) as viewer:
        with clients_of(viewer).visit() as socket:
            until(lambda: bool(viewer.visits) and len(viewer.clouds) == 1, "the visitor is there, and the splats")
            yield Guest(viewer, socket)


def selected(guest: Guest) -> int:
    return guest.viewer.document.models.num_selected


def test_a_region_crops_and_selects(guest: Guest, until: Callable, gaussians: Gaussians) -> None:
    edit, document = guest.viewer.controls._edit, guest.viewer.document
    region = edit._region
    guest.set(region._shape, "Box")
    until(lambda: region.region is not None and region._size.visible, "the region is there")
    guest.set(region._size, (10.0, 10.0, 10.0))
    guest.send("TransformControlsUpdateMessage", name="/region", wxyz=(1, 0, 0, 0), position=(5, 0, 0), owner="")
    inside = int((gaussians.means_world[:, 0] > 0).sum())
    guest.set(edit._is_cropped, True)
    until(lambda: document.models.crop is not None and len(document.models.merged()) == inside, "half of it is shown")
    guest.set(edit._inside, "Inside")
    until(lambda: selected(guest) == inside, "what is shown is selected")
    guest.set(region._shape, "None")
    until(lambda: document.models.crop is None and len(document.models.merged()) == 300, "all is there again")


def test_select_on_the_picture_delete_and_undo(guest: Guest, until: Callable, gaussians: Gaussians) -> None:
    edit, document = guest.viewer.controls._edit, guest.viewer.document
    guest.set(edit._tool, RECTANGLE)
    until(lambda: edit._tool.value == RECTANGLE, "the tool is taken up")
    guest.drag_on_picture((0.0, 0.0), (0.5, 1.0))
    left = int((gaussians.means_world[:, 0] < 0).sum())
    until(lambda: selected(guest) == left, "the left half is selected")
    guest.set(edit._delete, True)
    until(lambda: document.models.num_deleted == left, "it is deleted")
    guest.set(edit._tool, BRUSH)
    guest.set(edit._radius, 5)
    until(lambda: edit._tool.value == BRUSH and edit._radius.value == 5, "the brush is taken up")
    until(lambda: edit._brush._radius_px == 5, "it is as wide as was asked for")
    for nonsense in ("", "1", "1 0.5", "1 a,b", "1 nan,0", "1 0.5,9", "1 " + "0,0 " * 5000):
        guest.set(edit._brush._field, nonsense)
    guest.set(edit._brush._field, "1 0.6,0.5")
    until(lambda: selected(guest) > 0, "a dab")
    dab = selected(guest)
    guest.set(edit._brush._field, "2 0.6,0.4 0.6,0.5 0.7,0.5")
    until(lambda: dab < selected(guest) < 300 - left, "a stroke adds to it")
    guest.set(edit._undo, True)
    until(lambda: selected(guest) == dab, "a stroke is one step")
    guest.set(edit._undo, True)
    until(lambda: selected(guest) == 0, "the selection is taken back")
    guest.set(edit._undo, True)
    until(lambda: document.models.num_deleted == 0, "the deletion is taken back")
    guest.set(edit._tool, NO_TOOL)
    until(lambda: not guest.viewer.server.scene._scene_pointer_cb, "the mouse moves the camera again")


def test_presses_of_one_group_are_taken_in_turn(guest: Guest, until: Callable) -> None:
    edit = guest.viewer.controls._edit
    for _ in range(20):
        guest.set(edit._change, "Clear")
        guest.set(edit._change, "Invert")
    guest.set(edit._tool, BRUSH)
    until(lambda: edit._tool.value == BRUSH, "all messages are in")
    done = threading.Event()
    guest.viewer.document.run(done.set)
    assert done.wait(20) and selected(guest) == 300


def test_nothing_is_deleted_of_what_is_being_trained(guest: Guest, until: Callable) -> None:
    edit, document = guest.viewer.controls._edit, guest.viewer.document
    document.is_training = True
    guest.set(edit._change, "Invert")
    guest.set(edit._tool, BRUSH)
    until(lambda: edit._tool.value == BRUSH, "all messages are in")
    assert selected(guest) == 0
    document.is_training = False
    guest.set(edit._change, "Clear")
    guest.set(edit._change, "Invert")
    until(lambda: selected(guest) == 300, "afterwards it works")


def test_a_distance_is_measured_between_two_clicks(guest: Guest, until: Callable, gaussians: Gaussians) -> None:
    place = guest.viewer.controls._place
    guest.set(place._measure, True)
    until(lambda: guest.viewer.server.scene._scene_pointer_cb != [], "the tool is taken up")
    ends = [gaussians.means_world[i] for i in gaussians.means_world[:, 2].topk(2, largest=False).indices]
    hit = []
    for end in ends:
        ray = (end - torch.tensor([0.0, 0.0, -4.0])).tolist()
        hit.append(picked_point(gaussians, (0.0, 0.0, -4.0), tuple(ray)))
        count = len(hit)
        guest.click_on_picture(0.5, 0.5, (0.0, 0.0, -4.0), tuple(ray))
        until(lambda count=count: len(place._ends) == count, "the click is taken")
    until(lambda: place._length.visible, "the length is shown")
    assert f"{float((hit[0] - hit[1]).norm()):.4g} units" in place._length.content
    until(lambda: not guest.viewer.server.scene._scene_pointer_cb, "the tool is put away")


def assert_is_our_frame(path: Path, guest: Guest) -> None:
    """The second of three frames: layers as `render` writes them, the splats where the camera sees them."""
    import OpenEXR

    with OpenEXR.File(str(path), separate_channels=True) as file:
        assert [part.name() for part in file.parts] == ["rgba", "depth", "normal", "position"]
        assert file.header(0)["imageCounter"] == 2 and file.header(0)["framesPerSecond"] == 12
        alpha = np.asarray(file.channels(0)["A"].pixels).astype(np.float32)
    (key,) = guest.viewer.controls._path.move().keys[1:2]
    camera = cameras_from_view(View(key.wxyz, key.position, key.fov_rad, 32, 24), 24)
    expected = model_render_function(guest.viewer.document.models.merged())(camera).alphas[0, ..., 0]
    assert alpha.shape == (24, 32) and np.abs(alpha - expected.numpy()).max() < 2e-3 < alpha.max()


def test_a_path_is_made_saved_loaded_and_rendered(
    guest: Guest, until: Callable, clients_of: Callable, tmp_path: Path
) -> None:
    path, camera = guest.viewer.controls._path, clients_of(guest.viewer).camera
    (handle,) = guest.viewer.server.get_clients().values()
    for x in (0.0, 1.0):
        guest.socket.send(camera.encode(position=(x, 0.0, -4.0), look_at=(x, 0.0, 0.0)))
        until(lambda x=x: handle.camera.position[0] == x, "the camera is there")
        guest.set(path._add, True)
        until(lambda x=x: len(path.keys) == x + 1, "the key frame is there")
    guest.set(path._fov, 60.0)
    guest.set(path._seconds, 0.25)
    guest.set(path._fps, 12)
    until(lambda: path._fps.value == 12 and len(path.move().keys) == 3, "three frames")
    assert [round(key.position[0], 3) for key in path.move().keys] == [0.0, 0.5, 1.0]
    assert path.keys[1].fov_rad == pytest.approx(1.0472, abs=1e-3)
    guest.set(path._save, True)
    name, content = guest.download()
    assert name == "camera_path.json" and len(json.loads(content)["keyframes"]) == 2
    guest.set(path._go, "Delete")
    until(lambda: len(path.keys) == 1, "one is deleted")
    guest.upload(path._load, "camera_path.json", content)
    until(lambda: len(path.keys) == 2, "both are back")
    render = guest.viewer.controls._render
    guest.set(render._size, (32, 24))
    exr = (("EXR frames", "exr"),) if find_spec("OpenEXR") else ()
    for form, kind in (("PNG frames", "png"), ("Video (MP4)", "mp4"), *exr):
        guest.set(render._form, form)
        guest.set(render._start, True)
        name, content = guest.download()
        if kind == "mp4":
            assert name == "path.mp4" and content[4:8] == b"ftyp"
        else:
            with zipfile.ZipFile(io.BytesIO(content)) as frames:
                assert frames.namelist() == [f"path.{i:04d}.{kind}" for i in (1, 2, 3)]
                frames.extract(f"path.0002.{kind}", tmp_path)
        until(lambda: render._start.visible and not render._thread.is_alive(), "it can be rendered again")
    if exr:
        assert_is_our_frame(tmp_path / "path.0002.exr", guest)


def test_an_angle_of_view_that_the_slider_does_not_reach_is_kept(
    guest: Guest, until: Callable, clients_of: Callable
) -> None:
    path, (client,) = guest.viewer.controls._path, guest.viewer.server.get_clients().values()
    guest.socket.send(clients_of(guest.viewer).camera.encode(fov=0.02))
    until(lambda: client.camera.fov == 0.02, "a telephoto lens")
    for count in (1, 2):
        guest.set(path._add, True)
        until(lambda count=count: len(path.keys) == count, "a key frame")
    assert [key.fov_rad for key in path.keys] == [0.02, 0.02]


def test_a_render_is_cancelled(guest: Guest, until: Callable, clients_of: Callable, monkeypatch) -> None:
    path, render = guest.viewer.controls._path, guest.viewer.controls._render
    guest.set(path._add, True)
    until(lambda: len(path.keys) == 1, "a key frame")
    guest.set(path._seconds, 600.0)
    guest.set(render._start, True)
    until(lambda: render._stop.visible, "it runs")
    guest.set(render._stop, True)
    until(lambda: render._start.visible and not render._again.visible, "it has ended, and left nothing")


def test_another_file_is_opened_moved_hidden_and_exported_with_the_rest(
    guest: Guest, until: Callable, tmp_path: Path, gaussians: Gaussians
) -> None:
    files, models, document = guest.viewer.controls._files, guest.viewer.controls._models, guest.viewer.document
    write_splats(tmp_path / "cup.splat", gaussians[:40], capture_from_scene=Similarity.identity())
    guest.upload(files._open, "cup.splat", (tmp_path / "cup.splat").read_bytes())
    until(lambda: document.models.names == (MAIN, "cup"), "it is there", seconds=300.0)  # a process starts for it
    assert files._open.value.content == b"", "what was sent is not kept"
    until(lambda: models._which.value == "cup" and len(guest.viewer.clouds) == 2, "the page has turned to it")
    guest.set(models._move, True)
    until(lambda: models._gizmo is not None, "it has a gizmo")
    where = {"name": "/gizmos/cup", "owner": ""}
    guest.send("TransformControlsDragStartMessage", **where)
    guest.send("TransformControlsUpdateMessage", wxyz=(1, 0, 0, 0), position=(7, 0, 0), **where)
    guest.send("TransformControlsDragEndMessage", **where)
    until(lambda: document.models["cup"].position[0] == 7.0, "it is moved")
    guest.set(models._scale, 2.0)
    until(lambda: document.models["cup"].world_from_model.scale == 2.0, "it is larger")
    guest.set(files._format, "splat")
    guest.set(files._export, True)
    name, content = guest.download()
    (tmp_path / name).write_bytes(content)
    both = read_splats(tmp_path / name)
    assert len(both) == 340 and int((both.means_world[:, 0] > 4).sum()) == 40
    guest.set(models._visible, False)
    until(lambda: len(guest.viewer.clouds) == 1, "it is hidden")
    guest.set(files._save, True)
    saved = tmp_path / "exports" / "edited-001.splat"
    until(saved.is_file, "what is visible is saved with the run")
    assert len(read_splats(saved)) == 300
    guest.set(models._remove, True)
    until(lambda: document.models.names == (MAIN,), "it is removed")


def test_no_more_than_two_exports_wait(guest: Guest, until: Callable, monkeypatch) -> None:
    files, begun, go_on, told = guest.viewer.controls._files, [], threading.Event(), []

    def slowly(folder: Path, stem: str) -> Path:
        begun.append(stem)
        assert go_on.wait(20)
        (folder / stem).write_bytes(b"a")
        return folder / stem

    monkeypatch.setattr(files, "export", slowly)
    (client,) = guest.viewer.server.get_clients().values()
    really = client.add_notification
    monkeypatch.setattr(client, "add_notification", lambda *text, **how: told.append(text) or really(*text, **how))
    for _ in range(3):
        guest.set(files._export, True)
    until(lambda: any("under way already" in text[1] for text in told), "the third is refused")
    go_on.set()
    until(lambda: len(begun) == 2, "the first two are written")


def test_a_number_is_typed_figure_by_figure(guest: Guest, until: Callable) -> None:
    """What is no size yet is not written over, and all of it is one step back."""
    models, document = guest.viewer.controls._models, guest.viewer.document
    scale = lambda: document.models[MAIN].world_from_model.scale  # noqa: E731
    for typed in (0.0, 0.2, 0.25):
        guest.set(models._scale, typed)
        until(lambda typed=typed: models._scale.value == typed, "it is heard")
        models.refresh()  # as at each snapshot of a training
        assert models._scale.value in (typed, scale() if typed else 0.0), "what is no size yet stays as it is typed"
    until(lambda: scale() == 0.25, "the last counts")
    guest.set(guest.viewer.controls._edit._undo, True)
    until(lambda: scale() == 1.0, "one step back")
    until(lambda: models._scale.value == 1.0, "and the page says so")


def test_a_size_beyond_what_can_be_typed_stays(guest: Guest, until: Callable) -> None:
    """That of a file in a capture of millimetres."""
    models, document = guest.viewer.controls._models, guest.viewer.document
    place = replace(Similarity.identity(), scale=1e-5)
    document.change(lambda now: now.changed(MAIN, world_from_model=place))
    until(lambda: models._scale.value == 1e-5, "the page shows it")
    guest.set(guest.viewer.controls._edit._change, "Clear")
    time.sleep(0.2)
    assert document.models[MAIN].world_from_model.scale == 1e-5


def test_the_engine_shows_nothing_where_nothing_is_visible(guest: Guest, until: Callable, monkeypatch) -> None:
    """Its last picture would stay, and not follow him."""
    (visit,), models = guest.viewer.visits.values(), guest.viewer.controls._models
    sent: list = []
    monkeypatch.setattr(visit.client.scene, "set_background_image", lambda picture, **_: sent.append(picture))
    guest.set(visit._by, BY_ENGINE)
    until(lambda: len(sent) > 0 and sent[-1] is not None, "the engine draws")
    guest.set(models._visible, False)
    until(lambda: sent[-1] is None, "white")
    guest.set(visit._background, (0, 0, 0))
    until(lambda: sent[-1] is not None and sent[-1].shape == (2, 2, 3), "black")
    guest.set(models._visible, True)
    until(lambda: sent[-1] is not None and sent[-1].shape != (2, 2, 3), "the engine draws")


def test_models_of_other_kinds_are_not_exported_as_one(guest: Guest, gaussians: Gaussians, tmp_path: Path) -> None:
    files, other = guest.viewer.controls._files, replace(gaussians, antialiased=True)
    guest.viewer.document.change(lambda now: now.with_entry(Entry("other", other, Similarity.identity())))
    with pytest.raises(InputError, match="hide some"):
        files.export(tmp_path, "scene")


def test_what_is_asked_for_in_a_row_is_done_in_a_row(guest: Guest, until: Callable) -> None:
    """While a long change is at work: neither is decided by what was there before it, nor from there."""
    controls, document, go_on = guest.viewer.controls, guest.viewer.document, threading.Event()
    models, moved = controls._models, replace(Similarity.identity(), translation=torch.tensor([1.0, 0.0, 0.0]).double())
    document.run(lambda: go_on.wait(20))
    document.later(lambda now: now.changed(MAIN, world_from_model=moved))
    for handle, value in ((models._scale, 2.0), (models._visible, False), (models._visible, True)):
        guest.set(handle, value)
        until(lambda handle=handle, value=value: handle.value == value, "it is heard")
    go_on.set()
    until(lambda: document.models[MAIN].world_from_model.scale == 2.0, "it is larger")
    done = threading.Event()
    document.run(done.set)
    assert done.wait(20)
    assert document.models[MAIN].position == (1.0, 0.0, 0.0) and document.models[MAIN].visible


def test_saving_twice_at_once_makes_two_files(guest: Guest, until: Callable, monkeypatch) -> None:
    files, begun, go_on = guest.viewer.controls._files, [], threading.Event()
    really = files.export

    def slowly(folder: Path, stem: str) -> Path:
        begun.append(stem)
        assert go_on.wait(20)
        return really(folder, stem)

    monkeypatch.setattr(files, "export", slowly)
    guest.set(files._save, True)
    until(lambda: len(begun) == 1, "the first is being written")
    guest.set(files._save, True)
    guest.set(files._format, "spz")
    until(lambda: files._format.value == "spz", "the second press is in")
    go_on.set()
    until(lambda: len(begun) == 2, "the second is written")
    assert begun == ["edited-001", "edited-002"]


def test_standing_at_a_photo_compares_it_with_the_render(guest: Guest, until: Callable, scene: Scene) -> None:
    (visit,) = guest.viewer.visits.values()
    guest.set(visit._step, "Next")
    until(lambda: visit._photo == 0, "at the first photo")
    assert "held out" in visit._where.content and "1 of 6" in visit._where.content
    guest.set(visit._mode, "Wipe")
    until(lambda: visit._is_exact and visit._border.visible, "the comparison is drawn by the engine")
    assert visit.display().comparison.photo is scene.photos[0]
    guest.socket.send(clients_camera(scene))
    until(lambda: visit._has_arrived, "he has arrived")
    away = msgspec.msgpack.decode(clients_camera(scene)) | {"position": [9.0, 9.0, 9.0]}
    guest.socket.send(msgspec.msgpack.encode(away))
    until(lambda: visit._photo is None and not visit._is_exact, "he has left")


def clients_camera(scene: Scene) -> bytes:
    """What the page says once it stands at the first photo."""
    x, y, z = scene.cameras.centers_world[0].double().tolist()
    fields = {"position": [x, y, z], "wxyz": [1.0, 0, 0, 0], "fov": 0.8, "near": 0.01, "far": 100.0}
    size = {"image_height": 48, "image_width": 64, "look_at": [0.0, 0, 0], "up_direction": [0.0, 0, 1]}
    return msgspec.msgpack.encode({"type": "ViewerCameraMessage", **fields, **size})


NONSENSE = (None, "", "x" * 2000, -1e308, float("nan"), [1], {"a": 1}, 10**18, True)


def test_a_picture_that_comes_late_does_not_stay(guest: Guest, until: Callable, monkeypatch) -> None:
    """It was drawn while he turned back to the browser's splats."""
    ((number, visit),) = guest.viewer.visits.items()
    sent: list = []
    monkeypatch.setattr(visit.client.scene, "set_background_image", lambda picture, **_: sent.append(picture))
    guest.viewer._deliver(number, np.zeros((2, 2, 3), np.uint8))
    assert len(sent) == 2 and sent[-1] is None, "white, as before"
    guest.set(visit._by, BY_ENGINE)
    until(lambda: visit._is_exact and len(sent) > 2, "the engine draws")
    assert sent[-1] is not None


def test_controls_survive_values_without_sense(guest: Guest, until: Callable, clients_of: Callable) -> None:
    """Whatever a page says, the viewer goes on, and what it shows makes sense."""
    controls, (visit,) = guest.viewer.controls, guest.viewer.visits.values()
    handles = [visit._by, visit._output, visit._colormap, visit._background, visit._size, visit._mode, visit._border]
    handles += [controls._path._fov, controls._path._seconds, controls._path._fps, controls._path._chosen]
    handles += [controls._edit._tool, controls._edit._radius, controls._edit._region._shape]
    handles += [controls._models._which, controls._models._scale, controls._files._format, controls._render._size]
    for handle in handles:
        for value in NONSENSE:
            guest.set(handle, value)
    (client,) = guest.viewer.server.get_clients().values()
    guest.socket.send(clients_of(guest.viewer).camera.encode(position=(9.0, 0.0, 0.0)))
    until(lambda: client.camera.position[0] == 9.0, "all messages are in")
    display = visit.display()
    assert all(0 <= part <= 1 for part in display.background) and 0 < display.scale <= 1
    guest.set(controls._path._add, True)
    until(lambda: len(controls._path.keys) == 1, "the pages still work")
    assert controls._path.move().fps >= 1 and len(controls._path.move().keys) <= 600 * 120


def test_what_is_visible_is_exported_as_a_mesh(scene: Scene, tmp_path: Path, until: Callable) -> None:
    """A ball of radius 1 around the origin, its bright side up: +y in glTF."""
    open3d_or_skip()
    seen = replace(scene, cameras=cameras_around(), photos=scene.photos[:1] * 24)
    with view_gaussians(ball(), seen, port=0) as viewer:
        until(lambda: len(viewer.document.models.entries) > 0, "the model is on show")
        files = viewer.controls._files
        files._format.value = MESH
        path = files.export(tmp_path, "scene")
    assert path.name == "scene.mesh.glb"
    content = path.read_bytes()
    found = json.loads(content[20 : 20 + int.from_bytes(content[12:16], "little")])
    (primitive,) = found["meshes"][0]["primitives"]
    places = found["accessors"][primitive["attributes"]["POSITION"]]
    assert places["count"] > 500 and primitive.get("mode", 4) == 4
    assert places["min"] + places["max"] == pytest.approx([-1] * 3 + [1] * 3, abs=0.12)
