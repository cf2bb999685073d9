"""The folder that a machine without a network gets: what it holds, and that it is enough."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from PIL import Image

from neural3d.capture import load_capture
from neural3d.errors import InputError


@pytest.fixture(scope="module")
def bundle(repository: Path) -> Iterator[ModuleType]:
    """benchmarks/gpu_bundle.py."""
    sys.path.insert(0, str(repository / "benchmarks"))
    yield import_module("gpu_bundle")
    sys.path.remove(str(repository / "benchmarks"))


def test_wheels_are_all_that_a_machine_with_torch_and_numpy_lacks(bundle):
    needed = bundle.closure(bundle.NEEDED, without=bundle.THERE)
    assert set(bundle.NEEDED) <= set(needed)
    assert {"wadler-lindig", "kornia-rs", "pluggy", "iniconfig", "sortedcontainers", "docstring-parser"} <= set(needed)
    assert not {"torch", "numpy", "sympy", "filelock", "viser", "imageio-ffmpeg"} & set(needed)
    assert all(re.fullmatch(r"[\w-]+==[\w.]+", pin) for pin in bundle.pins(needed))
    with pytest.raises(InputError, match=r"constraints.txt: no version of nothing-of-the-kind; add it"):
        bundle.pins(["nothing-of-the-kind"])


MEASURES = "import neural3d.bench.gpu.__main__, neural3d.cli, neural3d.train.splats, gsplat, nerfacc"
TESTS = """
import pytest
from gpu_plan import PLUGINS, Options, Path, parts_of
words = [word for part in parts_of("test", Options(), output=Path()) for word in part.command]
tests = [word for word in words if word.startswith("tests/")]
plugins = [word for plugin in PLUGINS for word in ("-p", plugin)]
assert len(tests) == 3
sys.exit(pytest.main(["-q", "--collect-only", "-p", "no:cacheprovider", *plugins, *tests]))
"""


@pytest.mark.parametrize("does", [MEASURES, TESTS], ids=["measures", "tests"])
def test_what_is_done_there_imports_nothing_that_is_left_out(bundle, repository, does):
    """In a process in which the left-out packages cannot be imported; tests are collected as a step's part does it."""
    needed = {name.replace("-", "_") for name in bundle.closure(bundle.NEEDED, without=())}
    modules = needed | {"PIL", "_pytest", "py", "markdown_it", "google", "torchgen", "pkg_resources"}
    program = f"""
import sys
from importlib.machinery import PathFinder
known, inside = {sorted(modules)!r}, "site-packages"
class Refuse:
    def find_spec(self, name, path=None, target=None):
        spec = None if "." in name or name in known else PathFinder.find_spec(name, path)
        if spec is not None and spec.origin and inside in spec.origin and not name.startswith(("_", "neural3d")):
            raise ModuleNotFoundError("the bundle lacks " + name, name=name)
sys.meta_path.insert(0, Refuse())
sys.path.insert(0, "benchmarks")
{does}
"""
    environment = os.environ | {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    command = [sys.executable, "-c", program]
    answer = subprocess.run(command, capture_output=True, text=True, cwd=repository, env=environment)
    assert answer.returncode == 0, answer.stdout[-5000:] + answer.stderr


@pytest.mark.parametrize("transparent", [True, False])
def test_photos_are_halved_and_cameras_with_them(bundle, tmp_path, transparent):
    """Both captures show the same, pixel by pixel and ray by ray."""
    source = tmp_path / "capture"
    (source / "photos").mkdir(parents=True)
    pose = [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 3], [0, 0, 0, 1]]
    suffix = "png" if transparent else "jpg"
    for index in range(4):
        y, x = np.mgrid[:32, :48]
        colors = np.stack([4 * x, 7 * y, 3 * (x + y) % 256], axis=-1) // (index + 1)
        alpha = np.where(x < 20, 255, 128)[..., None]
        pixels = np.concatenate([colors, alpha], axis=-1) if transparent else colors
        Image.fromarray(pixels.astype(np.uint8)).save(source / "photos" / f"{index}.{suffix}")
    name = (lambda i: f"./photos/{i}") if transparent else (lambda i: f"photos/{i}.{suffix}")
    frames = [{"file_path": name(i), "transform_matrix": pose} for i in range(4)]
    lens = {"fl_x": 60.0, "fl_y": 50.0, "cx": 23.0, "cy": 17.0, "w": 48, "h": 32}
    (source / "transforms.json").write_text(json.dumps({**lens, "frames": frames}))
    bundle.halve_capture(source, tmp_path / "halved", ("transforms.json",))
    expected, found = load_capture(source, downscale=2), load_capture(tmp_path / "halved", downscale=1)
    for one, other in zip(found.photos, expected.photos, strict=True):
        assert one.pixels.shape == (16, 24, 3)
        difference = (one.pixels.int() - other.pixels.int()).abs()
        assert difference.max() <= (2 if transparent else 24) and difference.float().mean() < 3
        assert (one.alpha is None) == (not transparent)
    for field in ("focal_px", "principal_px", "size_px", "camera_from_world"):
        assert getattr(found.cameras, field).tolist() == getattr(expected.cameras, field).tolist()


def test_sources_are_enough_to_build_and_test(bundle, tmp_path):
    bundle.pack_sources(tmp_path / "src")
    packed = {path.relative_to(tmp_path / "src").as_posix() for path in (tmp_path / "src").rglob("*") if path.is_file()}
    wanted = {"setup.py", "pyproject.toml", "cuda_ext/cuda/bin.cu", "cuda_ext/cuda/nvcc.options", "tests/conftest.py"}
    assert wanted | {"benchmarks/gpu_check.py", "neural3d/bench/gpu/training.py", "tests/emulator/fibre.h"} <= packed
    assert not [name for name in packed if name.endswith((".so", ".webp", ".pyc"))]
    assert re.fullmatch(r"[0-9a-f]{12}(\+changes)?\n", (tmp_path / "src" / "commit.txt").read_text())
    assert bundle.size_of(tmp_path / "src") < 6 << 20


def test_the_page_has_three_lines_and_the_script_is_sound(bundle, repository, tmp_path):
    bundle.write_scripts(tmp_path / "bundle")
    page = (tmp_path / "bundle" / "RUN.md").read_text(encoding="utf-8")
    assert len([line for line in page.splitlines() if line and not line.startswith("#")]) == 3
    script = tmp_path / "bundle" / "run.sh"
    assert subprocess.run(["bash", "-n", script]).returncode == 0
    unknown = subprocess.run([script], capture_output=True, text=True)
    assert unknown.returncode != 0 and "say which step" in unknown.stderr


def test_only_a_bundle_is_replaced(bundle, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").write_text("dear")
    with pytest.raises(InputError, match="no bundle of ours"):
        bundle.pack(tmp_path / "mine", tmp_path)
    assert (tmp_path / "mine" / "letter.txt").read_text() == "dear"
    with pytest.raises(InputError, match="NEURAL3D_DATA or --data"):
        bundle.halve_capture(tmp_path / "gone", tmp_path / "x", ())
