"""The package without its native library, and the library without Python."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

LIBRARIES = ("_native.so", "_native.dll")


@pytest.fixture(scope="module")
def package_without_library(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for PYTHONPATH in which the package was never built."""
    folder = tmp_path_factory.mktemp("unbuilt")
    shutil.copytree(
        repository / "neural3d", folder / "neural3d", ignore=shutil.ignore_patterns(*LIBRARIES, "__pycache__")
    )
    return folder


def _run(code: str, folder: Path) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONPATH": str(folder)}
    return subprocess.run([sys.executable, "-c", code], cwd=folder, env=environment, capture_output=True, text=True)


def test_everything_but_the_operators_works_unbuilt(package_without_library):
    code = "import neural3d as n, neural3d.reference.project; n.load_capture, n.Gaussians; print(n.__file__)"
    answer = _run(code, package_without_library)
    assert answer.returncode == 0, answer.stderr
    assert Path(answer.stdout.strip()).is_relative_to(package_without_library)


def test_the_first_operator_says_how_to_build(package_without_library):
    code = """
import torch
from neural3d.ops.sh import sh_colors
sh_colors(means_world=torch.zeros(1, 3), sh=torch.zeros(1, 1, 3), camera_center_world=torch.zeros(3), degree=0)
"""
    answer = _run(code, package_without_library)
    assert answer.returncode == 1
    assert re.search(r"ImportError: .*native library is missing.*pip install", answer.stderr), answer.stderr


def test_the_library_knows_no_python(repository):
    """One file serves every Python: it neither calls Python nor exports a module for one version of it."""
    (library,) = (path for path in (repository / "neural3d" / name for name in LIBRARIES) if path.exists())
    assert not re.findall(rb"\0_?Py[A-Z_]\w+\0", library.read_bytes())
