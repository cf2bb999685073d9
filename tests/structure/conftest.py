"""The sources as the structure tests see them: every module of the package by its dotted name."""

import ast
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pytest


@dataclass(frozen=True)
class Source:
    """One Python file."""

    name: str
    """Dotted name (`neural3d.ops.project`), or the path for files outside the package."""
    path: Path

    @cached_property
    def tree(self) -> ast.Module:
        return ast.parse(self.path.read_text(encoding="utf-8"), filename=str(self.path))

    def imports(self, *, at_top_level: bool = False) -> set[str]:
        """Dotted names that the file imports: modules, and what is taken from them.

        With `at_top_level`, only those that run when the file itself is imported, outside `if TYPE_CHECKING`.
        """
        nodes = _top_level_nodes(self.tree) if at_top_level else ast.walk(self.tree)
        return {name for node in nodes for name in _imported_names(node, self)}


def _top_level_nodes(tree: ast.AST) -> list[ast.AST]:
    """Nodes that run on import: function bodies are left out, class bodies and conditions are not."""
    nodes: list[ast.AST] = []
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            continue
        nodes += [node, *_top_level_nodes(node)]
    return nodes


def _imported_names(node: ast.AST, source: Source) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        base = _absolute(node, source)
        return [base, *(f"{base}.{alias.name}" for alias in node.names)]
    return []


def _absolute(node: ast.ImportFrom, source: Source) -> str:
    """The module an import starts from, with leading dots resolved."""
    if not node.level:
        return node.module or ""
    package = source.name if source.path.name == "__init__.py" else source.name.rpartition(".")[0]
    parents = package.split(".")[: len(package.split(".")) - node.level + 1]
    return ".".join([*parents, *([node.module] if node.module else [])])


def _package(root: Path, name: str) -> list[Source]:
    sources = []
    for path in sorted(root.rglob("*.py")):
        parts = path.relative_to(root).with_suffix("").parts
        parts = parts[:-1] if parts[-1] == "__init__" else parts
        sources.append(Source(".".join([name, *parts]), path))
    return sources


@pytest.fixture(scope="session")
def package(repository: Path) -> list[Source]:
    """Every module of the installed package, the viewer under the name it is installed as."""
    return _package(repository / "neural3d", "neural3d") + _package(repository / "viewer", "neural3d.viewer")


@pytest.fixture(scope="session")
def all_sources(repository: Path, package: list[Source]) -> list[Source]:
    """The package, and every other Python file of the repository."""
    folders = ("benchmarks", "scenes", "tests", "examples")
    others = [path for folder in folders for path in sorted((repository / folder).rglob("*.py"))]
    others += sorted(repository.glob("*.py"))
    return package + [Source(str(path.relative_to(repository)), path) for path in others]


@pytest.fixture
def source_from_text(tmp_path: Path) -> Callable[[str, str], Source]:
    """Make a source of a given name and text: what the detectors of these tests are themselves tested on."""

    def make(name: str, text: str) -> Source:
        path = tmp_path / f"{name.rpartition('.')[2]}.py"
        path.write_text(text, encoding="utf-8")
        return Source(name, path)

    return make
