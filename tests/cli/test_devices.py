"""What --device does: where a GPU does not work it says why, where one does everything is done there."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from emulator.pretended import ELSEWHERE, PretendedDevice, pretended_device

from neural3d import devices
from neural3d.cli import main
from neural3d.run import Run

SMALL = ["--steps", "3", "--max-gaussians", "40"]
REASON = "no GPU can be used (planted); mend it"


@pytest.fixture(scope="module")
def trained(capture: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("runs") / "run"
    assert main(["train", "splat", "--capture", str(capture), "--output", str(path), "--device", "cpu", *SMALL]) == 0
    return path


@pytest.fixture
def no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "cuda_problem", lambda: REASON)


@pytest.fixture
def there(monkeypatch: pytest.MonkeyPatch) -> PretendedDevice:
    """A GPU that works: `--device cuda` and no `--device` choose the pretended one."""
    chosen = lambda asked=None: torch.device("cpu") if asked == "cpu" else ELSEWHERE  # noqa: E731
    for module in ("training", "runs"):
        monkeypatch.setattr(f"neural3d.cli.{module}.choose_device", chosen)
    with pretended_device(monkeypatch) as device:
        yield device


@pytest.mark.parametrize(
    "command",
    [
        "train splat --capture {capture} --output {tmp}/new",
        "train splat --resume --output {run}",
        "make {capture} --output {tmp}/new --no-viewer",
        "demo --output {tmp}/new --no-viewer",
        "eval {run}",
        "render {run} --output {tmp}/new",
        "view {run}",
    ],
)
def test_a_gpu_that_does_not_work_is_one_line(command, no_gpu, capture, trained, tmp_path, capsys):
    arguments = [part.format(capture=capture, run=trained, tmp=tmp_path) for part in command.split()]
    assert main([*arguments, "--device", "cuda"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line == f"neural3d: error: --device cuda: {REASON}; or leave it out to compute on the CPU"
    assert not (tmp_path / "new").exists()


def test_left_to_itself_it_takes_the_cpu_without_a_word(no_gpu, capture, tmp_path, capsys):
    assert main(["train", "splat", "--capture", str(capture), "--output", str(tmp_path), "--json", *SMALL]) == 0
    said = capsys.readouterr()
    assert json.loads(said.out)["device"] == Run.open(tmp_path).config["device"] == "cpu"
    assert "planted" not in said.err and "cuda" not in said.err


def test_a_run_made_on_a_gpu_goes_on_there_or_where_one_says(no_gpu, trained, tmp_path, capsys):
    run = Path(shutil.copytree(trained, tmp_path / "copy"))
    kept = json.loads((run / "config.json").read_text())
    kept["config"]["device"] = "cuda"
    (run / "config.json").write_text(json.dumps(kept))
    assert main(["train", "splat", "--resume", "--output", str(run)]) == 2
    line = capsys.readouterr().err
    assert f"{run}: the run was made with --device cuda: {REASON}" in line and "--device cpu" in line
    assert main(["train", "splat", "--resume", "--output", str(run), "--device", "cpu"]) == 0
    kept["config"]["device"] = "tpu"
    (run / "config.json").write_text(json.dumps(kept))
    assert main(["eval", str(run)]) == 2
    assert "config.json: device: expected cpu or cuda, got 'tpu'" in capsys.readouterr().err


def test_everything_is_done_where_it_should_be(there, trained, capture, tmp_path, capsys):
    """A run that was trained on the CPU, judged and rendered elsewhere; and one made elsewhere from end to end."""
    run = Path(shutil.copytree(trained, tmp_path / "copy"))
    assert main(["eval", str(run), "--json", "--device", "cpu"]) == 0
    here = json.loads(capsys.readouterr().out)
    assert main(["eval", str(run), "--json"]) == 0
    elsewhere = json.loads(capsys.readouterr().out)
    assert elsewhere["psnr"] == pytest.approx(here["psnr"], abs=1e-3)
    assert main(["render", str(run), "--cameras", "test", "--output", str(tmp_path / "pictures")]) == 0
    assert main(["make", str(capture), "--output", str(tmp_path / "made"), "--no-viewer", "--json", *SMALL]) == 0
    made = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert made["step"] == 3 and made["psnr"] > 5 and Path(made["ply"]).exists()
