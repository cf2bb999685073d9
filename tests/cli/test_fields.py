"""Radiance fields through the commands: trained, resumed, judged, rendered; what does not fit is refused in a line."""

import json
import shutil
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from train.small_scenes import truth

from neural3d.cli import main
from neural3d.cli.runs import load_trained
from neural3d.cli.surfaces import color_maps
from neural3d.fields.hashgrid import HashGridField
from neural3d.run import Run
from neural3d.train.hashgrid_config import HASHGRID_PRESETS

from .captures import SIZE
from .test_commands import contents, refused

TINY = ["--tiny", "--steps", "4", "--device", "cpu"]
HASHGRID = ["--field", "hashgrid", "--preset", "fast", "--steps", "4"]
POINTS = ["--field", "points", "--steps", "4"]


@pytest.fixture(scope="module")
def field_run(capture: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("runs") / "ünï run"
    assert main(["train", "nerf", "--capture", str(capture), "--output", str(path), *TINY]) == 0
    return path


@pytest.fixture(scope="module")
def hashgrid_run(capture: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("runs") / "hash grid"
    assert main(["train", "nerf", "--capture", str(capture), "--output", str(path), *HASHGRID]) == 0
    return path


@pytest.fixture(scope="module")
def points_run(capture: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("runs") / "points"
    assert main(["train", "nerf", "--capture", str(capture), "--output", str(path), *POINTS]) == 0
    return path


def test_the_run_says_what_it_was(field_run: Path):
    run = Run.open(field_run)
    assert run.status["state"] == "completed"
    config = run.config
    assert (config["method"], config["field"], config["nerf"]["width"]) == ("nerf", "mlp", 128)
    assert config["nerf"]["steps"] == 4 and config["nerf"]["max_seconds"] is None and config["device"] == "cpu"
    checkpoint = run.latest_checkpoint()
    assert checkpoint is not None and checkpoint.step == 4 and "networks.coarse" in checkpoint.tensors
    assert checkpoint.meta["space"]["kind"] == "shell"


def test_a_hash_grid_is_the_default_and_its_preset_is_kept(hashgrid_run: Path, capture: Path, tmp_path: Path):
    config = Run.open(hashgrid_run).config
    assert (config["method"], config["field"], config["nerf"]["steps"]) == ("nerf", "hashgrid", 4)
    fast, default = HASHGRID_PRESETS["fast"], HASHGRID_PRESETS["default"]
    assert config["nerf"] == asdict(replace(fast, steps=4, max_seconds=None)) and fast.shape != default.shape
    output = tmp_path / "run"
    assert main(["train", "nerf", "--capture", str(capture), "--output", str(output), "--max-seconds", "0.01"]) == 0
    assert Run.open(output).config["nerf"] == asdict(replace(default, max_seconds=0.01))


def test_a_hash_grid_learns_exposures_unless_told_otherwise(capture: Path, tmp_path: Path):
    options = ["--capture", str(capture), "--steps", "1", "--preset", "fast"]
    for name, more in (("a", []), ("b", ["--exposure", "none"])):
        assert main(["train", "nerf", *options, *more, "--output", str(tmp_path / name)]) == 0
        kept = Run.open(tmp_path / name).latest_checkpoint().tensors
        assert ("exposure.matrices" in kept) == (name == "a")


@pytest.mark.parametrize("kind", ["field_run", "hashgrid_run", "points_run"])
def test_eval_and_render(kind, request, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    run = Path(shutil.copytree(request.getfixturevalue(kind), tmp_path / "copy"))
    capsys.readouterr()
    assert main(["eval", str(run), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["num_parameters"] > 50_000 and "num_gaussians" not in found
    assert found["psnr"] > 5 and found["num_views"] == 2 and found["step"] == 4
    assert main(["render", str(run), "--cameras", "test", "--output", str(tmp_path / "test")]) == 0
    with Image.open(tmp_path / "test" / "00000-000.png") as image:
        assert image.size == SIZE and np.asarray(image).std() > 1
    assert main(["render", str(run), "--frames", "2", "--output", str(tmp_path / "orbit")]) == 0
    assert len(list((tmp_path / "orbit").iterdir())) == 2


@pytest.mark.parametrize("kind, options", [("field_run", TINY), ("hashgrid_run", HASHGRID), ("points_run", POINTS)])
def test_a_resumed_run_is_the_run_in_one_go(kind, options, request, capture: Path, tmp_path: Path, monkeypatch):
    """Stopped after one step, then gone on with."""
    whole: Path = request.getfixturevalue(kind)
    with monkeypatch.context() as patched:
        # Only the loop that keeps checkpoints: a fit of splats that comes before it goes on.
        asked = "neural3d.train.loop.TrainingLoop._requested"
        patched.setattr(asked, lambda loop: "stop" if loop.run and loop.step else "run")
        assert main(["train", "nerf", "--capture", str(capture), "--output", str(tmp_path / "run"), *options]) == 0
    run = Run.open(tmp_path / "run")
    assert run.status["state"] == "stopped" and run.latest_checkpoint().step == 1
    assert main(["train", "nerf", "--resume", "--output", str(run.path)]) == 0
    name = Path("checkpoints/step-00000004/state.safetensors")
    assert (run.path / name).read_bytes() == (whole / name).read_bytes()


def test_make_trains_the_field_that_is_named(capture: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    arguments = ["make", str(capture), "--field", "mlp", *TINY, "--output", str(tmp_path / "run")]
    assert main([*arguments, "--no-viewer", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["status"] == "completed" and found["num_parameters"] > 0 and "ply" not in found


@pytest.mark.parametrize(
    "options, message",
    [
        (["splat", "--tiny"], "--tiny: this is for a radiance field; leave it out, or use neural3d train nerf"),
        (["splat", "--field", "mlp"], "--field: this is for a radiance field"),
        (["nerf", "--field", "points", "--tiny"], "--tiny: this is for the field mlp"),
        (["nerf", "--field", "hashgrid", "--paper"], "--paper: this is for the field mlp"),
        (["nerf", "--paper", "--tiny"], "--paper: the small network of --tiny is not the paper's; leave one of them"),
        (["nerf", "--points-from", "splats"], "--points-from: this is for the field points"),
        (["nerf", "--field", "points", "--points-from", "capture"], "points_from: the capture has 0 points"),
        (["nerf", "--field", "points", "--preset", "fast"], "--preset: this is for the field hashgrid"),
        (["nerf", "--field", "points", "--device", "cuda"], "--device cuda: radiance fields are computed on the CPU"),
        (["nerf", "--densify", "adc"], "--densify: this is for splats; leave it out, or use neural3d train splat"),
        (["nerf", "--sh-degree", "1"], "--sh-degree: this is for splats"),
        (["nerf", "--tiny", "--exposure", "none"], "--exposure: this is for splats"),
        (["nerf", "--ndc"], "--ndc: the cameras do not all face one way"),
        (["nerf", "--steps", "0"], "--steps: expected a whole number, 1 or more, got 0"),
        (
            ["nerf", "--tiny", "--field", "hashgrid"],
            "--tiny: this is for the field mlp; leave it out, or use --field mlp",
        ),
        (["nerf", "--ndc", "--field", "hashgrid"], "--ndc: this is for the field mlp"),
        (
            ["nerf", "--preset", "best", "--tiny"],
            "--preset: this is for the field hashgrid; leave it out, or use --field",
        ),
        (["splat", "--preset", "best"], "--preset: this is for a radiance field"),
        (["nerf", "--preset", "huge"], "invalid choice 'huge' for argument '--preset'"),
        (["nerf", "--field", "voxels"], "invalid choice 'voxels' for argument '--field'"),
        (["nerf", "--device", "cuda"], "--device cuda: radiance fields are computed on the CPU; leave it out"),
    ],
)
def test_what_does_not_fit_is_refused(options, message, capture: Path, tmp_path: Path, capsys):
    line = refused(capsys, "train", *options, "--capture", str(capture), "--output", str(tmp_path / "run"))
    assert message in line and not (tmp_path / "run").exists()


def test_what_a_field_has_not_is_said(field_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    before = contents(field_run)
    line = refused(capsys, "export", str(field_run), "--output", str(tmp_path / "a.ply"))
    assert "the run holds a radiance field; give --format mesh or points, or a run of splats" in line
    line = refused(capsys, "train", "splat", "--resume", "--output", str(field_run))
    assert "the run was made by neural3d train nerf; go on with that" in line
    line = refused(capsys, "train", "nerf", "--resume", "--seed", "3", "--output", str(field_run))
    assert "--seed 3: the run was made with 0" in line
    line = refused(capsys, "train", "nerf", "--resume", "--field", "hashgrid", "--output", str(field_run))
    assert "--field hashgrid: the run was made with mlp; leave it out, or start again with --overwrite" in line
    assert contents(field_run) == before


def test_a_hash_grid_goes_on_with_its_own_preset(hashgrid_run: Path, capsys: pytest.CaptureFixture[str]):
    before = contents(hashgrid_run)
    line = refused(capsys, "train", "nerf", "--resume", "--preset", "best", "--output", str(hashgrid_run))
    assert "--preset best: the run was made with fast; leave it out, or start again with --overwrite" in line
    line = refused(capsys, "train", "nerf", "--resume", "--tiny", "--output", str(hashgrid_run))
    assert "--tiny: this is for the field mlp" in line
    assert contents(hashgrid_run) == before


def test_textures_take_out_the_exposures_that_a_field_has_learnt(field_run: Path, hashgrid_run: Path):
    trained = load_trained(hashgrid_run)
    matrices = torch.eye(3, 4).flatten().repeat(len(trained.checkpoint.tensors["exposure.matrices"]), 1)
    matrices[1] *= 0.5
    tensors = {**trained.checkpoint.tensors, "exposure.matrices": matrices}
    trained = replace(trained, checkpoint=replace(trained.checkpoint, tensors=tensors))
    photo = torch.rand(3, 4, 5, generator=torch.Generator().manual_seed(1))
    unexposed = color_maps(trained)
    assert torch.allclose(unexposed(0)(photo, photo), photo, atol=1e-5)
    assert torch.allclose(unexposed(1)(photo, photo), 2 * photo, atol=1e-5)
    assert color_maps(load_trained(field_run))(1) is None, "this one has learnt none"


def test_a_broken_configuration_is_named(field_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    run = Path(shutil.copytree(field_run, tmp_path / "copy"))
    kept = json.loads((run / "config.json").read_text())
    kept["config"]["nerf"]["width"] = 0
    (run / "config.json").write_text(json.dumps(kept))
    assert "config.json: width: expected a whole number, 2 to 4096" in refused(capsys, "eval", str(run))


def test_splats_begin_on_a_field(hashgrid_run: Path, capture: Path, tmp_path: Path, capsys, monkeypatch):
    """The command looks into the field's run; a run of splats, a resumed run and a field have no such beginning."""
    begun = []
    monkeypatch.setattr(
        "neural3d.cli.field_starts.field_gaussians",
        lambda field, scene, count, **sizes: begun.append(field) or truth(30, sh_degree=3),
    )
    splats = ["train", "splat", "--capture", str(capture), "--steps", "1", "--max-gaussians", "40"]
    run = ["--output", str(tmp_path / "splats")]
    assert main([*splats, *run, "--init-field", str(hashgrid_run)]) == 0
    assert isinstance(begun[0], HashGridField)
    assert Run.open(tmp_path / "splats").config["init_field"] == str(hashgrid_run.resolve())
    line = refused(capsys, *splats, "--output", str(tmp_path / "b"), "--init-field", str(tmp_path / "splats"))
    assert "the run holds splats; give the run of a radiance field" in line
    line = refused(capsys, "train", "splat", "--resume", *run, "--init-field", str(hashgrid_run))
    assert "--init-field: the run has begun already" in line
    nerf = ["train", "nerf", "--capture", str(capture), "--output", str(tmp_path / "c")]
    assert "--init-field: this is for splats" in refused(capsys, *nerf, "--init-field", str(hashgrid_run))
