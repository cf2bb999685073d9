"""Every table runs, has its keys, and prints."""

import json
import xml.etree.ElementTree as ElementTree
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from neural3d import bench
from neural3d.bench import clock, plot, quality
from neural3d.bench.clock import interleaved_ms, split_ms
from neural3d.bench.machine import commit, peak_memory_bytes, provenance
from neural3d.bench.quality import CaptureSpec, Snapshot, Snapshots, chosen_captures, train_and_judge
from neural3d.bench.rendering import measure_render
from neural3d.bench.scenes import RENDER_200K, STEP_14K, TWIN
from neural3d.bench.step import OPERATORS, measure_step, take_step, workload
from neural3d.capture import load_capture
from neural3d.errors import InputError
from neural3d.evaluation import evaluate
from neural3d.ops.library import native
from neural3d.render.splats import render_function
from neural3d.train.config import SplatConfig
from neural3d.train.observer import Progress

TINY = replace(STEP_14K, name="tiny", width=64, height=48, num_gaussians=200, pairs=60_000)
PROVENANCE = {"command", "machine", "threads", "simd", "load_average", "date", "neural3d", "torch", "commit"}


@pytest.fixture(autouse=True)
def _short_peak(monkeypatch):
    monkeypatch.setattr(clock, "PEAK_ROUNDS", 10_000)


@pytest.fixture(scope="module")
def step_report() -> dict:
    large = replace(TINY, name="larger", num_gaussians=400)
    twin = replace(TWIN, width=32, height=32, num_gaussians=50)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(clock, "PEAK_ROUNDS", 10_000)
        return measure_step(specs=(TINY, large), twin=twin, repeats=3)


@pytest.mark.long
def test_the_denoisers_table():
    """Ours is not the smaller one, and a sample in latents takes fewer operations than one in pixels."""
    pytest.importorskip("diffusers")
    from neural3d.bench.denoisers import measure_denoisers

    report = measure_denoisers(repeats=1)
    assert {*PROVENANCE, "diffusers_over_ours", "diffusers_over_ours_bf16"} <= set(report)
    sizes = report["parameters"]
    assert sizes["diffusers"] < sizes["ours"] < 1.1 * sizes["diffusers"]
    assert report["spaces"]["ldm"]["sample_gflop"] < 0.6 * report["spaces"]["score"]["sample_gflop"]
    json.dumps(report, allow_nan=False)
    assert "UNet2DModel's step" in bench.text_of(report)


def test_the_step_table(step_report):
    keys = {"step_ms", "forward_gpairs", "backward_gpairs", "rest_over_blend", "operators", "relocation_ms", "pairs"}
    keys |= {f"{key}_50k" for key in keys}
    keys |= {"fma_peak_gflops", "avx2_ratio", "torch_twin_ratio", "repeats", *PROVENANCE}
    assert keys <= set(step_report)
    assert set(step_report["operators"]) == {*OPERATORS, "other"}
    assert sum(step_report["operators"].values()) == pytest.approx(step_report["step_ms"])
    assert step_report["pairs"] == pytest.approx(TINY.pairs, rel=0.01)
    assert step_report["pairs_50k"] == pytest.approx(TINY.pairs, rel=0.01)
    assert (step_report["avx2_ratio"] is None) == (native().simd() != "avx512")
    json.dumps(step_report, allow_nan=False)
    text = bench.text_of(step_report)
    for part in (*OPERATORS, "tiny", "larger", step_report["machine"], step_report["date"], step_report["command"]):
        assert part in text


def test_every_operator_of_a_step_is_in_the_table():
    work = workload(TINY)
    _, used = split_ms(lambda: take_step(work), 2, between=work.rewind)
    assert set(used) == {name for names in OPERATORS.values() for name in names}


def test_a_step_trains_and_rewinds():
    work = workload(TINY)
    take_step(work)
    for name, tensor in work.state.gaussians.tensors().items():
        assert not torch.equal(tensor, work.start.tensors()[name]), name
    work.rewind()
    for name, tensor in work.state.gaussians.tensors().items():
        assert torch.equal(tensor, work.start.tensors()[name]), name


def test_the_instruction_set_is_given_back(step_report):
    assert native().simd() == step_report["simd"]


def test_the_render_table():
    spec = replace(RENDER_200K, name="tiny", width=64, height=48, num_gaussians=200, pairs=60_000)
    report = measure_render(spec=spec, repeats=2)
    assert {"fps", "frame_ms", "operators", "forward_gpairs", "fma_peak_gflops", "pairs", *PROVENANCE} <= set(report)
    assert report["fps"] == pytest.approx(1000 / report["frame_ms"])
    assert "frames a second" in bench.text_of(report)


def test_one_json_object_on_stdout(monkeypatch, capsys):
    monkeypatch.setattr(bench, "measure_render", lambda: {"fps": float("nan"), "table": "render"})
    assert bench.main("render", True, "cpu") == 0
    assert json.loads(capsys.readouterr().out) == {"fps": None, "table": "render"}


def test_a_gpu_measures_what_it_does(monkeypatch, capsys):
    monkeypatch.setattr(bench, "choose_device", torch.device)
    monkeypatch.setattr(bench, "measure_device_step", lambda device: {"on": str(device)})
    assert bench.main("step", True, "cuda") == 0
    assert json.loads(capsys.readouterr().out) == {"on": "cuda"}
    with pytest.raises(InputError, match="--device cuda: quality is measured on the CPU; a GPU has step and render"):
        bench.main("quality", False, "cuda")


def test_medians_leave_out_the_first_calls_and_what_lies_between():
    calls = {"a": 0, "b": 0, "between": 0}

    def count(name):
        calls[name] += 1

    taken = interleaved_ms({"a": lambda: count("a"), "b": lambda: count("b")}, 4, between=lambda: count("between"))
    assert set(taken) == {"a", "b"}
    assert calls["a"] == calls["b"] > 4
    assert calls["between"] == 2 * calls["a"]


def _progress(seconds: float) -> Progress:
    return Progress(int(10 * seconds), 100, seconds / 10, seconds, 10 - seconds, 20.0, 0.1, 10.0, num_gaussians=5)


def test_snapshots_are_taken_once_a_moment():
    asked = []
    snapshots = Snapshots([1.0, 2.0, 2.5, 8.0])
    gaussians = workload(TINY).start
    for seconds in (0.5, 1.25, 1.5, 3.0, 3.25, 7.0):
        snapshots.on_progress(_progress(seconds), lambda: asked.append(1) or gaussians)
    assert [snapshot.seconds for snapshot in snapshots.kept] == [1.25, 3.0]
    assert len(asked) == 2
    assert snapshots.requested() == "run"


@pytest.fixture
def data_variable(monkeypatch, tmp_path) -> Path:
    monkeypatch.setenv(quality.DATA_VARIABLE, str(tmp_path))
    for name in ("nerf_synthetic_mic", "snowmiku"):
        (tmp_path / name).mkdir()
    return tmp_path


def test_captures_by_name(data_variable):
    assert [spec.name for spec in chosen_captures(None)] == ["nerf_synthetic_mic", "snowmiku"]
    (spec,) = chosen_captures(["snowmiku"])
    assert (spec.path, spec.downscale, spec.seconds) == (str(data_variable / "snowmiku"), 2, 120)


def test_a_capture_that_is_gone_says_what_to_do(data_variable):
    (data_variable / "snowmiku").rmdir()
    with pytest.raises(InputError, match=rf"no folder {data_variable}/snowmiku; set NEURAL3D_DATA"):
        chosen_captures(None)


def test_an_unknown_capture_says_what_to_do(data_variable):
    with pytest.raises(InputError, match=r"no capture garden; set NEURAL3D_DATA .* choose among: nerf_synthetic_mic"):
        chosen_captures(["garden"])


def test_no_capture_at_all_says_what_to_do(monkeypatch, tmp_path):
    monkeypatch.delenv(quality.DATA_VARIABLE, raising=False)
    monkeypatch.setattr(quality.neural3d, "__file__", str(tmp_path / "neural3d" / "__init__.py"))
    with pytest.raises(InputError, match="no capture at all; set NEURAL3D_DATA"):
        chosen_captures(None)


@pytest.fixture(scope="module")
def small_result(small_capture: Path) -> dict:
    spec = CaptureSpec("small", str(small_capture), 1.0, "black", 1.5)
    return train_and_judge(spec, SplatConfig(max_gaussians=500))


def test_the_quality_of_a_capture(small_result):
    curve = small_result["curve"]
    assert 2 <= len(curve) <= len(quality.MOMENTS) + 1
    seconds = [point["seconds"] for point in curve]
    assert seconds == sorted(seconds) and seconds[-1] == small_result["seconds"] >= 1.5
    for key in ("psnr", "psnr_color_corrected", "num_gaussians"):
        assert curve[-1][key] == small_result[key]
    assert curve[-1]["psnr"] > curve[0]["psnr"]
    assert small_result["num_views"] == 2
    assert small_result["photo_size_px"] == [48, 32]
    assert small_result["steps"] > 0


def test_the_last_snapshot_is_judged_like_the_last_model(small_capture):
    scene = load_capture(small_capture)
    gaussians, background = workload(TINY).start, torch.tensor([0.2, 0.4, 0.6])
    whole = evaluate(render_function(gaussians, background=background), scene, background=background)
    point = quality._judged(Snapshot(1.0, 5, gaussians), scene, background)
    assert point.psnr == pytest.approx(whole.mean("psnr"))
    assert point.psnr_color_corrected == pytest.approx(whole.mean("psnr_color_corrected"))


def test_the_quality_table(small_result, monkeypatch, data_variable, tmp_path, capsys):
    monkeypatch.setattr(quality, "_in_new_process", lambda spec, config: small_result)
    report = quality.measure_quality(seconds=1.0)
    assert {"psnr", "psnr_color_corrected", "seconds", "curve", "peak_rss_gib", "captures", *PROVENANCE} <= set(report)
    assert report["psnr"] == pytest.approx(small_result["psnr"])
    assert report["seconds"] == pytest.approx(2 * small_result["seconds"])
    bench.keep(report, tmp_path / "results")
    assert "snowmiku at 48x32, 2 held-out views" in capsys.readouterr().out
    assert json.loads((tmp_path / "results" / "quality.json").read_text())["captures"].keys() == report["curve"].keys()
    picture = ElementTree.parse(tmp_path / "results" / "quality.svg")
    assert len(picture.findall(".//{*}polyline[@stroke-width='2']")) == 2 * 2 * 2, "a line and its sign for each"


def test_another_process_trains(small_capture):
    spec = CaptureSpec("small", str(small_capture), 1.0, "black", 0.5)
    result = quality._in_new_process(spec, SplatConfig(max_gaussians=100))
    assert result["num_gaussians"] <= 100
    assert 0 < result["peak_rss_gib"] < 8


def test_the_memory_table(small_capture, monkeypatch):
    spec = CaptureSpec("small", str(small_capture), 1.0, "black", 60.0)
    monkeypatch.setattr(quality, "known_captures", lambda: {"small": spec})
    report = bench.measure_memory("small", seconds=0.5)
    assert {"peak_rss_gib", "num_gaussians", "seconds", *PROVENANCE} <= set(report)
    assert 0.1 < report["peak_rss_gib"] < 8
    assert report["seconds"] < 10
    assert "peak resident memory" in bench.text_of(report)


def test_the_formats_table(small_capture, monkeypatch):
    spec = CaptureSpec("small", str(small_capture), 1.0, "black", 60.0)
    monkeypatch.setattr(quality, "known_captures", lambda: {"small": spec})
    names = ["a.ply", "a.spz", "a.splat"]
    report = bench.measure_formats(capture="small", seconds=1.0, files=names, num_large=3000)
    assert {"files", "large", "half", "num_gaussians", *PROVENANCE} <= set(report)
    files = report["files"]
    assert files["a.ply"]["psnr"] is None and files["a.spz"]["psnr"] > 30
    assert files["a.ply"]["bytes"] > files["a.spz"]["bytes"] > 0
    assert report["large"]["a.ply"]["bytes"] // 3000 == 62 * 4 and 0.1 < report["large"]["a.ply"]["peak_rss_gib"] < 8
    assert report["half"]["seen"] > report["half"]["random"]
    assert "the same" in bench.text_of(report) and "half of them: seen" in bench.text_of(report)


def test_a_command_names_no_place_of_this_machine(tmp_path, monkeypatch):
    script = Path(bench.__file__).parents[2] / "benchmarks" / "poses.py"
    monkeypatch.setattr("sys.argv", [str(script), str(tmp_path / "photos"), "--steps", "3", "a/b"])
    assert provenance()["command"] == "python benchmarks/poses.py photos --steps 3 a/b"


def test_a_training_that_fails_says_why(tmp_path, monkeypatch):
    (tmp_path / "nothing").mkdir()
    spec = CaptureSpec("none", str(tmp_path / "nothing"), 1.0, "black", 1.0)
    monkeypatch.setattr(quality, "known_captures", lambda: {"none": spec})
    with pytest.raises(RuntimeError, match="status 2: neural3d: error: .*nothing: has no poses"):
        bench.measure_memory()


@pytest.mark.parametrize(("low", "high"), [(0.0, 300.0), (17.3, 34.9), (20.0, 20.0), (24.98, 25.02), (0.0, 1.5)])
def test_ticks_reach_around_what_is_shown(low, high):
    ticks = plot._ticks(low, high)
    assert 2 <= len(ticks) <= 8
    assert ticks[0] <= low and ticks[-1] >= high
    assert len({round(b - a, 6) for a, b in zip(ticks, ticks[1:], strict=False)}) == 1


def test_peak_memory_grows():
    before = peak_memory_bytes()
    if before is None:
        pytest.skip("the system does not say what a process has held")
    held = torch.ones(3 * before // 4)
    assert peak_memory_bytes() > before + before // 4
    assert len(held)


def test_the_commit_is_named(repository):
    assert (commit() is not None) == (repository / ".git").exists()


def test_the_priors_table():
    """What copies whole patches covers the truth as true patches do; a Gaussian of few latents does not."""
    report = bench.measure_priors(["ae-linear", "clip"], seconds=0.3, drawn=48, seeds=2)
    assert PROVENANCE <= set(report) and set(report["floors"]) == {"32"}
    floor, copies, linear = report["floors"]["32"], report["priors"]["clip"], report["priors"]["ae-linear"]
    assert floor["coverage"]["mean"] > 0.7 and floor["precision"]["mean"] > 0.7
    assert copies["copies"] and copies["coverage"]["mean"] > 0.7
    assert linear["distance"]["mean"] > 3 * abs(floor["distance"]["mean"])
    json.dumps(report, allow_nan=False)
    assert "ae-linear" in bench.text_of(report) and "clip (copies)" in bench.text_of(report)
