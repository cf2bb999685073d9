"""A run's folder: what it refuses, what it keeps, what a resumed run finds."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from neural3d.checkpoints import FORMAT_VERSION
from neural3d.errors import InputError
from neural3d.run import Run, check_target
from neural3d.storage import _temporary_path

CONFIG = {"capture": "/c", "steps": 100, "seed": 7}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ünï 数据 x'y" / "run"


def save(run: Run, step: int) -> None:
    run.save_checkpoint(step, {"gaussians.means_world": torch.full((4, 3), float(step))}, {"step_size": 0.1})


def test_create_writes_what_a_person_needs_to_repeat_it(path: Path) -> None:
    with Run.create(path, CONFIG) as run:
        run.set_status("completed")
    content = json.loads((path / "config.json").read_text())
    assert content["config"] == CONFIG and content["versions"]["torch"] and content["neural3d"]
    assert Run.open(path).config == CONFIG
    assert Run.open(path).status["state"] == "completed"


@pytest.mark.parametrize(
    "error, state", [(None, "failed"), (RuntimeError("boom"), "failed"), (KeyboardInterrupt(), "stopped")]
)
def test_only_a_run_that_says_so_is_completed(path: Path, error: BaseException | None, state: str) -> None:
    try:
        with Run.create(path, CONFIG):
            if error is not None:
                raise error
    except (RuntimeError, KeyboardInterrupt) as raised:
        assert raised is error
    status = Run.open(path).status
    assert status["state"] == state
    assert "boom" in status["reason"] or not isinstance(error, RuntimeError)


def test_another_run_is_not_touched_without_overwrite(path: Path) -> None:
    with Run.create(path, CONFIG) as run:
        save(run, 10)
    before = {file: file.read_bytes() for file in path.rglob("*") if file.is_file()}
    with pytest.raises(InputError, match="--resume .* --overwrite"):
        Run.create(path, CONFIG | {"steps": 5})
    assert {file: file.read_bytes() for file in path.rglob("*") if file.is_file()} == before


@pytest.mark.parametrize("method", ["splat", "nerf"])
def test_the_command_that_goes_on_is_named_in_full(path: Path, method: str) -> None:
    """`make` has no --resume: the words alone would lead in a circle."""
    Run.create(path, {"method": method}).close()
    with pytest.raises(InputError, match=f"neural3d train {method} --resume --output {re.escape(str(path))}, or"):
        Run.create(path, {"method": method})


def test_overwrite_replaces_the_run_and_spares_what_is_not_its_own(path: Path) -> None:
    with Run.create(path, CONFIG) as run:
        save(run, 10)
        run.log({"step": 1})
        (run.folder("renders") / "a.png").write_bytes(b"x")
    (path / "notes.txt").write_text("mine")
    with Run.create(path, {"steps": 5}, overwrite=True) as run:
        assert run.latest_checkpoint() is None and run.read_log() == [] and run.config == {"steps": 5}
    assert (path / "notes.txt").read_text() == "mine" and not (path / "renders").exists()


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_folder_that_is_no_run_is_never_replaced(path: Path, overwrite: bool) -> None:
    path.mkdir(parents=True)
    (path / "thesis.tex").write_text("years of work")
    with pytest.raises(InputError, match="holds no run"):
        Run.create(path, CONFIG, overwrite=overwrite)
    (path / "config.json").write_text('{"learning_rate": 1}')
    with pytest.raises(InputError, match="config.json"):
        Run.create(path, CONFIG, overwrite=overwrite)
    assert sorted(entry.name for entry in path.iterdir()) == ["config.json", "thesis.tex"]


def test_files_and_missing_runs_are_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="this is a file"):
        check_target(tmp_path / "file", overwrite=True)
    for opener in (Run.open, Run.resume):
        with pytest.raises(InputError, match="no run"):
            opener(tmp_path / "nothing")
    assert not (tmp_path / "nothing").exists()


@pytest.mark.parametrize("text", ["{", "[1]", "[" * 200_000])
def test_broken_configs_are_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(InputError, match="config.json"):
        Run.open(tmp_path)


def test_two_processes_cannot_write_one_run(path: Path) -> None:
    with Run.create(path, CONFIG):
        script = f"from neural3d.run import Run\nRun.resume({str(path)!r})"
        other = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
        assert "is writing this run" in other.stderr and other.returncode != 0
        with pytest.raises(InputError, match="is writing this run"):
            Run.create(path, CONFIG, overwrite=True)
        assert Run.open(path).status["state"] == "running"
    Run.resume(path).close()


def test_resume_drops_the_log_behind_the_checkpoint(path: Path) -> None:
    with Run.create(path, CONFIG) as run:
        for step in (5, 10, 15):
            run.log({"step": step, "psnr": float("nan")})
        save(run, 10)
        with (path / "log.jsonl").open("a") as file:
            file.write('{"step": 2')
    with Run.resume(path) as run:
        assert run.read_log() == [{"step": 5, "psnr": None}, {"step": 10, "psnr": None}]


def test_checkpoints_come_back_bit_for_bit_and_two_are_kept(path: Path) -> None:
    base = torch.randn(8, 6)
    tensors = {
        "floats": torch.tensor([float("nan"), float("-inf"), -0.0, 1e-45]),
        "doubles": torch.randn(3, dtype=torch.float64),
        "flags": torch.tensor([True, False]),
        "bytes": torch.arange(5, dtype=torch.uint8),
        "empty": torch.zeros(0, 3),
        "scalar": torch.tensor(3, dtype=torch.int64),
        "slice": base[:, 2:4],
        "transposed": base.T,
        "leaf": torch.nn.Parameter(torch.randn(2)),
    }
    meta = {"rng": [1, 2], "rate": 0.1 + 0.2, "names": {"3": "x"}}
    with Run.create(path, CONFIG) as run:
        for step in (1, 20, 300):
            run.save_checkpoint(step, tensors, meta)
        found = run.latest_checkpoint()
    assert found is not None and found.step == 300 and found.meta == meta and found.skipped == ()
    assert found.tensors.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert found.tensors[name].dtype == tensor.dtype and found.tensors[name].shape == tensor.shape
        assert found.tensors[name].numpy().tobytes() == tensor.detach().contiguous().numpy().tobytes(), name
    assert sorted(entry.name for entry in (path / "checkpoints").iterdir()) == ["step-00000020", "step-00000300"]


def test_a_checkpoint_that_a_kill_left_aside_comes_back(path: Path) -> None:
    with Run.create(path, CONFIG) as run:
        save(run, 100)
    aside = _temporary_path(path / "checkpoints" / "step-00000100", ".aside")
    nobody = aside.with_name(aside.name.replace(f"-{os.getpid()}-", "-999999999-"))
    (path / "checkpoints" / "step-00000100").rename(nobody)
    with Run.resume(path) as run:
        assert run.latest_checkpoint().step == 100
    assert not nobody.exists()


def test_saving_a_step_again_replaces_it(path: Path) -> None:
    with Run.create(path, CONFIG) as run:
        run.save_checkpoint(5, {"x": torch.zeros(2)}, {})
        run.save_checkpoint(5, {"x": torch.ones(2)}, {})
        found = run.latest_checkpoint()
    assert found is not None and torch.equal(found.tensors["x"], torch.ones(2))


@pytest.mark.parametrize("line", ['{"step": 1', "[1]", '{"step": "one"}', 3000 * "[", '"\xff"'])
def test_damaged_lines_of_a_log_are_named(path: Path, line: str) -> None:
    with Run.create(path, CONFIG) as run:
        run.log({"step": 1})
    with (path / "log.jsonl").open("ab") as file:
        file.write(line.encode("latin-1") + b"\n")
    with pytest.raises(InputError, match=r"log.jsonl: line 2 is no .*remove it"):
        Run.resume(path)


def damage(folder: Path, how: str) -> None:
    state, meta = folder / "state.safetensors", folder / "meta.json"
    data = bytearray(state.read_bytes())
    if how == "flipped bit":
        data[-1] ^= 1
        state.write_bytes(data)
    elif how == "truncated":
        state.write_bytes(data[:-4])
    elif how == "state missing":
        state.unlink()
    elif how == "meta missing":
        meta.unlink()
    elif how == "meta cut":
        meta.write_text(meta.read_text()[:-9])
    elif how == "meta of brackets":
        meta.write_text(3000 * "[")
    elif how == "meta of another version":
        meta.write_text(meta.read_text().replace('"format_version": 1', '"format_version": "1"'))
    elif how == "meta edited":
        meta.write_text(meta.read_text().replace("0.1", "0.2"))


@pytest.mark.parametrize(
    "how",
    [
        *("flipped bit", "truncated", "state missing", "meta missing", "meta cut", "meta edited"),
        *("meta of brackets", "meta of another version"),
    ],
)
def test_damaged_checkpoints_are_passed_over_by_name(path: Path, how: str) -> None:
    with Run.create(path, CONFIG) as run:
        save(run, 10)
        save(run, 20)
        damage(path / "checkpoints" / "step-00000020", how)
        found = run.latest_checkpoint()
        assert found is not None and found.step == 10 and "step-00000020" in found.skipped[0]
        damage(path / "checkpoints" / "step-00000010", how)
        with pytest.raises(InputError, match="no checkpoint is whole"):
            run.latest_checkpoint()


def test_newer_formats_are_refused_in_words(path: Path) -> None:
    with Run.create(path, CONFIG) as run:
        save(run, 10)
        meta = path / "checkpoints" / "step-00000010" / "meta.json"
        content = json.loads(meta.read_text())
        meta.write_text(json.dumps(content | {"format_version": FORMAT_VERSION + 1}))
        with pytest.raises(InputError, match="newer neural3d .* update"):
            run.latest_checkpoint()
    config = json.loads((path / "config.json").read_text())
    (path / "config.json").write_text(json.dumps(config | {"format_version": 99}))
    with pytest.raises(InputError, match="newer neural3d"):
        Run.open(path)


def test_a_folder_deleted_meanwhile_comes_back(path: Path) -> None:
    with Run.create(path, CONFIG) as run:
        save(run, 1)
        for file in (path / "checkpoints" / "step-00000001").iterdir():
            file.unlink()
        (path / "checkpoints" / "step-00000001").rmdir()
        (path / "checkpoints").rmdir()
        save(run, 2)
        found = run.latest_checkpoint()
    assert found is not None and found.step == 2
