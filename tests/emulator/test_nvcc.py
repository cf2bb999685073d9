"""The real compiler on the CUDA sources, where there is one: for every architecture, without a warning or a spill."""

import ctypes
import importlib.util
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch

pytestmark = pytest.mark.early
NVCC_MISSING = "nvcc is not on the PATH" if shutil.which("nvcc") is None else None
if os.environ.get("NEURAL3D_CUDA") == "0":
    NVCC_MISSING = "NEURAL3D_CUDA=0: CUDA is not wanted"
ARCHITECTURES = {"sm_75", "sm_80", "sm_86", "sm_89", "sm_90"}
MAX_REGISTERS, MAX_SHARED = 255, 48 << 10


@pytest.fixture(scope="module")
def benchmark() -> ModuleType:
    """benchmarks/cuda_kernels.py."""
    path = Path(__file__).parents[2] / "benchmarks" / "cuda_kernels.py"
    spec = importlib.util.spec_from_file_location("cuda_kernels", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def kernels(benchmark: ModuleType) -> list:
    """Every kernel on every architecture: compiling is the test."""
    if NVCC_MISSING:
        pytest.skip(NVCC_MISSING)
    return benchmark.compile_all()


def test_it_compiles_for_every_architecture(benchmark, kernels):
    print(benchmark.markdown(kernels))
    by_source = {}
    for kernel in kernels:
        by_source.setdefault((kernel.source, kernel.name), set()).add(kernel.arch)
    assert all(archs == ARCHITECTURES for archs in by_source.values())
    of_cub_alone = {"primitives.cu"}
    assert {source for source, _ in by_source} | of_cub_alone == {path.name for path in benchmark.CUDA.glob("*.cu")}


def test_nothing_spills_where_time_is_spent(kernels):
    assert not spilling(kernels)


def spilling(kernels: list) -> list:
    """Training is in single precision, doubles are for tests; but the blend loops have room for both."""
    return [k for k in kernels if k.spill_bytes and ("double" not in k.name or k.source.startswith("rasterize"))]


REPORT = """\
ptxas info    : Compiling entry function '_ZN3n3d5blendI{type}EEvPT_' for 'sm_80'
ptxas info    : Function properties for _ZN3n3d5blendI{type}EEvPT_
    8 bytes stack frame, {stores} bytes spill stores, {loads} bytes spill loads
ptxas info    : Used 63 registers, used 1 barriers, 12544 bytes smem, 488 bytes cmem[0]
"""


@pytest.mark.skipif(shutil.which("c++filt") is None, reason="c++filt is not installed")
@pytest.mark.parametrize(
    ("source", "type", "stores", "spills"),
    [("adam.cu", "f", 4, True), ("adam.cu", "d", 4, False), ("rasterize.cu", "d", 4, True), ("adam.cu", "f", 0, False)],
)
def test_a_spill_is_seen(benchmark, source, type, stores, spills):
    """In what ptxas says; no compiler is needed."""
    report = REPORT.format(type=type, stores=stores, loads=stores)
    (kernel,) = benchmark._kernels(Path(source), report)
    assert kernel.name == f"blend<{'float' if type == 'f' else 'double'}>" and kernel.arch == "sm_80"
    assert (kernel.registers, kernel.shared_bytes, kernel.spill_bytes) == (63, 12544, 2 * stores)
    assert bool(spilling([kernel])) == spills
    assert f"sm_80: {2 * stores}" in benchmark.markdown([kernel]) or not stores


def test_a_warning_is_seen(benchmark):
    benchmark._require_silence(Path("adam.cu"), REPORT.format(type="f", stores=0, loads=0))
    with pytest.raises(RuntimeError, match=r"(?s)^adam.cu:.*warning #177-D: variable"):
        benchmark._require_silence(Path("adam.cu"), 'adam.cu(3): warning #177-D: variable "x" was declared')


def test_a_block_gets_by_with_what_every_gpu_has(kernels):
    assert all(k.registers <= MAX_REGISTERS and k.shared_bytes <= MAX_SHARED for k in kernels)


def test_the_kept_table_names_every_kernel(benchmark, kernels):
    kept = json.loads(benchmark.RESULTS.joinpath("cuda_kernels.json").read_text(encoding="utf-8"))["kernels"]
    names = {(kernel["source"], kernel["name"], kernel["arch"]) for kernel in kept}
    assert names == {(k.source, k.name, k.arch) for k in kernels}, "run: python benchmarks/cuda_kernels.py"


@pytest.mark.skipif(shutil.which("readelf") is None, reason="readelf is not installed")
def test_the_library_takes_the_stream_from_torch_and_nothing_from_a_toolkit(benchmark, kernels, tmp_path):
    """Where torch has no CUDA it is just this one symbol that is missing."""
    build = benchmark.setup_py()
    nvcc = build.Nvcc(build.nvcc_to_use(), build.torch_folder(), benchmark.OBJECTS)
    library = tmp_path / "_native_cuda.so"
    nvcc.link([nvcc.compiled(source) for source in nvcc.sources()], library)
    dynamic = subprocess.run(["readelf", "-dW", library], capture_output=True, text=True, check=True).stdout
    assert "[libtorch.so]" in dynamic and "libcuda" not in dynamic
    assert "RPATH" not in dynamic and "RUNPATH" not in dynamic
    if torch.version.cuda is None:
        with pytest.raises(OSError, match="undefined symbol: aoti_torch_get_current_cuda_stream"):
            ctypes.CDLL(str(library))
    else:
        ctypes.CDLL(str(library))
