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

pytestmark = [
    pytest.mark.early,
    pytest.mark.skipif(shutil.which("nvcc") is None, reason="nvcc is not on the PATH"),
    pytest.mark.skipif(os.environ.get("NEURAL3D_CUDA") == "0", reason="NEURAL3D_CUDA=0: CUDA is not wanted"),
]
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
    """Training is in single precision; doubles are for tests."""
    spilling = [k for k in kernels if k.spill_bytes and ("float" in k.name or k.source.startswith("rasterize"))]
    assert not spilling


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
