"""Imports go one way, and optional or slow libraries are imported only where they are asked for."""

import os
import re
import subprocess
import sys
from collections import defaultdict
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

# Bottom to top: a module imports from its own layer and the layers above it in this list, never from those below.
LAYERS = (
    ("errors", "cameras", "scene", "storage", "locks", "ply_vertices", "idle_threads", "srgb"),
    ("ops", "reference"),
    ("devices", "splats", "fields", "capture", "metrics", "checkpoints", "run"),
    ("render",),
    ("train", "surface", "priors", "evaluation"),
    ("texture",),
    ("export",),
    ("cli", "viewer", "bench", "__main__"),
)
LAYER_FROM_PART = {part: layer for layer, parts in enumerate(LAYERS) for part in parts}

# Imported inside the function that needs them: optional, slow, or compiling on import.
ON_REQUEST = {"gsplat", "nerfacc", "open3d", "pycolmap", "pxr", "bpy", "pi_heif", "rawpy", "diffusers", "transformers"}
# Run in a process of their own, and imported by each other alone.
PROGRAMS = {f"neural3d.capture.ingest.colmap_{name}" for name in ("worker", "refine", "align", "tree")}
ONLY_IN = {"tyro": ("neural3d.cli",), "viser": ("neural3d.viewer",)}


def _part(name: str) -> str:
    """`train` of `neural3d.train.splats`."""
    return name.split(".")[1] if "." in name else ""


def _parts_used(source) -> set[str]:
    """Parts of the package that a source imports from, other than its own."""
    used = {_part(name) for name in source.imports() if name.startswith("neural3d.") and name != "neural3d.__version__"}
    return used - {_part(source.name), ""}


def _begins_with(name: str, modules: tuple[str, ...] | set[str]) -> bool:
    return any(name == module or name.startswith(module + ".") for module in modules)


def test_every_part_has_a_layer(package):
    unknown = {source.name for source in package if _part(source.name) not in {"", *LAYER_FROM_PART}}
    unknown |= {f"{s.name} -> neural3d.{part}" for s in package for part in _parts_used(s) - set(LAYER_FROM_PART)}
    assert not unknown, (
        f"give these a place in LAYERS, or import from the module that defines the name: {sorted(unknown)}"
    )


def test_imports_go_one_way(package):
    wrong = [
        f"{source.name} -> neural3d.{part}"
        for source in package
        for part in _parts_used(source)
        if LAYER_FROM_PART.get(part, 0) > LAYER_FROM_PART.get(_part(source.name), 0)
    ]
    assert not wrong, f"these import from a layer above their own: {wrong}"


def test_no_two_parts_import_each_other(package):
    graph = defaultdict(set)
    for source in package:
        graph[_part(source.name)] |= _parts_used(source)
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(f"parts import each other: {' -> '.join(error.args[1])}")


def test_the_viewer_sees_no_insides_of_training(package):
    allowed = {"neural3d.train", "neural3d.train.observer"}
    wrong = [
        f"{source.name} -> {name}"
        for source in package
        if _begins_with(source.name, {"neural3d.viewer"})
        for name in source.imports()
        if _begins_with(name, {"neural3d.train"})
        and name not in allowed
        and not _begins_with(name, {"neural3d.train.observer"})
    ]
    assert not wrong, f"the viewer knows records, render functions and the observer protocol only: {wrong}"


def test_the_viewer_is_only_imported_as_part_of_the_package(all_sources):
    wrong = [source.name for source in all_sources for name in source.imports() if _begins_with(name, {"viewer"})]
    assert not wrong, (
        f"viewer/ is installed as neural3d.viewer; `import viewer` works by accident of the folder: {wrong}"
    )


def test_optional_libraries_are_imported_on_request(package):
    sources = [source for source in package if source.name not in PROGRAMS]
    wrong = [f"{s.name} -> {n}" for s in sources for n in s.imports(at_top_level=True) if _begins_with(n, ON_REQUEST)]
    assert not wrong, f"import these inside the function that needs them: {wrong}"
    assert not [s.name for s in sources if PROGRAMS & s.imports()], "a program runs in a process of its own"


@pytest.mark.parametrize("library", ONLY_IN)
def test_a_library_stays_in_its_place(package, library):
    wrong = [
        source.name
        for source in package
        if not _begins_with(source.name, ONLY_IN[library]) and any(_begins_with(n, {library}) for n in source.imports())
    ]
    assert not wrong, f"{library} belongs to {ONLY_IN[library]} alone, it is imported by {wrong}"


def test_commands_that_judge_nothing_do_not_wait_for_kornia(tmp_path: Path):
    code = "import sys, neural3d.cli.results, neural3d.cli.training; print('kornia' in sys.modules)"
    answer = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "False"


def test_importing_the_package_imports_no_torch(tmp_path: Path):
    code = "import sys, neural3d; assert neural3d.__version__; print('torch' in sys.modules)"
    answer = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "False"


@pytest.mark.parametrize(
    ("text", "at_top_level", "expected"),
    [
        ("from neural3d.ops.sh import sh_colors", True, {"neural3d.ops.sh", "neural3d.ops.sh.sh_colors"}),
        ("from . import math", True, {"neural3d.train", "neural3d.train.math"}),
        ("from ..ops import sh", True, {"neural3d.ops", "neural3d.ops.sh"}),
        ("def f():\n    import gsplat", True, set()),
        ("def f():\n    import gsplat", False, {"gsplat"}),
        ("class A:\n    import gsplat", True, {"gsplat"}),
        (
            "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import gsplat",
            True,
            {"typing", "typing.TYPE_CHECKING"},
        ),
    ],
)
def test_the_reader_of_imports(source_from_text, text, at_top_level, expected):
    assert source_from_text("neural3d.train.splats", text).imports(at_top_level=at_top_level) == expected


def test_the_table_for_people_is_the_table_for_machines(repository: Path):
    text = (repository / "CONTRIBUTING.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| \d+ \| ([^|]+) \|", text, flags=re.MULTILINE)
    assert tuple(tuple(row.replace("`", "").strip().split(", ")) for row in rows) == LAYERS


@pytest.mark.parametrize("given, expected", [(None, "PASSIVE"), ("ACTIVE", "ACTIVE")])
@pytest.mark.parametrize(
    "program", ["from neural3d.cli import main; main(['view', '/nowhere'])", "import neural3d.bench"]
)
def test_idle_threads_are_told_to_sleep_before_torch_comes_in(given: str | None, expected: str, program: str):
    """OpenMP reads the variable when torch loads it; set later it would change nothing."""
    watch = (
        "import builtins, os, sys; usual = builtins.__import__\n"
        "def tell(name, *rest):\n"
        "    if name == 'torch' and 'torch' not in sys.modules: print(os.environ.get('OMP_WAIT_POLICY'))\n"
        "    return usual(name, *rest)\n"
        "builtins.__import__ = tell\n"
    )
    environment = {name: value for name, value in os.environ.items() if name != "OMP_WAIT_POLICY"}
    environment |= {"OMP_WAIT_POLICY": given} if given else {}
    result = subprocess.run(
        [sys.executable, "-c", watch + program], capture_output=True, text=True, env=environment, timeout=300
    )
    assert result.stdout.split()[0] == expected, result.stderr
