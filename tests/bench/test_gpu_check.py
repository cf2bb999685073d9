"""The check of a GPU, without one: what is run, what is kept of it, and what the table says."""

import json
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import psutil
import pytest

NAMES = ("gpu_plan", "gpu_report", "gpu_check")


@pytest.fixture(scope="module")
def scripts(repository: Path) -> Iterator[dict[str, ModuleType]]:
    """The scripts of benchmarks/, which find each other as they do when they are run there."""
    sys.path.insert(0, str(repository / "benchmarks"))
    yield {name: import_module(name) for name in NAMES}
    sys.path.remove(str(repository / "benchmarks"))


@pytest.fixture
def plan(scripts) -> ModuleType:
    return scripts["gpu_plan"]


@pytest.fixture
def report(scripts) -> ModuleType:
    return scripts["gpu_report"]


@pytest.fixture
def check(scripts, tmp_path, monkeypatch) -> ModuleType:
    """Its logs and results in a folder of the test's."""
    monkeypatch.setattr(scripts["gpu_check"], "WORK", tmp_path / "work")
    (tmp_path / "work").mkdir()
    return scripts["gpu_check"]


def training(pace: float, psnr: float, memory: float = 100.0) -> dict[str, Any]:
    """As measure_training leaves it."""
    curve = [{"seconds": 10.0 * i / pace, "step": i, "num_gaussians": 5, "psnr": psnr - 10 + i} for i in (5, 10)]
    return {
        **{"steps_per_second": pace, "seconds": 700 / pace, "psnr": psnr, "psnr_color_corrected": psnr + 1},
        **{"ssim": 0.9, "num_gaussians": 12_345, "peak_memory_mib": memory, "curve": curve},
    }


@pytest.fixture
def record(report):
    """A part that has passed."""

    def make(name: str, result: dict[str, Any] | None, **changes):
        machine = {"gpu": "NVIDIA X, 1.2.3, 9 MiB", "torch": "2.13.0"}
        made = report.PartRecord(name, "passed", 1.0, "2026-01-02T03:04:05", "command", machine, result, None)
        return replace(made, **changes)

    return make


def row(table: str, *beginnings: str) -> list[str]:
    """The cells of the table's only row that begins like this."""
    (line,) = [line for line in table.splitlines() if line.startswith("| " + " | ".join(beginnings) + " |")]
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_what_was_not_measured_says_so(report):
    table = report.markdown({})
    assert "Nothing was measured yet" in table and "`make gpu-check`" in table
    assert not re.search(r"\d+(\.\d+)? (frames/s|s|MiB) ", table)
    for section in ("Training", "Rendering", "Operators", "What determinism costs", "Aims"):
        part = table[table.index(f"## {section}") :].split("\n## ")[0]
        assert "not measured" in part
    assert row(table, "build/library")[1] == "not run"


def test_the_kept_table_is_what_the_kept_numbers_say(report, repository):
    results = repository / "benchmarks" / "results"
    kept = (results / "gpu_check.md").read_text(encoding="utf-8")
    assert kept == report.markdown(report.read_records(results / "gpu_check.json"))


def test_trainings_are_compared(report, record):
    records = {
        "train/snowmiku/native": record("", training(400.0, 30.0)),
        "train/snowmiku/gsplat": record("", training(150.0, 30.05)),
        "train/snowmiku/gsplat-default": record("", training(300.0, 31.0)),
        "train/snowmiku/gsplat-mcmc": record("", training(100.0, 29.0, memory=50.0)),
    }
    table = report.markdown(records)
    cells = row(table, "snowmiku", "neural3d")
    assert cells[2:9] == ["400.0", "1.8", "30.00", "31.00", "0.9000", "12,345", "100 MiB"]
    assert row(table, "snowmiku: steps/s by those of neural3d's trainer with `--backend gsplat`")[2:] == ["2.67", "yes"]
    slower = row(table, "snowmiku: steps/s by those of gsplat, DefaultStrategy")
    assert slower[2:] == ["1.33", "NO (PSNR 1.00 dB lower)"]
    greedy = row(table, "snowmiku: steps/s by those of gsplat, MCMCStrategy")
    assert greedy[2:] == ["4.00", "NO (2.00 times the memory)"]
    assert "NVIDIA X, 1.2.3, 9 MiB" in table and "2026-01-02" in table


def test_time_to_quality(report, record):
    curve = [{"seconds": 1.0, "psnr": 20.0}, {"seconds": 3.0, "psnr": 24.0}, {"seconds": 9.0, "psnr": 25.0}]
    assert report.seconds_to(curve, 22.0) == 2.0
    assert report.seconds_to(curve, 19.0) == 1.0
    assert report.seconds_to(curve, 26.0) is None
    records = {
        "train/snowmiku/native": record("", training(1.0, 30.0)),
        "train/snowmiku/gsplat": record("", training(1, 28.0)),
    }
    assert report.target_psnr(records, "snowmiku") == pytest.approx(27.9)
    assert report.target_psnr(records, "nerf_synthetic_mic") is None


def test_frames_and_operators_are_compared(report, record):
    frames = {"scene": "a scene", "fps": {"native": 900.0, "gsplat": 300.0}, "mean_difference": 1e-4}
    records = {
        "bench/frames": record("", frames),
        "bench/operators": record("", {"a scene": {"project": 0.1, "adam": 0.2}}),
        "bench/gsplat-operators": record("", {"a scene": {"project": 0.3}}),
        "bench/gradients": record("", {"a scene": {"native": 1.0, "gsplat": 4.0}}),
    }
    table = report.markdown(records)
    assert row(table, "a scene", "900 frames/s")[2:] == ["300 frames/s", "3.00", "1.0e-04"]
    assert row(table, "a scene", "project")[2:] == ["0.100", "0.300"]
    assert row(table, "a scene", "adam")[2:] == ["0.200", ""]
    assert row(table, "a scene", "photo to gradient")[2:] == ["1.000", "4.000"]
    assert row(table, "frames/s by gsplat's")[2:] == ["3.00", "yes"]


def test_the_cost_of_determinism_is_told(report, record):
    ways = {"ordered": {"ms": 0.3, "apart": 0.0}, "unordered": {"ms": 0.2, "apart": 2e-6}}
    broken = {"ordered": {"ms": 0.3, "apart": 1e-7}, "unordered": {"ms": 0.2, "apart": 2e-6}}
    table = report.markdown({"bench/determinism": record("", {"a gradient": ways, "another": broken})})
    assert row(table, "a gradient")[1:] == ["0.300", "0.200", "1.50", "2.0e-06"]
    assert row(table, "another")[1] == "0.300 (NOT DETERMINISTIC: 1.0e-07)"


def test_a_failed_part_gives_no_number(report, record):
    failed = record("", training(400.0, 30.0), status="failed", complaint="first\nout of | memory")
    table = report.markdown({"train/snowmiku/native": failed})
    assert row(table, "snowmiku", "neural3d")[2] == "not measured"
    assert "out of \\| memory" in table and "Nothing was measured yet" in table


def test_records_are_kept_beside_each_other(report, record, tmp_path):
    path = tmp_path / "gpu_check.json"
    report.add_record(path, record("bench/frames", {"fps": 1}))
    report.add_record(path, record("build/library", None))
    report.add_record(path, record("bench/frames", {"fps": 2}))
    kept = report.read_records(path)
    assert set(kept) == {"bench/frames", "build/library"} and kept["bench/frames"].result == {"fps": 2}
    assert json.loads(path.read_text())["table"] == "gpu_check"


def parts(plan: ModuleType, output: Path) -> list[Any]:
    """Of the tests: one of each kind."""
    result = ["import sys, json; json.dump({'found': 3}, open(sys.argv[sys.argv.index('--output') + 1], 'w'))"]
    python, target = [sys.executable, "-c"], ["--output", str(output / "result.json")]
    return [
        plan.Part("bench/breaks", [*python, "print('before'); raise SystemExit('it broke')"], 60.0),
        plan.Part("bench/measures", [*python, *result, *target], 60.0, answers="json"),
        plan.Part("bench/forgets", [*python, "print(1)", "--output", str(output / "none.json")], 60.0, answers="json"),
        plan.Part("bench/counts", [*python, "print('1 failed, 5 passed in 2.0s')"], 60.0, answers="pytest"),
        plan.Part("bench/hangs", [*python, "import time; print('hm', flush=True); time.sleep(600)"], 3.0),
        plan.Part("bench/lacks", [*python, "raise SystemExit(1)"], 60.0, missing="there is no such tool"),
        plan.Part(
            "bench/hears", [*python, "import os; raise SystemExit(os.environ['WORD'] != 'yes')"], 60.0, {"WORD": "yes"}
        ),
    ]


def test_a_part_that_fails_stops_no_other(check, plan, report, tmp_path, monkeypatch):
    monkeypatch.setattr(check, "parts_of", lambda step, options, output: parts(plan, tmp_path))
    assert check.run_step("bench", plan.Options(), results=tmp_path, minutes=5) == 3
    kept = report.read_records(tmp_path / "gpu_check.json")
    assert {name.removeprefix("bench/"): one.status for name, one in kept.items()} == {
        **{"breaks": "failed", "measures": "passed", "forgets": "failed", "counts": "passed"},
        **{"hangs": "timed out", "lacks": "skipped", "hears": "passed"},
    }
    assert kept["bench/breaks"].complaint == "before\nit broke"
    assert kept["bench/measures"].result == {"found": 3} and kept["bench/counts"].result == {"failed": 1, "passed": 5}
    assert kept["bench/forgets"].complaint.endswith("left no result")
    assert kept["bench/hangs"].complaint == "hm\nit had 3 s" and kept["bench/hangs"].seconds < 50
    assert kept["bench/lacks"].complaint == "there is no such tool"
    assert (tmp_path / "gpu_check.md").read_text() == report.markdown(kept)


def test_a_check_that_is_ended_ends_its_part(scripts, tmp_path):
    """By SIGTERM, as `timeout` and those who lend machines do; the part is a session of its own."""
    code = """
import sys, gpu_check
from pathlib import Path
from gpu_plan import Part
code = f"import os, time; open({sys.argv[1]!r}, 'w').write(str(os.getpid()).zfill(9)); time.sleep(600)"
gpu_check.WORK = Path(sys.argv[1]).parent
gpu_check.parts_of = lambda step, options, output: [Part("bench/hangs", [sys.executable, "-c", code], 600.0)]
sys.argv = ["gpu_check.py", "bench", "--results", str(gpu_check.WORK)]
sys.exit(gpu_check.main())
"""
    folder, told = Path(scripts["gpu_check"].__file__).parent, tmp_path / "pid"
    with subprocess.Popen([sys.executable, "-c", code, told], cwd=folder, stdout=subprocess.DEVNULL) as process:
        try:
            while not (told.exists() and len(told.read_text()) == 9):
                assert process.poll() is None
                time.sleep(0.05)
            process.terminate()
            assert process.wait() == 143
        finally:
            process.kill()
    assert not psutil.pid_exists(int(told.read_text()))


def test_a_step_goes_on_where_it_was_stopped(check, plan, report, tmp_path, monkeypatch):
    """What has passed is left alone, what the time ended too early comes with the next call."""
    log = tmp_path / "log"
    names = ["bench/one", "bench/two"]
    command = [sys.executable, "-c", f"open({str(log)!r}, 'a').write('x')"]
    monkeypatch.setattr(check, "parts_of", lambda *_, **__: [plan.Part(name, command, 60.0) for name in names])
    assert check.run_step("bench", plan.Options(), results=tmp_path, minutes=0.001) == 1
    assert list(report.read_records(tmp_path / "gpu_check.json")) == ["bench/one"]
    assert check.run_step("bench", plan.Options(), results=tmp_path, minutes=5) == 0
    assert len(log.read_text()) == 2
    assert check.run_step("bench", plan.Options(), results=tmp_path, minutes=5) == 0
    assert len(log.read_text()) == 2
    assert check.run_step("bench", plan.Options(), results=tmp_path, minutes=5, again=True) == 0
    assert len(log.read_text()) == 4
    monkeypatch.setattr(check, "machine_facts", lambda: {"gpu": "another one"})
    check.run_step("bench", plan.Options(), results=tmp_path, minutes=5)
    assert len(log.read_text()) == 6


def test_every_part_can_be_started(plan, tmp_path):
    """Names are unique, programs and paths are there, and no step needs more calls than a few."""
    found = [part for step in plan.STEPS for part in plan.parts_of(step, plan.Options(), output=tmp_path)]
    assert len({part.name for part in found}) == len(found)
    assert all(part.limit_s <= 8 * plan.MINUTE for part in found)
    for part in found:
        paths = [word for word in part.command if word.startswith("tests/")]
        assert all((plan.ROOT / path).exists() for path in paths), part.name


def test_a_training_is_measured_in_a_process_of_its_own(tmp_path):
    """A dry run on the CPU, as a check starts it."""
    target = tmp_path / "found.json"
    command = [sys.executable, "-m", "neural3d.bench.gpu", "train/bundled/native", "--output", str(target)]
    command += ["--device", "cpu", "--steps", "30", "--downscale", "8"]
    answer = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert answer.returncode == 0, answer.stderr
    found = json.loads(target.read_text())
    assert found["steps"] == 30 and found["curve"][-1]["psnr"] == found["psnr"] > 5
    assert found["peak_memory_mib"] is None and found["steps_per_second"] > 0


def test_without_a_gpu_gsplats_parts_say_why(tmp_path):
    command = [sys.executable, "-m", "neural3d.bench.gpu", "frames", "--output", str(tmp_path / "x"), "--device", "cpu"]
    answer = subprocess.run(command, capture_output=True, text=True)
    assert answer.returncode == 1 and "torch finds no NVIDIA GPU" in answer.stderr.splitlines()[-1]
