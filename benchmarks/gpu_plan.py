"""The parts of a check of a GPU: what each runs, and how long it may take. Needs nothing but Python."""

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

ROOT = Path(__file__).resolve().parents[1]
STEPS = ("build", "test", "sanitize", "train", "bench")
CAPTURES = ("nerf_synthetic_mic", "snowmiku")
TRAINERS = ("native", "native-exact", "gsplat", "gsplat-default", "gsplat-mcmc")
TABLES = ("operators", "gradients", "frames", "gsplat-operators", "determinism")
MINUTE = 60.0
PLUGINS = ("jaxtyping._pytest_plugin", "_hypothesis_pytestplugin")
"""Of pytest, those that our tests use; whatever else the machine has may not fit this pytest."""
NO_OTHERS = {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}


@dataclass(frozen=True)
class Options:
    """What can be chosen about a check."""

    device: Literal["cuda", "cpu"] = "cuda"
    """cpu: a dry run, for a machine without a GPU; what cannot run there says so."""
    training_steps: int = 7000
    downscale: float | None = None
    """Of the captures; None for the benchmarks' own."""


@dataclass(frozen=True)
class Part:
    """One process with an entry of its own in the report."""

    name: str
    """Step, slash, what."""
    command: list[str]
    limit_s: float
    environment: dict[str, str] = field(default_factory=dict)
    answers: Literal["json", "pytest", "nothing"] = "nothing"
    """Where its result is: in the file that follows --output, in pytest's last line, or nowhere."""
    missing: str | None = None
    """Why it cannot run here."""


def parts_of(step: str, options: Options, *, output: Path) -> list[Part]:
    """The parts of a step, in order; results that are files go into the folder `output`."""
    makers = {"build": _build, "test": _test, "sanitize": _sanitize, "train": _train, "bench": _bench}
    return makers[step](options, output)


def _build(options: Options, output: Path) -> list[Part]:
    """The library with its CUDA drivers, gsplat's kernels for this machine's GPU alone, and drivers without order."""
    wants_cuda = {"NEURAL3D_CUDA": "1"} if options.device == "cuda" else {"NEURAL3D_CUDA": "0"}
    library = [sys.executable, "setup.py", "-q", "build_ext", "--inplace"]
    kernels = [sys.executable, "-c", "from neural3d.devices import require_kernels; require_kernels('gsplat')"]
    unordered = [sys.executable, str(ROOT / "benchmarks" / "unordered_sums.py"), str(_unordered(output))]
    return [
        Part("build/library", library, 7.5 * MINUTE, wants_cuda),
        Part("build/gsplat", kernels, 7.5 * MINUTE, {"MAX_JOBS": str(min(16, os.cpu_count() or 1))}),
        Part("build/unordered", unordered, 7.5 * MINUTE, missing=_without_a_gpu(options)),
    ]


def _unordered(output: Path) -> Path:
    """The library that `bench/determinism` compares ours with."""
    return output / "unordered.so"


def _without_a_gpu(options: Options) -> str | None:
    return None if options.device == "cuda" else "a dry run on the CPU has none of the GPU's sums"


def _test(options: Options, output: Path) -> list[Part]:
    """The operators' and the training's tests on the device; elsewhere only those that a dry run can do."""
    chosen = ["-k", "cuda"] if options.device == "cuda" else ["-k", "native and not emulated"]
    environment = {"NEURAL3D_TEST_DEVICE": options.device, **NO_OTHERS}
    folders = {"operators": (["tests/ops", "tests/emulator"], chosen), "training": (["tests/train"], [])}
    return [
        Part(f"test/{name}", [*_pytest(), *paths, *choice], 7.5 * MINUTE, environment, "pytest")
        for name, (paths, choice) in folders.items()
    ]


def _pytest() -> list[str]:
    plugins = [word for plugin in PLUGINS for word in ("-p", plugin)]
    return [sys.executable, "-m", "pytest", "-q", "-m", "not long", "-p", "no:cacheprovider", *plugins]


def _sanitize(options: Options, output: Path) -> list[Part]:
    """Every operator on small scenes, under each of the sanitizer's tools."""
    tests = ["tests/emulator/test_operators.py", "tests/emulator/test_rasterize.py", "-k", "cuda and not longer"]
    program = shutil.which("compute-sanitizer") or "compute-sanitizer"
    missing = None if shutil.which(program) else "compute-sanitizer is not on the PATH; the CUDA toolkit brings it"
    missing = missing if options.device == "cuda" else "a dry run on the CPU has no kernels to check"
    ours = ["--kernel-name", "kns=n3d"] if missing is None and _knows(program, "--kernel-name") else []
    # Each tensor in memory of its own, so that a byte beyond it is nobody's.
    environment = {"NEURAL3D_TEST_DEVICE": "cuda", "PYTORCH_NO_CUDA_MEMORY_CACHING": "1", **NO_OTHERS}
    return [
        Part(
            f"sanitize/{tool}",
            [program, "--tool", tool, "--error-exitcode", "99", *only, *_pytest(), *tests],
            7.5 * MINUTE,
            environment,
            "pytest",
            missing,
        )
        for tool, only in (("memcheck", []), ("racecheck", ours), ("initcheck", ours))
    ]


def _knows(program: str, option: str) -> bool:
    return option in subprocess.run([program, "--help"], capture_output=True, text=True).stdout


def _train(options: Options, output: Path) -> list[Part]:
    """Each trainer on each capture."""
    return [
        _measurement(f"train/{capture}/{trainer}", options, output, 3 * MINUTE)
        for capture in CAPTURES
        for trainer in TRAINERS
    ]


def _bench(options: Options, output: Path) -> list[Part]:
    """Operators, gradients, frames, and what a fixed order of sums costs."""
    parts = [_measurement(f"bench/{table}", options, output, 2 * MINUTE) for table in TABLES]
    *others, determinism = parts
    command = [*determinism.command, "--unordered", str(_unordered(output))]
    return [*others, replace(determinism, command=command, missing=_without_a_gpu(options))]


def _measurement(name: str, options: Options, output: Path, limit_s: float) -> Part:
    target = output / f"{name.replace('/', '-')}.json"
    command = [sys.executable, "-m", "neural3d.bench.gpu", name.removeprefix("bench/"), "--output", str(target)]
    command += ["--device", options.device, "--steps", str(options.training_steps)]
    command += [] if options.downscale is None else ["--downscale", str(options.downscale)]
    return Part(name, command, limit_s, answers="json")
