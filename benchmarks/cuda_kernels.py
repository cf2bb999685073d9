"""What each CUDA kernel takes of the chip, as nvcc says: `python benchmarks/cuda_kernels.py`; needs nvcc, but no GPU.

Compiles every .cu for each architecture of cuda_ext/cuda/nvcc.options without a warning, prints registers, spills and
shared memory of each kernel of ours, and keeps them in results/cuda_kernels.json and .md. The compiling is setup.py's:
what it has compiled already, and what ptxas said of it, lies under build/native/cuda.
"""

import importlib.util
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).resolve().parents[1]
CUDA = ROOT / "cuda_ext" / "cuda"
OPTIONS = CUDA / "nvcc.options"
OBJECTS = ROOT / "build" / "native" / "cuda"
RESULTS = ROOT / "benchmarks" / "results"


@dataclass(frozen=True)
class Kernel:
    """One kernel on one architecture."""

    source: str
    name: str
    """With its template arguments."""
    arch: str
    registers: int
    """Of each thread."""
    shared_bytes: int
    """Static, of each block."""
    stack_bytes: int
    spill_bytes: int
    """Stores and loads of registers that did not fit, of each thread."""


def compile_all() -> list[Kernel]:
    """Every kernel of ours on every architecture.

    Raises:
        RuntimeError: There is no nvcc, or it has something to say against a file.
    """
    build = setup_py()
    path = build.nvcc_to_use()
    if path is None:
        raise RuntimeError("nvcc is not on the PATH; the CUDA toolkit brings it")
    nvcc = build.Nvcc(path, build.torch_folder(), OBJECTS)
    sources = nvcc.sources()
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        objects = list(pool.map(nvcc.compiled, sources))
    reports = [object.with_suffix(".log").read_text(encoding="utf-8") for object in objects]
    for source, report in zip(sources, reports, strict=True):
        _require_silence(source, report)
    kernels = [kernel for source, report in zip(sources, reports, strict=True) for kernel in _kernels(source, report)]
    return sorted(kernels, key=lambda kernel: (kernel.source, kernel.name, kernel.arch))


def setup_py() -> ModuleType:
    """The native build."""
    spec = importlib.util.spec_from_file_location("neural3d_setup", ROOT / "setup.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _require_silence(source: Path, report: str) -> None:
    """Refuse warnings, which an installation puts up with."""
    if re.search(r"\b(warning|error)\b", report, re.IGNORECASE):
        complaints = [line for line in report.splitlines() if not line.startswith("ptxas info") and "spill" not in line]
        raise RuntimeError("\n".join([f"{source}:", *complaints[:100]]))


ENTRY = re.compile(
    r"Compiling entry function '(?P<name>\w+)' for '(?P<arch>\w+)'\n.*\n"
    r"\s*(?P<stack>\d+) bytes stack frame, (?P<stores>\d+) bytes spill stores, (?P<loads>\d+) bytes spill loads\n"
    r".*Used (?P<registers>\d+) registers(?P<rest>.*)"
)


def _kernels(source: Path, report: str) -> Iterator[Kernel]:
    found = list(ENTRY.finditer(report))
    assert len(found) == report.count("Compiling entry function"), f"{source.name}: ptxas speaks another language"
    names = _demangled([entry["name"] for entry in found])
    for entry, name in zip(found, names, strict=True):
        if not name.startswith("n3d::"):
            continue  # cub's
        shared = re.search(r"(\d+) bytes smem", entry["rest"])
        spilled = int(entry["stores"]) + int(entry["loads"])
        numbers = (int(entry["registers"]), int(shared[1]) if shared else 0, int(entry["stack"]), spilled)
        yield Kernel(source.name, name.removeprefix("n3d::"), entry["arch"], *numbers)


def _demangled(names: list[str]) -> list[str]:
    """As they are written in the sources, without arguments."""
    result = subprocess.run(["c++filt"], input="\n".join(names), capture_output=True, text=True, check=True)
    lines = (line.removeprefix("void ").replace("(anonymous namespace)::", "") for line in result.stdout.splitlines())
    return [line[: _end_of_name(line)] for line in lines]


def _end_of_name(line: str) -> int:
    """Where the arguments begin: at the first bracket that is in no template's arguments."""
    depth = 0
    for i, letter in enumerate(line):
        depth += {"<": 1, ">": -1}.get(letter, 0)
        if letter == "(" and depth == 0:
            return i
    return len(line)


def markdown(kernels: list[Kernel]) -> str:
    """A row for each kernel: registers on each architecture, and the worst of the rest."""
    archs = sorted({kernel.arch for kernel in kernels})
    header = ["kernel", *archs, "shared", "spills"]
    lines = [f"| {' | '.join(header)} |", "|---" * len(header) + "|"]
    rows: dict[tuple[str, str], dict[str, Kernel]] = {}
    for kernel in kernels:
        rows.setdefault((kernel.source, kernel.name), {})[kernel.arch] = kernel
    for (source, name), by_arch in rows.items():
        registers = [str(by_arch[arch].registers) for arch in archs]
        shared = max(kernel.shared_bytes for kernel in by_arch.values())
        spills = ", ".join(f"{arch}: {by_arch[arch].spill_bytes}" for arch in archs if by_arch[arch].spill_bytes)
        lines.append(f"| {source}: `{name}` | {' | '.join(registers)} | {shared} | {spills or '0'} |")
    return "\n".join(lines)


def _provenance() -> dict[str, str]:
    version = subprocess.run(["nvcc", "--version"], capture_output=True, text=True, check=True).stdout
    release = re.search(r"release [\d.]+, (V[\d.]+)", version)
    return {
        "command": "python benchmarks/cuda_kernels.py",
        "nvcc": release[1] if release else version.strip(),
        "options": " ".join(OPTIONS.read_text(encoding="utf-8").split()),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def main() -> int:
    """Compile, print and keep."""
    kernels, about = compile_all(), _provenance()
    table = markdown(kernels)
    RESULTS.joinpath("cuda_kernels.json").write_text(
        json.dumps(about | {"kernels": [asdict(kernel) for kernel in kernels]}, indent=1) + "\n", encoding="utf-8"
    )
    text = ["Registers of a thread on each architecture; bytes of static shared memory of a block; bytes spilled."]
    text += ["", table, "", *(f"{key}: {value}  " for key, value in about.items()), ""]
    RESULTS.joinpath("cuda_kernels.md").write_text("\n".join(text), encoding="utf-8")
    print(table)
    return 0


if __name__ == "__main__":
    sys.exit(main())
