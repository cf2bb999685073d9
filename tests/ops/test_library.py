"""A library for GPUs that is missing, broken or foreign: the CPU never minds, and who asks for a GPU is told why."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from neural3d.ops import library

BROKEN = {
    "text": None,
    "unresolved": 'extern "C" void nobody_has_this(); struct A { A() { nobody_has_this(); } } a;',
    "foreign": "int nothing;",
}
COMPLAINTS = {
    "text": "does not fit torch",
    "unresolved": "nobody_has_this",
    "foreign": "holds no drivers of neural3d",
}


def make_library(folder: Path, kind: str) -> Path:
    path = folder / "_native_cuda.so"
    if BROKEN[kind] is None:
        path.write_text("this is no library\n")
        return path
    if shutil.which("g++") is None:
        pytest.skip("g++ is not installed")
    command = ["g++", "-shared", "-fPIC", "-x", "c++", "-", "-o", str(path)]
    subprocess.run(command, input=BROKEN[kind], text=True, check=True)
    return path


@pytest.fixture
def folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """Where libraries are looked for, by a torch that claims to have CUDA."""
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setattr(library, "_folder", lambda: tmp_path)
    monkeypatch.setattr(torch._C, "_dispatch_has_kernel_for_dispatch_key", lambda name, key: False)
    library.cuda_library_problem.cache_clear()
    yield tmp_path
    library.cuda_library_problem.cache_clear()


@pytest.mark.skipif(sys.platform != "linux", reason="the CUDA library is built on Linux")
@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_library_is_one_line_with_the_remedy(kind, folder):
    path = make_library(folder, kind)
    problem = library.cuda_library_problem()
    assert str(path) in problem and COMPLAINTS[kind] in problem and "\n" not in problem
    assert problem.endswith("rebuild it with: NEURAL3D_CUDA=1 pip install --no-build-isolation -e .")


def test_a_missing_library_is_one_line_with_the_remedy(folder):
    assert library.cuda_library_problem() == (
        "neural3d was built without CUDA; with nvcc on the PATH build it with: "
        "NEURAL3D_CUDA=1 pip install --no-build-isolation -e ."
    )


def test_a_torch_without_cuda_is_never_given_the_library(folder, monkeypatch):
    monkeypatch.setattr(torch.version, "cuda", None)
    monkeypatch.setattr(torch.ops, "load_library", lambda path: pytest.fail("loaded"))
    make_library(folder, "text")
    problem = library.cuda_library_problem()
    assert f"torch {torch.__version__} is a build without CUDA" in problem and "pytorch.org" in problem


@pytest.mark.skipif(sys.platform != "linux", reason="the CUDA library is built on Linux")
def test_the_cpu_computes_beside_a_broken_library_and_nothing_is_said(repository, tmp_path):
    """In a process of its own, in which torch claims to have CUDA from the start."""
    shutil.copytree(repository / "neural3d", tmp_path / "neural3d", ignore=shutil.ignore_patterns("__pycache__"))
    make_library(tmp_path / "neural3d", "text")
    code = """
import torch
torch.version.cuda = "13.0"
import neural3d
from neural3d.ops.library import native
assert native().visible_rows(torch.tensor([[1.0, 1.0], [0.0, 0.0]])).tolist() == [True, False]
print(neural3d.__file__, neural3d.choose_device())
"""
    environment = os.environ | {"PYTHONPATH": str(tmp_path)}
    answer = subprocess.run([sys.executable, "-c", code], env=environment, cwd=tmp_path, capture_output=True, text=True)
    assert answer.returncode == 0 and answer.stderr == "", answer.stderr
    assert answer.stdout.split() == [str(tmp_path / "neural3d" / "__init__.py"), "cpu"]
