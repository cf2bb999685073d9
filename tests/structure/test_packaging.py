"""What leaves as a wheel or as sources is what was meant to."""

import importlib.util
import re
import shutil
import subprocess
import sys
import tarfile
import time
from pathlib import Path
from types import ModuleType

import pytest
import setuptools

STAYS = shutil.ignore_patterns(
    ".*", "build", "dist", "runs", "out", "node_modules", "__pycache__", "*.egg-info", "*.so", "*.dll"
)
ON_LINUX = pytest.mark.skipif(sys.platform != "linux", reason="only a Linux library says which system it needs")


def _setup(repository: Path) -> ModuleType:
    """setup.py as a module."""
    spec = importlib.util.spec_from_file_location("neural3d_setup", repository / "setup.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def build(repository: Path) -> ModuleType:
    return _setup(repository)


@pytest.fixture(scope="module")
def library(repository: Path) -> Path:
    return repository / "neural3d" / "_native.so"


def test_the_source_distribution_is_the_repository(repository, tmp_path):
    shutil.copytree(repository, tmp_path / "tree", ignore=STAYS)
    files = {path.relative_to(tmp_path / "tree") for path in (tmp_path / "tree").rglob("*") if path.is_file()}
    assert {Path("cuda_ext/cpu/simd.h"), Path("scenes/teatime/transforms.json")} <= files
    command = [sys.executable, "setup.py", "-q", "sdist", "--dist-dir", str(tmp_path)]
    answer = subprocess.run(command, cwd=tmp_path / "tree", capture_output=True, text=True)
    assert answer.returncode == 0, answer.stderr
    (archive,) = tmp_path.glob("*.tar.gz")
    with tarfile.open(archive) as tar:
        packed = {Path(*Path(name).parts[1:]) for name in tar.getnames()}
    assert not files - packed, "MANIFEST.in leaves these out"


@ON_LINUX
def test_the_wheels_tag_asks_for_the_systems_that_the_library_needs(build, library):
    """What the linker's own tool finds is no newer than what that system brings."""
    if shutil.which("readelf") is None:
        pytest.skip("readelf is not installed")
    listing = subprocess.run(["readelf", "-VW", library], capture_output=True, text=True, check=True).stdout
    needs = listing[listing.index("Version needs section") :]
    found = {
        name: max(tuple(map(int, version.split("."))) for version in re.findall(rf"Name: {name}_([0-9.]+)", needs))
        for name in ("GLIBC", "GLIBCXX", "CXXABI")
    }
    assert build.needed_versions(library.read_bytes()) == found
    system = tuple(map(int, re.fullmatch(r"manylinux_(\d+)_(\d+)", build.manylinux(library.read_bytes())).groups()))
    brings = max(entry for entry in build.SYSTEMS if entry[0] <= system)[1]
    assert found["GLIBC"] <= system
    assert all(found[name] <= version for name, version in brings.items())


@pytest.mark.parametrize(
    ("symbols", "tag"),
    [
        (b"\0GLIBC_2.2.5\0GLIBC_2.14\0", "manylinux_2_17"),
        (b"\0GLIBC_2.29\0GLIBCXX_3.4.9\0GLIBCXX_3.4.21\0", "manylinux_2_29"),
        (b"\0GLIBC_2.14\0GLIBCXX_3.4.30\0", "manylinux_2_35"),
        (b"\0GLIBC_2.36\0GLIBCXX_3.4.30\0CXXABI_1.3.14\0", "manylinux_2_39"),
        (b"\0GLIBC_2.36\0GLIBCXX_3.4.99\0", None),
        (b"\0libc.musl-x86_64.so.1\0GLIBCXX_3.4.21\0", None),
    ],
)
def test_the_oldest_system_that_brings_it_all(build, symbols, tag):
    assert build.manylinux(symbols) == tag


class FakeCompiler:
    """Writes empty objects, and may edit a header meanwhile."""

    def __init__(self) -> None:
        self.compiled: list[str] = []
        self.edit: Path | None = None

    def object_filenames(self, sources, output_dir):
        return [str(Path(output_dir) / f"{Path(source).stem}.o") for source in sources]

    def compile(self, sources, output_dir, **_):
        self.compiled += sources
        (path,) = map(Path, self.object_filenames(sources, output_dir))
        path.parent.mkdir(parents=True, exist_ok=True)
        if self.edit is not None:
            time.sleep(0.01)
            self.edit.touch()
            time.sleep(0.01)
        path.touch()

    def link_shared_object(self, objects, *_, **__):
        self.linked = objects


def test_what_changed_is_compiled_and_no_more(build, tmp_path, monkeypatch):
    """An edit while the compiler runs included: the object may or may not have seen it."""
    names = ["setup.py", "cuda_ext/ops.cpp", "cuda_ext/cpu/a.cpp", "cuda_ext/cpu/b.h", "cuda_ext/cpu/kernels/c.cpp"]
    for path in (tmp_path / name for name in names):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    monkeypatch.setattr(build, "ROOT", tmp_path)
    monkeypatch.chdir(tmp_path)
    extension = setuptools.Extension("neural3d._native", sources=[])
    command = build.BuildNative(setuptools.Distribution({"ext_modules": [extension]}))
    command.ensure_finalized()
    command.compiler = FakeCompiler()

    def compiled() -> set[str]:
        command.compiler.compiled = []
        time.sleep(0.02)  # file systems' clocks are coarse
        command.build_extensions()
        time.sleep(0.02)
        return {Path(source).name for source in command.compiler.compiled}

    assert compiled() == {"ops.cpp", "a.cpp", "c.cpp"}
    assert len(command.compiler.linked) == 2 + len(build.INSTRUCTION_SETS)
    assert compiled() == set()
    (tmp_path / "cuda_ext/cpu/a.cpp").touch()
    assert compiled() == {"a.cpp"}
    command.compiler.edit = tmp_path / "cuda_ext/cpu/b.h"
    command.compiler.edit.touch()
    assert compiled() == {"ops.cpp", "a.cpp", "c.cpp"}
    command.compiler.edit = None
    assert "c.cpp" in compiled(), "the header was edited while it compiled"
    assert compiled() == set()


@ON_LINUX
def test_no_loop_for_one_processor_can_be_linked_in_for_another(repository):
    """Weak symbols are merged: the copy compiled for AVX-512 could become everybody's."""
    objects = [str(path) for path in sorted((repository / "build" / "native").glob("*/cuda_ext/cpu/kernels/*.o"))]
    if not objects or shutil.which("nm") is None:
        pytest.skip("the objects of a build in this folder are not at hand")
    symbols = subprocess.run(["nm", "-A", *objects], capture_output=True, text=True, check=True).stdout
    assert not re.findall(r".* [VWuvw] .*", symbols)


@pytest.mark.parametrize("machine", ["arm64", "x86_64"])
def test_a_universal_python_builds_this_machines_slice(machine, repository, monkeypatch):
    """Given an -arch, the standard library takes the two of a universal Python away."""
    osx = pytest.importorskip("_osx_support")
    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setattr("platform.machine", lambda: machine)
    build = _setup(repository)
    universal = ["clang", "-arch", "x86_64", "-arch", "arm64", "-O2"]
    for flags in (build.COMMON, build.LINK):
        command = osx.compiler_fixup(universal, flags) + flags
        assert [command[i + 1] for i, flag in enumerate(command) if flag == "-arch"] == [machine]
    assert ("avx2" in build.INSTRUCTION_SETS) == (machine == "x86_64")
