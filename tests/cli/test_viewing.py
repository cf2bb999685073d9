"""What the command line does with the viewer; tests/viewer looks at the viewer itself."""

import signal
from pathlib import Path

import pytest

from neural3d.cli import main
from neural3d.cli.interrupts import Interrupted, wait_for_signal
from neural3d.errors import InputError
from neural3d.run import Run

SMALL = ["--steps", "3", "--max-gaussians", "50"]


class FakeViewer:
    """Notes what it is given."""

    def __init__(self, scene, *, render_fn_from, allow_hosts, is_field, background, save_folder) -> None:
        assert not is_field and len(background) == 3 and save_folder.name == "exports"
        self.shown, self.allow_hosts, self.said = [], allow_hosts, ""
        FakeViewer.latest = self

    def __enter__(self) -> "FakeViewer":
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def on_progress(self, progress, snapshot) -> None:
        pass

    def requested(self) -> str:
        return "run"

    def show(self, gaussians) -> None:
        self.shown.append(gaussians)

    def end(self, message: str) -> None:
        self.said = message


@pytest.fixture
def fake_viewer(monkeypatch: pytest.MonkeyPatch) -> type[FakeViewer]:
    """In place of the real one; the stay behind the training ends at its second slice."""
    slices = []

    def sleep(seconds: float) -> None:
        slices.append(seconds)
        if len(slices) == 2:
            raise Interrupted(signal.SIGINT)

    monkeypatch.setattr("neural3d.viewer.Viewer", FakeViewer)
    monkeypatch.setattr("neural3d.viewer.announce", lambda viewer, open_browser: None)
    monkeypatch.setattr("neural3d.cli.interrupts.time.sleep", sleep)
    return FakeViewer


@pytest.mark.parametrize("command", ["train splat --capture {capture} --viewer", "make {capture}"])
def test_what_stays_on_show_is_the_model_that_was_kept(fake_viewer, capture: Path, tmp_path: Path, command: str):
    arguments = [part.format(capture=capture) for part in command.split()]
    assert (
        main([*arguments, "--output", str(tmp_path / "run"), *SMALL, "--allow-host", "a", "--allow-host", "b"]) == 130
    )
    viewer, checkpoint = fake_viewer.latest, Run.open(tmp_path / "run").latest_checkpoint()
    kept = checkpoint.tensors["gaussians.means_world"]
    assert len(viewer.shown) == 1 and viewer.shown[0].means_world.equal(kept)
    assert viewer.allow_hosts == ("a", "b") and str(tmp_path / "run") in viewer.said
    assert Run.open(tmp_path / "run").status["state"] == "completed"


def test_the_stay_is_cut_into_slices_that_hear_a_signal(monkeypatch: pytest.MonkeyPatch):
    slices = []

    def sleep(seconds: float) -> None:
        slices.append(seconds)
        if len(slices) == 20:
            raise Interrupted(signal.SIGINT)

    monkeypatch.setattr("neural3d.cli.interrupts.time.sleep", sleep)
    with pytest.raises(Interrupted):
        wait_for_signal()
    assert max(slices) <= 1


def test_a_viewer_that_cannot_listen_leaves_an_earlier_run_alone(capture: Path, tmp_path: Path, monkeypatch, capsys):
    def refuse(*_, **__):
        raise InputError("viewer: cannot listen")

    arguments = ["train", "splat", "--capture", str(capture), "--output", str(tmp_path / "run"), *SMALL]
    assert main(arguments) == 0
    before = {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()}
    monkeypatch.setattr("neural3d.viewer.Viewer", refuse)
    assert main([*arguments, "--overwrite", "--viewer"]) == 2
    assert {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()} == before


def test_hosts_without_a_viewer_are_refused(capture: Path, tmp_path: Path, capsys):
    arguments = ["train", "splat", "--capture", str(capture), "--output", str(tmp_path / "run")]
    assert main([*arguments, "--allow-host", "a"]) == 2
    assert "--allow-host: there is no viewer" in capsys.readouterr().err and not (tmp_path / "run").exists()
