"""What no file of the project contains."""

import ast
import re
from collections.abc import Collection
from pathlib import Path

import pytest

CAN_RUN_CODE = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}
EMPTY_NAMES = {"utils", "util", "helpers", "helper", "common", "misc", "tools", "stuff"}
MAX_LINES = 500
# Path: why this file may be longer. An entry that is not needed any more fails the test, too.
LONGER_FILES: dict[str, str] = {}
TEXT_SUFFIXES = {".py", ".cpp", ".h", ".cu", ".cuh", ".js", ".html", ".css"}
PROSE = {".md", ".toml", ".json", ".txt", ".in", ".yml", ".yaml"}
GENERATED = {".git", ".venv", "build", "dist", "node_modules", "__pycache__", "runs", "out"}


def _unsafe_loading(tree: ast.AST) -> list[str]:
    """Ways to read or write files that run code when they are opened."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import) and {alias.name.split(".")[0] for alias in node.names} & CAN_RUN_CODE:
            found.append(f"line {node.lineno}: {ast.unparse(node)}")
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in CAN_RUN_CODE:
            found.append(f"line {node.lineno}: {ast.unparse(node)}")
        if isinstance(node, ast.Call) and _is_unsafe_call(node):
            found.append(f"line {node.lineno}: {ast.unparse(node)[:60]}")
    return found


def _is_unsafe_call(node: ast.Call) -> bool:
    keywords = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
    function = ast.unparse(node.func)
    unsafe_load = function == "torch.load" and keywords.get("weights_only") != "True"
    return function == "torch.save" or unsafe_load or keywords.get("allow_pickle", "False") != "False"


def _swallowed_errors(tree: ast.AST) -> list[str]:
    """Handlers that do nothing, bare `except:`, and suppress(Exception)."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.ExceptHandler):
            silent = all(isinstance(s, ast.Pass) or ast.unparse(s) == "..." for s in node.body)
            if silent or node.type is None:
                found.append(f"line {node.lineno}: {ast.unparse(node).splitlines()[0]}")
        if isinstance(node, ast.Call) and re.fullmatch(
            r"(contextlib\.)?suppress\((Base)?Exception\)", ast.unparse(node)
        ):
            found.append(f"line {node.lineno}: {ast.unparse(node)}")
    return found


def _files(repository: Path, suffixes: Collection[str] = TEXT_SUFFIXES) -> list[Path]:
    files = (path for path in repository.rglob("*") if path.suffix in suffixes)
    return [path for path in files if not GENERATED & set(path.relative_to(repository).parts)]


def _in_all(sources, detector) -> list[str]:
    return [f"{source.name} {finding}" for source in sources for finding in detector(source.tree)]


def test_nothing_loads_files_that_run_code(package):
    assert not _in_all(package, _unsafe_loading)


def test_no_error_is_swallowed(all_sources):
    shipped = [source for source in all_sources if not source.name.startswith("tests/")]
    assert not _in_all(shipped, _swallowed_errors)


def test_nothing_is_left_for_later(repository):
    mark = re.compile(r"\b(TO" r"DO|FIX" r"ME|XX" r"X)\b")
    found = [str(path) for path in _files(repository) if mark.search(path.read_text(encoding="utf-8"))]
    assert not found


def test_no_registry_is_named(repository):
    """Installers know where to look, and a user's may look elsewhere."""
    host = re.compile(r"(py" r"pi|python" r"hosted|download\.py" r"torch|npm" r"js)\.(org|com)")
    files = [*_files(repository, TEXT_SUFFIXES | PROSE), repository / "Makefile", repository / ".ci" / "run"]
    assert not [str(path) for path in files if host.search(path.read_text(encoding="utf-8"))]


def test_annotations_are_evaluated(all_sources):
    found = [source.name for source in all_sources if "__future__.annotations" in source.imports()]
    assert not found, f"shapes are checked through annotations, and as strings they are not: {found}"


def test_names_say_what_a_file_is_for(repository):
    found = [
        path
        for path in _files(repository)
        if path.stem in EMPTY_NAMES or EMPTY_NAMES & set(path.relative_to(repository).parts)
    ]
    assert not found, f"name these after the stage they belong to: {found}"


def test_files_are_short_enough_to_read(repository):
    lines = {
        str(p.relative_to(repository)): len(p.read_text(encoding="utf-8").splitlines()) for p in _files(repository)
    }
    long_files = {path for path, count in lines.items() if count > MAX_LINES}
    assert long_files - set(LONGER_FILES) == set(), "split these, or give the reason in LONGER_FILES"
    assert set(LONGER_FILES) - long_files == set(), "these are short now: remove them from LONGER_FILES"


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("import pickle", 1),
        ("from pickle import loads", 1),
        ("torch.save(a, b)", 1),
        ("torch.load(a)", 1),
        ("torch.load(a, weights_only=False)", 1),
        ("torch.load(a, weights_only=True)", 0),
        ("numpy.load(a, allow_pickle=True)", 1),
        ("numpy.load(a, allow_pickle=False)", 0),
        ("safetensors.torch.load_file(a)", 0),
    ],
)
def test_the_detector_of_unsafe_loading(text, count):
    assert len(_unsafe_loading(ast.parse(text))) == count


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("try:\n    f()\nexcept ValueError:\n    pass", 1),
        ("try:\n    f()\nexcept ValueError:\n    ...", 1),
        ("try:\n    f()\nexcept:\n    g()", 1),
        ("try:\n    f()\nexcept ValueError:\n    g()", 0),
        ("with suppress(Exception):\n    f()", 1),
        ("with contextlib.suppress(FileNotFoundError):\n    f()", 0),
    ],
)
def test_the_detector_of_swallowed_errors(text, count):
    assert len(_swallowed_errors(ast.parse(text))) == count
