"""--backend gsplat, nerfacc: which renderer a run trains with, what is kept of it, and what is refused."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor
from train.gsplat_stand_in import Given, front_of_twins, gsplat_replaced
from train.nerfacc_stand_in import nerfacc_on_cpu

from neural3d.cli import engines, main, training
from neural3d.errors import InputError
from neural3d.fields.nerfacc_composite import nerfacc_composite
from neural3d.ops.records import RayViews
from neural3d.run import Run

SMALL = ["--max-gaussians", "60", "--exposure", "none", "--sh-degree", "0"]


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Given]]:
    """What gsplat is asked to render, on a machine where it seems to work; it is the CPU that answers."""
    monkeypatch.setattr(engines, "require_kernels", lambda backend: None)
    monkeypatch.setattr(training, "choose_device", lambda asked: torch.device("cpu" if asked == "cuda" else "meta"))
    with gsplat_replaced(front_of_twins) as calls:
        yield calls


def test_a_run_is_trained_and_resumed_with_it(calls, capture: Path, tmp_path: Path, capsys):
    run = str(tmp_path / "run")
    command = ["train", "splat", "--output", run]
    given = ["--capture", str(capture), "--backend", "gsplat", "--steps", "2", *SMALL]
    assert main([*command, *given]) == 0
    assert len(calls) == 2 and Run.open(run).config["backend"] == "gsplat"
    path = Path(run) / "config.json"
    content = json.loads(path.read_text())
    content["config"] |= {"device": "cuda", "splat": content["config"]["splat"] | {"steps": 3}}
    path.write_text(json.dumps(content))
    assert main([*command, "--resume"]) == 0
    assert len(calls) == 3
    capsys.readouterr()
    assert main([*command, "--resume", "--device", "cpu"]) == 2
    assert "--device cpu: --backend gsplat computes on a GPU only" in capsys.readouterr().err


def test_a_run_goes_on_with_the_engine_that_it_was_made_with(capture: Path, tmp_path: Path, capsys):
    command = ["train", "splat", "--output", str(tmp_path / "run")]
    assert main([*command, "--capture", str(capture), "--steps", "1", "--device", "cpu", *SMALL]) == 0
    assert main([*command, "--resume", "--backend", "gsplat"]) == 2
    assert "--backend gsplat: the run was made with native" in capsys.readouterr().err


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_nothing_is_touched(capture: Path, tmp_path: Path, capsys):
    command = ["train", "splat", "--capture", str(capture), "--output", str(tmp_path / "run"), "--backend", "gsplat"]
    for more, message in (([], "torch finds no NVIDIA GPU"), (["--device", "cpu"], "leave one of them out")):
        assert main([*command, *more]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert message in line and not (tmp_path / "run").exists()


SMALL_FIELD = ["--preset", "fast", "--steps", "2"]


def test_a_field_is_trained_and_resumed_with_nerfacc(capture: Path, tmp_path: Path, monkeypatch):
    """Its kernels run on the CPU here; the run says whose they were."""
    calls = []

    def on_cpu(*looks: Tensor) -> RayViews:
        calls.append(len(looks[0]))
        return nerfacc_composite(*looks, device=torch.device("cpu"))

    monkeypatch.setattr(engines, "require_kernels", lambda backend: None)
    monkeypatch.setattr(engines, "nerfacc_composite", lambda *looks, device: on_cpu(*looks))
    command = ["train", "nerf", "--output", str(tmp_path / "run")]
    with nerfacc_on_cpu():
        assert main([*command, "--capture", str(capture), "--backend", "nerfacc", *SMALL_FIELD]) == 0
        assert len(calls) == 2 and Run.open(tmp_path / "run").config["backend"] == "nerfacc"
        assert main([*command, "--resume"]) == 0
    assert main([*command, "--resume", "--backend", "gsplat"]) == 2


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nerf", "--backend", "nerfacc"], "--backend nerfacc: torch finds no NVIDIA GPU"),
        (["nerf", "--tiny", "--backend", "nerfacc"], "--backend nerfacc: this is for the fields hashgrid and points"),
        (["splat", "--backend", "nerfacc"], "--backend nerfacc: this is for the fields hashgrid and points"),
        (["nerf", "--backend", "gsplat"], "--backend gsplat: this is for splats"),
    ],
)
def test_an_engine_that_cannot_is_named(capture: Path, tmp_path: Path, capsys, arguments, message):
    given = ["--capture", str(capture), "--output", str(tmp_path / "run")]
    assert main(["train", *arguments, *given]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line and not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--backend", "gsplat"], "--backend gsplat: planted"),
        (["--device", "cuda"], "--device cuda: planted"),
        (["--field", "hashgrid", "--device", "cuda"], "--device cuda: radiance fields are computed on the CPU"),
    ],
)
def test_what_cannot_train_is_told_before_poses_are_looked_for(
    tmp_path: Path, monkeypatch, capsys, arguments: list[str], message: str
):
    """Which takes hours."""

    def planted(asked: str | None) -> None:
        raise InputError(f"{'--backend' if asked == 'gsplat' else '--device'} {asked}: planted")

    def sought(*_: object) -> Path:
        raise AssertionError("poses were looked for")

    monkeypatch.setattr(engines, "require_kernels", planted)
    monkeypatch.setattr(training, "choose_device", planted)
    monkeypatch.setattr(training, "posed_capture", sought)
    (tmp_path / "photos").mkdir()
    assert main(["make", str(tmp_path / "photos"), "--output", str(tmp_path / "run"), "--no-viewer", *arguments]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line and not (tmp_path / "run").exists()
