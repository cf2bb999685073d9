"""The viewer as a training sees it: it notes, it asks, and it never holds anybody up."""

import logging
import math
import threading
from collections.abc import Callable

import msgspec
import pytest
import torch
import zstandard
from viser import _messages as wire

from neural3d.errors import InputError
from neural3d.render.rendering import Rendering
from neural3d.scene import Photo, Scene
from neural3d.splats.gaussians import Gaussians
from neural3d.train.observer import Progress
from neural3d.viewer import Viewer, announce, frames, view_gaussians
from neural3d.viewer.panel import MAX_CURVE_POINTS, Curves, duration, metrics_table
from neural3d.viewer.space import fov_in_window
from neural3d.viewer.stage import thumbnail
from neural3d.viewer.visit import BY_ENGINE


def progress(step: int = 100, psnr: float | None = 20.0) -> Progress:
    return Progress(
        step=step,
        total_steps=1000,
        fraction=step / 1000,
        train_seconds=step / 50,
        seconds_left=(1000 - step) / 50,
        psnr=psnr,
        num_gaussians=300,
        loss=0.1,
        steps_per_second=50.0,
    )


def press(client, handle) -> None:
    """What the page sends when a button is pressed."""
    update = {"type": "GuiUpdateMessage", "uuid": handle._impl.uuid, "updates": {"value": True}}
    client.send(msgspec.msgpack.encode(update))


def test_pause_resume_and_stop_reach_the_training(clients, viewer: Viewer, until: Callable) -> None:
    assert viewer.requested() == "run"
    with clients.visit() as client:
        until(lambda: bool(viewer.server.get_clients()), "the client is known")
        press(client, viewer.panel._pause)
        until(lambda: viewer.requested() == "pause", "pause")
        assert viewer.frame_share == 1.0, "while training waits the engine need not"
        press(client, viewer.panel._pause)
        until(lambda: viewer.requested() == "run", "resume")
        assert viewer.frame_share < 1.0
        press(client, viewer.panel._save)
        until(lambda: viewer.requested() == "save", "save")
        assert viewer.requested() == "run", "one checkpoint a press"
        press(client, viewer.panel._stop)
        until(lambda: viewer.requested() == "stop", "stop")
        press(client, viewer.panel._pause)
        press(client, viewer.panel._pause)
        client.send(clients.camera.encode(position=(9.0, 0.0, 0.0)))
        (handle,) = viewer.server.get_clients().values()
        until(lambda: handle.camera.position[0] == 9.0, "all messages are in")
        assert viewer.requested() == "stop", "a stop is final"


def test_snapshots_are_taken_only_when_somebody_looks_and_then_seldom(
    clients, viewer: Viewer, gaussians: Gaussians, until: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("neural3d.viewer.app.SNAPSHOT_SECONDS", 1000.0)
    taken = []

    def snapshot() -> Gaussians:
        taken.append(threading.current_thread())
        return gaussians

    viewer.on_progress(progress(), snapshot)
    until(lambda: len(viewer.clouds) == 1, "the first is shown, so that who comes sees something")
    viewer._next_snapshot = 0.0
    viewer.on_progress(progress(), snapshot)
    assert len(taken) == 1, "nobody looks"
    with clients.visit():
        until(lambda: clients.live == 1, "somebody looks")
        for _ in range(50):
            viewer.on_progress(progress(), snapshot)
        assert len(taken) == 2
        viewer.on_progress(progress(1000), snapshot)
        assert len(taken) == 3, "the last is never left out"
    assert set(taken) == {threading.current_thread()}, "copied between two steps, never during one"


def test_the_training_goes_on_while_the_publisher_is_stuck(
    viewer: Viewer, gaussians: Gaussians, monkeypatch: pytest.MonkeyPatch, until: Callable
) -> None:
    stuck, go_on = threading.Event(), threading.Event()
    shown = []

    def publish(noted: Progress | None, _: Gaussians | None) -> None:
        shown.append(noted.step)
        stuck.set()
        go_on.wait(20)

    monkeypatch.setattr(viewer, "_publish", publish)
    viewer.on_progress(progress(1), lambda: gaussians)
    assert stuck.wait(20)
    for step in range(2, 500):
        viewer.on_progress(progress(step), lambda: gaussians)
        assert viewer.requested() == "run"
    go_on.set()
    until(lambda: len(shown) == 2, "what came meanwhile is shown once")
    assert shown == [1, 499], "the latest wins"


@pytest.mark.parametrize("part", ["document.replace_main", "clouds.show"])
def test_the_last_update_is_shown_though_it_failed_at_first(
    viewer: Viewer, gaussians: Gaussians, monkeypatch: pytest.MonkeyPatch, until: Callable, caplog, part: str
) -> None:
    owner, name = part.split(".")
    whole, failures = getattr(getattr(viewer, owner), name), [RuntimeError("deque mutated during iteration")]

    def fail_once(*arguments: object) -> None:
        if failures:
            raise failures.pop()
        whole(*arguments)

    monkeypatch.setattr(getattr(viewer, owner), name, fail_once)
    with caplog.at_level(logging.CRITICAL, "neural3d.viewer"):
        viewer.show(gaussians)
        until(lambda: len(viewer.clouds) == 1, "it is tried again")
    assert viewer.errors == 1


def test_an_update_that_fails_is_counted_and_the_next_is_shown(
    viewer: Viewer, gaussians: Gaussians, monkeypatch: pytest.MonkeyPatch, until: Callable, caplog
) -> None:
    whole = viewer._publish
    monkeypatch.setattr(viewer, "_publish", lambda *_: 1 / 0)
    with caplog.at_level(logging.CRITICAL, "neural3d.viewer"):
        viewer.show(gaussians)
        until(lambda: viewer.errors >= 1, "the failure is counted")
    monkeypatch.setattr(viewer, "_publish", whole)
    viewer.show(gaussians)
    until(lambda: len(viewer.clouds) == 1, "the next is shown")


def test_the_panel_shows_the_numbers(viewer: Viewer, gaussians: Gaussians, until: Callable) -> None:
    for step in (100, 200):
        viewer.on_progress(progress(step, 20.0 + step / 100), lambda: gaussians)
        # The last curve comes last.
        until(lambda step=step: viewer.panel._charts[2].data[0][-1] == step / 50, "the step is in the curves")
        assert f"step {step}" in viewer.panel._status.content
    assert "**22.00 dB**" in viewer.panel._metrics.content
    psnr, loss, size = viewer.panel._charts
    assert [row.tolist() for row in psnr.data] == [[2.0, 4.0], [21.0, 22.0]]
    assert [row.tolist() for row in loss.data] == [[2.0, 4.0], [0.1, 0.1]]
    assert psnr.visible and loss.visible and not size.visible, "a size that never changes is no curve"
    viewer.end("Done: 22.00 dB")
    assert viewer.panel._status.content == "**Done: 22.00 dB**" and viewer.panel._stop.disabled


def test_the_scene_is_on_the_page(scene: Scene, gaussians: Gaussians, until: Callable) -> None:
    with Viewer(scene, port=0) as viewer:
        viewer.show(gaussians)
        until(lambda: len(viewer.clouds) == 1, "the splats are there")
        sent = list(viewer.server._websock_server._broadcast_buffer.message_from_id.values())
    names = [message.name for message in sent if isinstance(message, wire._CreateSceneNodeMessage)]
    assert sum(name.startswith("/photos/") for name in names) == 6
    assert {"/points", "/splats/model"} <= set(names)
    colors = {m.name: m.props.color for m in sent if isinstance(m, wire.CameraFrustumMessage)}
    assert colors["/photos/00000"] != colors["/photos/00001"], "held-out views stand out"


def test_sharing_is_not_offered(viewer: Viewer) -> None:
    sent = viewer.server._websock_server._broadcast_buffer.message_from_id.values()
    (theme,) = [message for message in sent if isinstance(message, wire.ThemeConfigurationMessage)]
    assert not theme.show_share_button


def test_thumbnails_are_small_and_on_white() -> None:
    pixels, alpha = torch.zeros(100, 400, 3, dtype=torch.uint8), torch.zeros(100, 400, dtype=torch.uint8)
    alpha[:, :200] = 255
    small = thumbnail(Photo("a.png", pixels, alpha))
    assert small.shape == (24, 96, 3)
    assert small[:, :40].max() == 0 and small[:, 60:].min() == 255


def solid_render_fn(model: Gaussians):
    """Grey everywhere, and an error from beyond x = 1."""

    def render(cameras) -> Rendering:
        if cameras.centers_world[0, 0] > 1.0:
            raise ValueError("no such place")
        width, height = cameras.size_px[0].tolist()
        return Rendering(torch.full((1, height, width, 3), 0.5), torch.ones(1, height, width, 1))

    return render


def choose(client, value: object) -> None:
    """Wait for the choice of who draws, and choose."""
    dropdown = listen(client, is_choice)
    update = {"type": "GuiUpdateMessage", "uuid": dropdown["uuid"], "updates": {"value": value}}
    client.send(msgspec.msgpack.encode(update))


def is_choice(message: dict) -> bool:
    return message["type"] == "GuiDropdownMessage" and message["props"]["label"] == "Drawn by"


def listen(client, is_wanted: Callable[[dict], bool], seen: list[dict] | None = None) -> dict:
    """Read until a wanted message comes; all that came is added to `seen`."""
    while True:
        raw = client.recv(timeout=20)
        size = int.from_bytes(raw[8:16], "little")
        inner = zstandard.ZstdDecompressor().decompress(raw[16 : 16 + size], max_output_size=10**8)
        messages = msgspec.msgpack.decode(inner)["messages"]
        if seen is not None:
            seen += messages
        for message in filter(is_wanted, messages):
            return message


def is_picture(message: dict) -> bool:
    return message["type"] == "BackgroundImageMessage" and message["rgb_data"] is not None


def test_who_asks_the_engine_gets_its_pictures_and_hears_of_its_errors(
    gaussians: Gaussians, clients_of: Callable, until: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Of a machine that is slow for a moment: pictures are drawn in bands then, which only a true renderer can.
    monkeypatch.setattr(frames, "BAND_SECONDS", 600.0)
    with view_gaussians(gaussians, port=0, render_fn_from=solid_render_fn) as viewer:
        clients, of_other = clients_of(viewer), []
        with clients.visit() as client, clients.visit() as other:
            choose(client, BY_ENGINE)
            assert listen(client, is_picture)["format"] == "jpeg"
            client.send(clients.camera.encode(position=(5.0, 0.0, 0.0)))
            notice = listen(client, lambda message: message["type"] == "NotificationShowMessage")
            assert "no such place" in notice["props"]["body"]
            assert viewer.errors >= 1
            listen(other, is_choice, of_other)
            assert not any(map(is_picture, of_other)), "the others' pictures are their own affair"
        until(lambda: not viewer._frames._visitors, "who left is forgotten")


def test_a_choice_that_is_not_offered_changes_nothing(gaussians: Gaussians, clients_of: Callable, until) -> None:
    with view_gaussians(gaussians, port=0, render_fn_from=solid_render_fn) as viewer:
        clients = clients_of(viewer)
        for value in ("neither", "", None, {"a": 1}, math.nan):
            with clients.visit() as client:
                choose(client, value)
                client.send(clients.camera.encode(position=(9.0, 0.0, 0.0)))
                (handle,) = viewer.server.get_clients().values()
                until(lambda handle=handle: handle.camera.position[0] == 9.0, "all messages are in")
                assert not viewer._frames._visitors
            until(lambda: not viewer.server.get_clients(), "the client is gone")


def test_an_empty_model_is_refused(gaussians: Gaussians) -> None:
    with pytest.raises(InputError, match="no Gaussians"):
        view_gaussians(gaussians[:0])


def test_the_address_is_announced_and_a_public_one_with_a_warning(capsys: pytest.CaptureFixture) -> None:
    with Viewer(port=0) as viewer:
        announce(viewer)
        printed = capsys.readouterr()
        assert viewer.url in printed.out and not printed.err
        assert viewer.url.startswith("http://127.0.0.1:") and "?token=" in viewer.url
    with Viewer(host="0.0.0.0", port=0) as viewer:
        announce(viewer)
        assert "warning: listening on 0.0.0.0" in capsys.readouterr().err


def test_closing_leaves_no_thread_behind() -> None:
    before = set(threading.enumerate())
    viewer = Viewer(port=0)
    viewer.close()
    viewer.close()
    left = [thread for thread in set(threading.enumerate()) - before if not thread.name.startswith("ThreadPool")]
    assert not left


@pytest.mark.parametrize("seconds, text", [(0.0, "0 s"), (59.6, "1 min 00 s"), (3725.0, "1 h 02 min"), (-3.0, "0 s")])
def test_durations_read_well(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_a_psnr_that_is_not_there_is_said_to_be_so() -> None:
    assert "not yet measured" in metrics_table(progress(psnr=None))


def test_the_curves_stay_small_and_skip_what_is_no_measurement() -> None:
    curves = Curves()
    assert not curves.add(1.0, math.nan, 0.1, 300.0)
    for second in range(5000):
        curves.add(float(second), float(second), 1.0, 300.0)
    assert MAX_CURVE_POINTS / 2 <= len(curves.seconds) <= MAX_CURVE_POINTS
    seconds, psnr = curves.data(0)
    assert seconds[0] == 0.0 and seconds[-1] == 4999.0 == psnr[-1]
    assert not curves.add(5000.0, 4999.0, 1.0, 300.0), "the same measurement, told again"


@pytest.mark.parametrize("width", [390, 1280])
def test_who_comes_with_a_phone_sees_as_much_across_as_others_up_and_down(
    gaussians: Gaussians, clients_of: Callable, until: Callable, width: int
) -> None:
    with view_gaussians(gaussians, port=0) as viewer:
        start = viewer.server.initial_camera.fov
        clients = clients_of(viewer)
        with clients.join() as client:
            client.send(clients.camera.encode(image_width=width, image_height=780, fov=start))
            until(lambda: bool(viewer.visits), "he is there")
            (visit,) = viewer.visits.values()
            camera = visit.client.camera
            across = 2 * math.atan(math.tan(camera.fov / 2) * width / 780)
            assert min(camera.fov, across) == pytest.approx(start, abs=1e-6)
            camera.fov = 0.1
            visit.reset_view()
            assert camera.fov == pytest.approx(start if width > 780 else fov_in_window(start, 0.5))


def test_a_switch_shows_what_was_before(gaussians: Gaussians, clients_of: Callable, until: Callable) -> None:
    """One of the two at a time, drawn alone, and what was before leaves by no export while it is hidden."""
    with view_gaussians(gaussians, before=gaussians[:100], port=0) as viewer, clients_of(viewer).visit() as client:
        until(lambda: bool(viewer.server.get_clients()), "the client is known")
        assert len(viewer.document.models.merged()) == 300
        switch = next(
            handle
            for handle in viewer.server.gui._gui_input_handle_from_uuid.values()
            if getattr(handle, "label", "") == "Show as it was before"
        )
        press(client, switch)
        until(lambda: len(viewer.document.models.merged()) == 100, "what was before")
        assert not viewer.document.can_undo
