"""When the library for GPUs is built, of what, and what carries it; with a compiler of a few lines in nvcc's place."""

import importlib.util
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from types import ModuleType

import pytest

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the CUDA library is built on Linux")

STUB = """#!/bin/sh
# Notes what it is asked for; "compiles" a source to its text, and links an empty library.
[ "$1" = --version ] && { echo "release 1.2, V1.2.3"; exit; }
echo "$@" >> "$(dirname "$0")/calls"
for argument; do before=$last; last=$argument; [ "$before" = -c ] && source=$argument; done
case "$*" in *-shared*) echo 'int nothing;' | g++ -shared -fPIC -x c++ - -o "$last" ;; *)
  grep -q MISTAKE "$source" && { echo "$source(1): error: a mistake"; exit 2; }
  echo "ptxas info: of $(basename "$source")"; cp "$source" "$last" ;; esac
"""


@pytest.fixture(scope="module")
def build(repository: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("neural3d_setup", repository / "setup.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def cuda_home(tmp_path: Path) -> Path:
    """A toolkit that holds the stub."""
    path = tmp_path / "toolkit" / "bin" / "nvcc"
    path.parent.mkdir(parents=True)
    path.write_text(STUB)
    path.chmod(0o755)
    return tmp_path / "toolkit"


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> pytest.MonkeyPatch:
    """An environment that knows no nvcc."""
    for name in ("CUDA_HOME", "CUDA_PATH", "NEURAL3D_CUDA"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    return monkeypatch


def test_nvcc_is_taken_where_it_is_found(build, bare, cuda_home):
    assert build.nvcc_to_use() is None
    bare.setenv("CUDA_HOME", str(cuda_home))
    assert build.nvcc_to_use() == str(cuda_home / "bin" / "nvcc")
    bare.setenv("NEURAL3D_CUDA", "0")
    assert build.nvcc_to_use() is None
    bare.setenv("NEURAL3D_CUDA", "1")
    bare.delenv("CUDA_HOME")
    bare.setenv("PATH", str(cuda_home / "bin"))
    assert build.nvcc_to_use() == str(cuda_home / "bin" / "nvcc")


@pytest.mark.parametrize(
    "choice, complaint", [("1", "nvcc is neither on the PATH"), ("yes", "expected 0 or 1, got 'yes'")]
)
def test_a_choice_that_cannot_be_had_is_one_line(build, bare, choice, complaint):
    bare.setenv("NEURAL3D_CUDA", choice)
    with pytest.raises(SystemExit, match=complaint) as stopped:
        build.nvcc_to_use()
    assert "NEURAL3D_CUDA" in str(stopped.value) and "\n" not in str(stopped.value)


@pytest.mark.parametrize(
    "line, has",
    [("cuda: Optional[str] = None", False), ("cuda: Optional[str] = '13.0'", True), ('cuda = "12.8"', True)],
)
def test_what_torch_says_of_itself(build, tmp_path, line, has):
    (tmp_path / "version.py").write_text(f"__version__ = '2.13.0'\ndebug = False\n{line}\nhip: Optional[str] = None\n")
    assert build.torch_has_cuda(tmp_path) is has


@pytest.fixture
def nvcc(build, cuda_home, tmp_path, monkeypatch):
    """The stub over two sources, one of which includes a header by way of another."""
    folder = tmp_path / "cuda_ext" / "cuda"
    folder.mkdir(parents=True)
    (tmp_path / "version.py").touch()
    texts = {
        "nvcc.options": "-O3",
        "far.h": "",
        "near.h": '#include "far.h"',
        "a.cu": '#include "near.h"',
        "b.cu": "//",
    }
    for name, text in texts.items():
        (folder / name).write_text(text)
    monkeypatch.setattr(build, "ROOT", tmp_path)
    return lambda: build.Nvcc(str(cuda_home / "bin" / "nvcc"), tmp_path, tmp_path / "objects")


def test_what_changed_is_compiled_and_no_more(nvcc, tmp_path, cuda_home):
    """Objects are found by what they were made of: headers, options, whoever touches the files."""

    def compiled() -> set[str]:
        (cuda_home / "bin" / "calls").write_text("")
        compiler = nvcc()
        objects = [compiler.compiled(source) for source in compiler.sources()]
        assert all(path.exists() for path in objects)
        assert {path.with_suffix(".log").read_text() for path in objects} == {
            f"ptxas info: of {name}\n" for name in ("a.cu", "b.cu")
        }
        calls = (cuda_home / "bin" / "calls").read_text()
        return {name for name in ("a.cu", "b.cu") if name in calls}

    folder = tmp_path / "cuda_ext" / "cuda"
    assert compiled() == {"a.cu", "b.cu"}
    (folder / "a.cu").touch()
    assert compiled() == set()
    (folder / "far.h").write_text("// changed")
    assert compiled() == {"a.cu"}
    (folder / "nvcc.options").write_text("-O2")
    assert compiled() == {"a.cu", "b.cu"}
    (folder / "nvcc.options").write_text("-O3")
    assert compiled() == set()


def test_a_compiler_that_fails_says_what_leaves_it_out(nvcc, tmp_path):
    source = tmp_path / "cuda_ext" / "cuda" / "a.cu"
    source.write_text("MISTAKE")
    with pytest.raises(SystemExit, match=r"(?s)a\.cu\(1\): error: a mistake.*NEURAL3D_CUDA=0 leaves CUDA out"):
        nvcc().compiled(source)
    assert not list((tmp_path / "objects").glob("*.o"))


@pytest.fixture(scope="module")
def tree(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sources, and the CPU's objects that this checkout has already."""
    if not (repository / "build" / "native").exists():
        pytest.skip("the objects of a build in this folder are not at hand")
    target = tmp_path_factory.mktemp("tree")
    wanted = [
        *repository.glob("*.*"),
        *(repository / name for name in ("neural3d", "viewer", "scenes", "cuda_ext", "LICENSE")),
    ]
    for path in wanted:
        if path.is_dir() and path.suffix == "":
            shutil.copytree(path, target / path.name, ignore=shutil.ignore_patterns("*.so", "__pycache__"))
        elif path.is_file():
            shutil.copy2(path, target / path.name)
    shutil.copytree(repository / "build" / "native", target / "build" / "native", ignore=shutil.ignore_patterns("cuda"))
    return target


def _run_setup(tree: Path, *arguments: str, **environment: str) -> None:
    command = [sys.executable, "setup.py", "-q", *arguments]
    answer = subprocess.run(command, cwd=tree, env=os.environ | environment, capture_output=True, text=True)
    assert answer.returncode == 0, answer.stdout + answer.stderr


@pytest.mark.parametrize("choice", ["0", "1", ""])
def test_the_wheel_carries_what_was_built(build, tree, cuda_home, tmp_path, choice):
    """With nvcc at hand both libraries, unless CUDA is declined; the tag is that of all of them."""
    arguments = ["bdist_wheel", "--dist-dir", str(tmp_path), "--bdist-dir", str(tmp_path / "work")]
    _run_setup(tree, *arguments, NEURAL3D_CUDA=choice, CUDA_HOME=str(cuda_home))
    shutil.rmtree(tree / "build" / "lib", ignore_errors=True)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        libraries = {name: archive.read(name) for name in archive.namelist() if name.endswith(".so")}
    assert set(libraries) == {"neural3d/_native.so"} | ({"neural3d/_native_cuda.so"} if choice != "0" else set())
    assert f"-py3-none-{build.manylinux(b''.join(libraries.values()))}_" in wheel.name


def test_in_place_it_is_built_for_a_torch_that_can_load_it(build, tree, cuda_home):
    for choice, built in (("", build.torch_has_cuda(build.torch_folder())), ("1", True), ("0", False)):
        (tree / "neural3d" / "_native_cuda.so").unlink(missing_ok=True)
        _run_setup(tree, "build_ext", "--inplace", NEURAL3D_CUDA=choice, CUDA_HOME=str(cuda_home))
        assert (tree / "neural3d" / "_native.so").exists()
        assert (tree / "neural3d" / "_native_cuda.so").exists() == built, choice
