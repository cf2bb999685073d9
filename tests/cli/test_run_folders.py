"""What commands make of a run's folder that is no longer what it was, and of a capture that is another one."""

import json
import shutil
from pathlib import Path

import pytest
from PIL import Image

from neural3d.cli import main
from neural3d.run import Run

from .captures import refused
from .test_commands import contents


@pytest.mark.parametrize("change", ["photo gone", "photo new", "pose", "size", "split", "focal", "principal"])
@pytest.mark.parametrize(
    "command", ["eval {run} --capture {capture}", "train splat --resume --output {run} --capture {capture}"]
)
def test_a_capture_that_changed_is_refused(run_copy: Path, capture: Path, tmp_path: Path, capsys, command, change):
    """Else its scene frame would be another one, and all numbers nonsense."""
    changed = Path(shutil.copytree(capture, tmp_path / "capture"))
    meta = json.loads((changed / "transforms.json").read_text())
    match change:
        case "photo gone":
            (changed / "images" / "003.png").unlink()
        case "photo new":
            shutil.copy(changed / "images" / "003.png", changed / "images" / "extra.png")
            meta["frames"].append({**meta["frames"][3], "file_path": "images/extra.png"})
        case "pose":
            meta["frames"][3]["transform_matrix"][0][3] += 0.5
        case "size":
            for file in (changed / "images").iterdir():
                with Image.open(file) as image:
                    image.resize((24, 16)).save(file)
        case "split":
            names = [frame["file_path"] for frame in meta["frames"]]
            meta |= {
                "train_filenames": names[:3] + names[4:],
                "val_filenames": names[3:4],
                "test_filenames": names[3:4],
            }
        case "focal":
            meta["fl_y"] = 50.5
        case "principal":
            meta["cx"] += 0.5
    (changed / "transforms.json").write_text(json.dumps(meta))
    expected = {"photo gone": "003.png gone", "photo new": "extra.png new", "pose": "moved", "size": "other sizes"}
    expected |= {"split": "other photos are held out", "focal": "focal lengths", "principal": "principal points"}
    before = contents(run_copy)
    line = refused(capsys, *(part.format(run=run_copy, capture=changed) for part in command.split()))
    assert "not the capture that the run was trained on" in line and expected[change] in line
    assert contents(run_copy) == before


@pytest.mark.parametrize("command", ["eval {run}", "export {run} --output {run}/a.ply"])
def test_a_damaged_newest_checkpoint_is_told_of(run_copy: Path, capsys: pytest.CaptureFixture[str], command):
    """What is judged or exported then is older than the run says."""
    run = Run.open(run_copy)
    checkpoint = run.latest_checkpoint()
    run.save_checkpoint(13, checkpoint.tensors, checkpoint.meta)
    damaged = run_copy / "checkpoints" / "step-00000013"
    state = max(damaged.iterdir(), key=lambda file: file.stat().st_size)
    state.write_bytes(state.read_bytes()[:-1])
    capsys.readouterr()
    assert main(command.format(run=run_copy).split()) == 0
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "passed over" in line]
    assert line.startswith(f"neural3d: warning: passed over {damaged}: ")
