"""Visitors leave at any moment: what was under way for them ends without a word, and nothing else does."""

import asyncio
import threading
from collections.abc import Callable, Iterator

import msgspec
import pytest
from viser import _messages as wire

from neural3d.scene import Scene
from neural3d.splats.gaussians import Gaussians
from neural3d.viewer import Viewer
from neural3d.viewer.buffers import Buffer
from neural3d.viewer.visit import BY_ENGINE, Visit
from tests.viewer.test_app import solid_render_fn


@pytest.fixture
def watched(scene: Scene, gaussians: Gaussians, until: Callable) -> Iterator[Viewer]:
    with Viewer(scene, port=0, is_training=False, render_fn_from=solid_render_fn) as viewer:
        viewer.show(gaussians)
        until(lambda: len(viewer.clouds) == 1, "the model is shown")
        yield viewer


def press(client, handle) -> None:
    update = {"type": "GuiUpdateMessage", "uuid": handle._impl.uuid, "updates": {"value": True}}
    client.send(msgspec.msgpack.encode(update))


@pytest.mark.parametrize("page, button", [("_files", "_export"), ("_path", "_preview"), ("_path", "_save")])
def test_who_leaves_while_his_button_is_at_work_leaves_no_word(
    watched: Viewer, clients_of, until: Callable, monkeypatch: pytest.MonkeyPatch, capfd, page: str, button: str
) -> None:
    started, is_gone, done = threading.Event(), threading.Event(), threading.Event()
    handle = getattr(getattr(watched.controls, page), button)
    (callback,) = handle._impl.update_cb

    def slowly(event) -> None:
        started.set()
        assert is_gone.wait(20)
        try:
            callback(event)
        finally:
            done.set()

    monkeypatch.setattr(handle._impl, "update_cb", [slowly])
    with clients_of(watched).visit() as client:
        until(lambda: bool(watched.visits), "he is there")
        (gone,) = watched.server.get_clients().values()
        watched.controls._path.add(gone)
        watched.controls._path.add(gone)
        press(client, handle)
        assert started.wait(20)
    until(lambda: not watched.visits, "he is gone")
    is_gone.set()
    assert done.wait(20)
    watched.server._thread_executor.submit(int).result(20)
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("move", ["update", "draw_by_engine", "stand_at", "reset_view"])
def test_his_own_controls_are_left_alone_once_he_is_gone(
    watched: Viewer, clients_of, until: Callable, move: str
) -> None:
    visit = visit_that_left(watched, clients_of, until)
    getattr(visit, move)(*([1] if move == "stand_at" else []))
    assert not watched._frames._visitors


@pytest.mark.parametrize("hear", [Visit._on_choice, Visit._on_camera, Visit._on_reset])
def test_what_is_heard_of_him_once_he_is_gone_is_nothing(watched: Viewer, clients_of, until: Callable, hear) -> None:
    visit = visit_that_left(watched, clients_of, until)
    visit._is_exact, visit._photo = True, 3
    asyncio.run(hear(visit, None))
    assert not watched._frames._visitors


def test_a_change_of_his_page_ends_where_he_leaves_meanwhile(
    watched: Viewer, clients_of, until: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    with clients_of(watched).visit() as client:
        until(lambda: bool(watched.visits), "he is there")
        (visit,) = watched.visits.values()
        visit._by._impl.value = BY_ENGINE
        whole = visit.display

        def leave_and_display():
            client.close()
            until(lambda: not watched.visits, "he is gone")
            return whole()

        monkeypatch.setattr(visit, "display", leave_and_display)
        visit.update()
    assert not watched._frames._visitors, "no picture is drawn for nobody"


def test_what_goes_wrong_while_he_is_there_is_told(
    watched: Viewer, clients_of, until: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    with clients_of(watched).visit():
        until(lambda: bool(watched.visits), "he is there")
        (visit,) = watched.visits.values()
        visit._colormap.remove()
        visit._output._impl.value = "Depth"
        with pytest.raises(RuntimeError, match="removed"):
            visit.update()


def visit_that_left(viewer: Viewer, clients_of, until: Callable) -> Visit:
    with clients_of(viewer).visit():
        until(lambda: bool(viewer.visits), "he is there")
        (visit,) = viewer.visits.values()
    until(lambda: not viewer.visits, "he is gone")
    return visit


def test_any_thread_may_write_to_a_page() -> None:
    """In its debug mode asyncio refuses what is only now and then fatal: to wake a task from another thread."""
    loop, raised = asyncio.new_event_loop(), []
    loop.set_debug(True)

    async def write_while_somebody_waits() -> None:
        buffer = Buffer(loop, persistent_messages=True)
        sender = loop.create_task(buffer.message_event.wait())
        await asyncio.sleep(0)

        def write() -> None:
            try:
                buffer.push(wire.ResetGuiMessage())
            except RuntimeError as error:
                raised.append(error)

        thread = threading.Thread(target=write)
        thread.start()
        thread.join()
        await asyncio.wait([sender], timeout=20)
        assert sender.done() or raised

    loop.run_until_complete(write_while_somebody_waits())
    loop.close()
    assert not raised


def test_viser_keeps_its_messages_in_such_buffers(watched: Viewer, clients_of, until: Callable) -> None:
    with clients_of(watched).visit():
        until(lambda: bool(watched.visits), "he is there")
        (client,) = watched.server.get_clients().values()
        assert isinstance(client._websock_connection.get_message_buffer(), Buffer)
        assert isinstance(watched.server._websock_server.get_message_buffer(), Buffer)
