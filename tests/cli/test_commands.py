"""The commands from end to end on a small capture: what they print, write and refuse."""

import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import imageio_ffmpeg
import numpy as np
import pytest
import torch
from PIL import Image

from neural3d.cli import main
from neural3d.cli.results import answer
from neural3d.export.formats import read_splats
from neural3d.export.ply import read_ply
from neural3d.run import Run

from .captures import SIZE, SMALL, refused, ring_cameras


def contents(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def test_a_run_says_what_it_was_and_how_it_ended(trained: Path, capture: Path):
    run = Run.open(trained)
    assert run.status["state"] == "completed"
    config = run.config
    assert config["capture"] == str(capture.resolve()) and config["downscale"] == 1
    assert config["splat"]["steps"] == 12 and config["splat"]["seed"] == 0 and config["background"] == "auto"
    checkpoint = run.latest_checkpoint()
    assert checkpoint is not None and checkpoint.step == 12 and "gaussians.means_world" in checkpoint.tensors


def test_eval_prints_one_json_object(run_copy: Path, capsys: pytest.CaptureFixture[str]):
    capsys.readouterr()
    assert main(["eval", str(run_copy), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    scores = ("psnr", "psnr_color_corrected", "ssim", "flip", "lpips")
    assert {*scores, "num_gaussians", "train_seconds", "render_fps", "num_views"} <= found.keys()
    assert found["psnr"] > 5 and found["lpips"] is None and found["num_views"] == 2 and found["train_seconds"] > 0
    assert Run.open(run_copy).read_metrics() == found
    assert len(list((run_copy / "renders" / "eval").glob("*.png"))) == 2
    assert main(["eval", str(run_copy)]) == 0
    assert "psnr_color_corrected" in capsys.readouterr().out


def test_eval_of_a_moved_capture(run_copy: Path, capture: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    config = json.loads((run_copy / "config.json").read_text())
    config["config"]["capture"] = str(tmp_path / "gone")
    (run_copy / "config.json").write_text(json.dumps(config))
    assert "name it with --capture" in refused(capsys, "eval", str(run_copy))
    assert main(["eval", str(run_copy), "--capture", str(capture)]) == 0
    assert main(["render", str(run_copy), "--cameras", "test", "--output", str(tmp_path / "out")]) == 0


def test_render_to_pictures_and_video(trained: Path, tmp_path: Path):
    assert main(["render", str(trained), "--cameras", "test", "--output", str(tmp_path / "test")]) == 0
    assert sorted(p.name for p in (tmp_path / "test").iterdir()) == ["00000-000.png", "00008-008.png"]
    with Image.open(tmp_path / "test" / "00000-000.png") as image:
        assert image.size == SIZE and np.asarray(image).max() > 20
    assert main(["render", str(trained), "--frames", "3", "--output", str(tmp_path / "turn.mp4")]) == 0
    probe = [imageio_ffmpeg.get_ffmpeg_exe(), "-i", str(tmp_path / "turn.mp4")]
    assert f"{SIZE[0]}x{SIZE[1]}" in subprocess.run(probe, capture_output=True, text=True).stderr


def test_render_of_a_camera_file(trained: Path, capture: Path, tmp_path: Path):
    """The capture's own transforms.json gives the views that it was trained on."""
    path = str(capture / "transforms.json")
    assert main(["render", str(trained), "--cameras", path, "--output", str(tmp_path / "all")]) == 0
    assert main(["render", str(trained), "--cameras", "test", "--output", str(tmp_path / "test")]) == 0
    with Image.open(tmp_path / "all" / "00008.png") as a, Image.open(tmp_path / "test" / "00008-008.png") as b:
        assert np.abs(np.asarray(a).astype(int) - np.asarray(b)).max() <= 1


def test_export_is_in_the_frame_of_the_capture(trained: Path, tmp_path: Path):
    assert main(["export", str(trained), "--format", "ply", "--output", str(tmp_path / "a.ply")]) == 0
    found = read_ply(tmp_path / "a.ply")
    checkpoint = Run.open(trained).latest_checkpoint()
    assert checkpoint is not None and len(found) == len(checkpoint.tensors["gaussians.means_world"])
    views = json.loads((trained / "scene.json").read_text())
    scale = views["capture_from_scene"]["scale"]
    centers = ring_cameras().centers_world
    poses = torch.tensor(views["cameras"]["camera_from_world"])
    in_scene = -(poses[:, :3, :3].transpose(1, 2) @ poses[:, :3, 3:])[:, :, 0]
    moved = scale * in_scene + torch.tensor(views["capture_from_scene"]["translation"])
    assert torch.allclose(moved, centers, atol=1e-3)
    ratio = (found.log_scales - checkpoint.tensors["gaussians.log_scales"]).mean()
    assert float(ratio) == pytest.approx(np.log(scale), abs=1e-5)


@pytest.mark.parametrize("name", ["a.compressed.ply", "a.splat", "a.spz", "a.sog", "a.glb"])
def test_export_to_each_format_and_from_it(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
):
    """A file leads back to the PLY of the run; glb is turned upright, as long as nobody says otherwise."""
    path, up = str(tmp_path / name), ["--up", "keep"] if name == "a.glb" else []
    assert main(["export", str(trained), "--output", str(tmp_path / "run.ply")]) == 0
    assert main(["export", str(trained), "--output", path, *up]) == 0
    assert main(["export", path, "--output", str(tmp_path / "back.ply")]) == 0
    expected, found = read_ply(tmp_path / "run.ply"), read_ply(tmp_path / "back.ply")
    assert f"format         {'ply'}" in capsys.readouterr().out
    spread = float(expected.means_world.std())
    assert len(found) == len(expected)
    assert torch.cdist(found.means_world, expected.means_world).min(1).values.max() < 0.01 * spread


def test_export_of_a_part(trained: Path, tmp_path: Path):
    def exported(*options: str) -> int:
        assert main(["export", str(trained), "--output", str(tmp_path / "a.ply"), *options]) == 0
        return len(read_ply(tmp_path / "a.ply"))

    everything = exported()
    means = read_ply(tmp_path / "a.ply").means_world
    half = float(means[:, 0].median())
    assert exported("--max-splats", "7") == 7
    assert exported("--crop", "-1e6", "-1e6", "-1e6", f"{half:.9g}", "1e6", "1e6") <= everything // 2 + 1
    assert 0 < exported("--min-opacity", "0.05") <= everything


def test_gltf_stands_upright(trained: Path, tmp_path: Path):
    assert main(["export", str(trained), "--output", str(tmp_path / "a.glb")]) == 0
    assert main(["export", str(trained), "--output", str(tmp_path / "a.ply"), "--up", "y"]) == 0
    assert main(["export", str(trained), "--output", str(tmp_path / "b.ply")]) == 0
    glb, turned, kept = (read_splats(tmp_path / name).means_world for name in ("a.glb", "a.ply", "b.ply"))
    assert torch.allclose(glb, turned, atol=1e-6)
    up = torch.tensor(json.loads((trained / "scene.json").read_text())["up_world"])
    assert torch.allclose(glb[:, 1], kept @ up / up.norm(), atol=1e-4)


def test_a_file_is_not_exported_onto_itself(trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    path = str(tmp_path / "a.ply")
    assert main(["export", str(trained), "--output", path]) == 0
    before = Path(path).read_bytes()
    assert "the same file" in refused(capsys, "export", path, "--output", path)
    assert Path(path).read_bytes() == before


def test_make_does_everything(capture: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    output = tmp_path / "run"
    assert main(["make", str(capture), "--output", str(output), *SMALL, "--no-viewer", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["status"] == "completed" and found["step"] == 12 and found["psnr"] > 5
    assert len(read_ply(found["ply"])) == found["num_gaussians"]
    assert len(list(Path(found["renders"]).glob("*.png"))) == 2


def test_another_run_is_replaced_only_when_asked(run_copy: Path, capture: Path, capsys: pytest.CaptureFixture[str]):
    before = contents(run_copy)
    again = [
        "train",
        "splat",
        "--capture",
        str(capture),
        "--output",
        str(run_copy),
        "--steps",
        "2",
        "--max-gaussians",
        "50",
    ]
    assert "--resume" in refused(capsys, *again)
    assert contents(run_copy) == before
    assert main([*again, "--overwrite"]) == 0
    assert Run.open(run_copy).config["splat"]["steps"] == 2


def rewrite(file: Path, **changes: object) -> None:
    """Change a run's JSON file as a hand would: None takes a key away."""
    content = json.loads(file.read_text())
    inner = content["config"] if "config" in content else content
    for name, value in changes.items():
        place = inner["splat"] if name in inner.get("splat", {}) else inner
        place.update({name: value})
        if value is None:
            del place[name]
    file.write_text(json.dumps(content))


@pytest.mark.parametrize(
    ("file", "changes", "message"),
    [
        ("config.json", {"capture": None}, "config.json: capture is missing"),
        ("config.json", {"seed": None}, "config.json: seed: missing"),
        ("config.json", {"steps": -4}, "config.json: steps: expected a whole number"),
        ("config.json", {"splat": [1]}, "config.json: not as it was written"),
        ("scene.json", {"cameras": None}, "scene.json: cameras is missing"),
        ("scene.json", {"cameras": {"focal_px": "x"}}, "scene.json: camera_from_world is missing"),
        ("scene.json", {"test_indices": "x"}, "scene.json: not as it was written"),
        ("scene.json", {"capture_from_scene": {"scale": "x"}}, "scene.json: "),
        ("scene.json", {"capture_from_scene": {"scale": 10**400}}, "scene.json: not as it was written (int too large"),
        ("scene.json", {"up_world": [0, 0, 0]}, "scene.json: up_world: expected a direction; restore the file"),
        ("scene.json", {"up_world": [0, 1]}, "scene.json: up_world: expected numbers of shape 3, got 2; restore"),
        ("scene.json", {"test_indices": [99]}, "scene.json: test_indices: expected whole numbers from 0 to"),
    ],
)
@pytest.mark.parametrize("command", ["eval {run}", "train splat --resume --output {run}"])
def test_a_run_that_was_changed_by_hand_is_named(run_copy: Path, capsys, command, file, changes, message):
    rewrite(run_copy / file, **changes)
    before = contents(run_copy)
    assert message in refused(capsys, *command.format(run=run_copy).split())
    assert contents(run_copy) == before


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        # Finite in the file, and no longer in float32: found by fuzzing.
        ("camera_from_world", 1e300, "expected finite numbers of at most 1e+12"),
        ("camera_from_world", float("nan"), "expected finite numbers of at most 1e+12"),
        ("camera_from_world", 2.0, "its rotation is scaled or skewed"),
        ("focal_px", 1e300, "expected more than 0 and at most 1e+09 pixels"),
        ("focal_px", -3.0, "expected more than 0 and at most 1e+09 pixels"),
        ("principal_px", -1e300, "expected finite numbers of at most 1e+09 pixels"),
        ("size_px", 0, "expected whole numbers from 1 to 100000"),
        ("size_px", 10.5, "expected whole numbers from 1 to 100000"),
    ],
)
def test_a_camera_of_a_run_that_cannot_be_is_named(run_copy: Path, capsys, field, value, message):
    file = run_copy / "scene.json"
    content = json.loads(file.read_text())
    place = content["cameras"][field][2]
    (place[0] if field == "camera_from_world" else place)[0] = value
    file.write_text(json.dumps(content))
    line = refused(capsys, "eval", str(run_copy))
    assert f"{file}: camera of images/002.png: {field}: {message}" in line
    assert line.rstrip().endswith("restore the file or train again")


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("scale", 1e300, "scale is 1e+300, expected more than 0"),
        ("scale", 0.0, "scale is 0, expected more than 0"),
        ("rotation", [[1, 0, 0], [0, 1, 0], [0, 0, -1]], "rotation: its rotation is mirrored"),
        ("translation", [0, 0, 1e300], "translation: expected numbers of at most 1e+12"),
    ],
)
def test_a_frame_of_a_run_that_cannot_be_is_named(run_copy: Path, capsys, field, value, message):
    content = json.loads((run_copy / "scene.json").read_text())
    content["capture_from_scene"][field] = value
    (run_copy / "scene.json").write_text(json.dumps(content))
    line = refused(capsys, "render", str(run_copy), "--output", str(run_copy / "out"))
    assert f"scene.json: capture_from_scene: {message}" in line and "restore the file or train again" in line


def test_a_run_of_another_densifier_is_refused(run_copy: Path, capsys: pytest.CaptureFixture[str]):
    """As a densifier of one's own leaves it, which the command line does not have."""
    run = Run.open(run_copy)
    checkpoint = run.latest_checkpoint()
    tensors = {n: t for n, t in checkpoint.tensors.items() if n != "densifier.first_count"}
    run.save_checkpoint(12, {**tensors, "densifier.pull": torch.zeros(3)}, checkpoint.meta)
    before = contents(run_copy)
    line = refused(capsys, "train", "splat", "--resume", "--output", str(run_copy))
    assert "checkpoints/step-00000012: densifier: " in line and "Mcmc (pull, expected first_count)" in line
    assert contents(run_copy) == before


def test_bad_input_touches_nothing(run_copy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    before = contents(run_copy)
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "transforms.json").write_text("{")
    assert "transforms.json" in refused(
        capsys, "train", "splat", "--capture", str(broken), "--output", str(run_copy), "--overwrite"
    )
    assert contents(run_copy) == before


def test_a_capture_that_nothing_can_start_from_touches_nothing(run_copy: Path, capture: Path, tmp_path: Path, capsys):
    """Training finds that out by itself, but only once an earlier run is gone."""
    blind = Path(shutil.copytree(capture, tmp_path / "blind"))
    meta = json.loads((blind / "transforms.json").read_text())
    (blind / "transforms.json").write_text(json.dumps({**meta, "cx": 1e6, "cy": -1e6}))
    before = contents(run_copy)
    line = refused(capsys, "train", "splat", "--capture", str(blind), "--output", str(run_copy), "--overwrite")
    assert f"{blind}: no camera sees anything" in line and contents(run_copy) == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "splat", "--output", "{tmp}/r"], "--capture"),
        (["train", "splat", "--capture", "{tmp}/nothing", "--output", "{tmp}/r"], "nothing"),
        (["train", "splat", "--capture", "{capture}", "--output", "{tmp}/r", "--steps", "0"], "steps"),
        (["train", "splat", "--capture", "{capture}", "--output", "{tmp}/r", "--downscale", "0.1"], "downscale"),
        (
            ["train", "splat", "--capture", "{capture}", "--output", "{tmp}/r", "--backend", "gsplat"],
            "--backend gsplat",
        ),
        (["train", "splat", "--output", "{tmp}/r", "--resume"], "no run"),
        (["train", "splat", "--output", "{tmp}/r", "--resume", "--overwrite"], "choose one"),
        (["train", "splat", "--capture", "{capture}", "--output", "{capture}"], "holds no run"),
        (["make", "{capture}/images/000.png", "--output", "{tmp}/r"], "is no video"),
        (["eval", "{tmp}/nothing"], "no run"),
        (["eval", "{capture}"], "no run"),
        (["inspect", "{tmp}/nothing"], "nothing"),
        (["export", "{capture}", "--output", "{tmp}/a.ply"], "no run"),
        (["view", "{tmp}/nothing.ply"], "no such file"),
        (["view", "{capture}/transforms.json"], "not a PLY"),
        (["render", "{run}", "--output", "{tmp}/d", "--cameras", "{tmp}/nothing.json"], "nothing.json"),
        (["render", "{run}", "--output", "{tmp}/d", "--frames", "0"], "--frames"),
        (["render", "{run}", "--output", "{tmp}/d.png"], "expected a folder"),
        (["render", "{run}", "--output", "{tmp}/d.gif"], "expected a folder"),
        (["render", "{run}", "--output", "{tmp}/d.mp4", "--format", "png"], "expected a folder"),
        (["render", "{run}", "--output", "{capture}/transforms.json"], "expected a folder"),
        (["render", "{run}", "--output", "{tmp}/d", "--format", "mp4"], "ends in .mp4"),
        (["render", "{run}", "--output", "{tmp}/d.mp4", "--bits", "16"], "--bits 16"),
        (["render", "{run}", "--output", "{tmp}/d.mp4", "--fps", "0"], "--fps 0"),
        (["render", "{run}", "--output", "{tmp}/d.mp4", "--fps", "-1"], "--fps -1"),
        (["render", "{run}", "--output", "{tmp}/d.mp4", "--fps", "nan"], "--fps nan"),
        (["render", "{run}", "--output", "{tmp}/d", "--frames", "1000000"], "--frames 1000000"),
        (["render", "{run}", "--output", "{tmp}/d", "--cameras", "{capture}"], "cannot be read"),
        (["render", "{run}", "--output", "{capture}/transforms.json/d"], "is a file"),
        (["export", "{run}", "--output", "{capture}/transforms.json/a.ply"], "is a file"),
        (["export", "{run}", "--output", "{tmp}/a.stl"], "ends in .ply"),
        (["export", "{run}", "--output", "{tmp}"], "ends in .ply"),
        (["export", "{run}", "--output", "{tmp}/a.spz", "--format", "sog"], "ends in .sog"),
        (["export", "{run}", "--output", "{tmp}/a.ply", "--spz-version", "4"], "--spz-version 4"),
        (["export", "{run}", "--output", "{tmp}/a.ply", "--min-opacity", "2"], "--min-opacity 2"),
        (["export", "{run}", "--output", "{tmp}/a.ply", "--min-opacity", "nan"], "--min-opacity nan"),
        (["export", "{run}", "--output", "{tmp}/a.ply", "--max-splats", "0"], "--max-splats 0"),
        (["export", "{run}", "--output", "{tmp}/a.ply", *"--crop 0 0 0 1 1 0".split()], "--crop 0 0 0 1 1 0"),
        (["export", "{run}", "--output", "{tmp}/a.ply", *"--crop 90 90 90 91 91 91".split()], "is left"),
        (["export", "{capture}/transforms.json", "--output", "{tmp}/a.ply"], "not a PLY"),
        (["train", "splat", "--capture", "{capture}", "--output", "{capture}/transforms.json/r"], "is a file"),
        (["train", "splat", "--capture", "{capture}", "--output", "{tmp}/" + 300 * "x"], "check the path"),
        (["inspect", 5000 * "x"], "check the path"),
        (["view", "{run}", "--host", ""], "--host: it is empty"),
        (["view", "{run}", "--port", "70000"], "--port 70000"),
    ],
)
def test_bad_input_is_one_line_and_status_2(
    trained: Path, capture: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
):
    filled = [part.format(tmp=tmp_path, capture=capture, run=trained) for part in arguments]
    assert message in refused(capsys, *filled)
    assert list(tmp_path.iterdir()) == []


def test_a_failure_is_never_called_completed(capture: Path, tmp_path: Path, monkeypatch, capsys):
    def fail(scene, config, *, run, **_):
        run.save_checkpoint(5, {"x": torch.zeros(1)}, {})
        raise RuntimeError("the chip\nis on fire")

    monkeypatch.setattr("neural3d.cli.training.train_splats", fail)
    arguments = ["train", "splat", "--capture", str(capture), "--output", str(tmp_path / "r")]
    assert "RuntimeError: the chip is on fire" in refused(capsys, *arguments, status=1)
    run = Run.open(tmp_path / "r")
    assert run.status["state"] == "failed" and "on fire" in run.status["reason"]
    checkpoint = run.latest_checkpoint()
    assert checkpoint is not None and checkpoint.step == 5


@pytest.mark.parametrize(
    "error, where",
    [
        (MemoryError(), "out of memory; "),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), "out of memory; "),
        (RuntimeError("neural3d: out of memory: no room for 1e+12 numbers on the CPU"), "out of memory; "),
        (RuntimeError("neural3d: out of memory: no room for 1e+12 numbers on the GPU"), "out of GPU memory; "),
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB."), "out of GPU memory; "),
    ],
)
def test_running_out_of_memory_says_what_to_do(capture, tmp_path: Path, monkeypatch, capsys, error: Exception, where):
    def fail(*_, **__):
        raise error

    monkeypatch.setattr("neural3d.cli.training.train_splats", fail)
    arguments = ["train", "splat", "--capture", str(capture), "--output", str(tmp_path / "r")]
    line = refused(capsys, *arguments, status=1)
    assert where in line and "--downscale" in line and "--max-gaussians" in line
    assert ("--device cpu" in line) == ("GPU" in where)


def test_resume_keeps_to_what_the_run_was_made_with(run_copy: Path, capsys: pytest.CaptureFixture[str]):
    resume = ["train", "splat", "--output", str(run_copy), "--resume"]
    assert "--steps 99: the run was made with 12" in refused(capsys, *resume, "--steps", "99")
    assert "--downscale 2.0: the run was made with 1" in refused(capsys, *resume, "--downscale", "2")
    assert "--few-photos True: the run was made with False" in refused(capsys, *resume, "--few-photos")
    assert main([*resume, "--steps", "12", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["step"] == 12


def test_a_run_for_few_photos_is_resumed_as_one(capture: Path, tmp_path: Path):
    """Whether the preset is named again or not, and whatever other options took the place of parts of it."""
    command = ["train", "splat", "--output", str(tmp_path / "run"), "--no-viewer"]
    made = ["--capture", str(capture), "--downscale", "2", "--steps", "2", "--few-photos", "--sh-degree", "1"]
    assert main([*command, *made]) == 0
    assert main([*command, "--resume", "--few-photos"]) == main([*command, "--resume"]) == 0


@pytest.mark.skipif(sys.platform == "win32", reason="signals are POSIX")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_save_and_leave_and_resume_ends_where_none_came(capture: Path, tmp_path: Path, number: signal.Signals):
    """And the same bytes as a run that was never interrupted."""
    options = ["--max-gaussians", "100", "--steps", "60"]
    start = [sys.executable, "-m", "neural3d", "train", "splat", "--capture", str(capture), *options]
    path = tmp_path / "run"
    process = subprocess.Popen(
        [*start, "--output", str(path)], stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stderr is not None
    while "Gaussians" not in process.stderr.readline():
        assert process.poll() is None
    process.send_signal(number)
    process.communicate(timeout=60)
    run = Run.open(path)
    stopped_at = run.latest_checkpoint()
    assert stopped_at is not None
    if stopped_at.step < 60:
        assert process.returncode == 128 + number and run.status["state"] == "stopped"
    assert main(["train", "splat", "--output", str(path), "--resume"]) == 0
    if number == signal.SIGINT:
        return
    straight = ["train", "splat", "--capture", str(capture), "--output", str(tmp_path / "straight"), *options]
    assert main(straight) == 0
    a, b = (Run.open(folder).latest_checkpoint() for folder in (path, tmp_path / "straight"))
    assert a is not None and b is not None and a.step == b.step == 60
    for name, tensor in a.tensors.items():
        assert torch.equal(tensor, b.tensors[name]), name


@pytest.mark.skipif(sys.platform == "win32", reason="signals are POSIX")
def test_view_prints_an_address_with_a_token_and_stays_until_a_signal(trained: Path):
    view = [sys.executable, "-m", "neural3d", "view", str(trained), "--no-browser", "--port", "0"]
    process = subprocess.Popen(view, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    line = process.stdout.readline()
    assert "http://127.0.0.1:" in line and "token=" in line
    time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 130 and "Traceback" not in errors


def test_a_reader_that_goes_away_is_no_crash(capture: Path):
    command = [sys.executable, "-m", "neural3d", "inspect", str(capture)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None and process.stderr is not None
        process.stdout.close()
        errors = process.stderr.read()
        assert process.wait() == 1 and "Traceback" not in errors and "Exception" not in errors


def test_answers_for_people_are_lines_and_not_python(capsys: pytest.CaptureFixture[str]):
    answer({"psnr": 27.05, "lpips": None, "views": [{"name": "a.png", "psnr": 28.0}, {"name": "b.png"}]}, False)
    assert capsys.readouterr().out.splitlines() == [
        "psnr   27.0500",
        "lpips  not measured",
        "views  name a.png, psnr 28.0000",
        "       name b.png",
    ]
