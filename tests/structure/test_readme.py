"""What the README, CONTRIBUTING and the pages in docs/ say is there is there."""

import ast
import re
import shlex
from pathlib import Path

import pytest

import neural3d
from neural3d.cli.options import parse
from neural3d.errors import InputError

PAGES = ("nerf", "vfx", "priors")
NEEDS_NO_LINE = {"README.md", "LICENSE", "runs", "out", "build", "dist", "node_modules"}


@pytest.fixture(scope="module")
def readme(repository: Path) -> str:
    return (repository / "README.md").read_text(encoding="utf-8")


def _blocks(text: str, language: str) -> list[str]:
    """The texts of the fenced blocks of one language."""
    blocks = re.findall(r"^```(\w*)\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL)
    return [block for fence, block in blocks if fence == language]


def _command_lines(text: str, program: str) -> list[list[str]]:
    lines = [line for block in _blocks(text, "sh") for line in block.splitlines()]
    return [shlex.split(line, comments=True)[1:] for line in lines if line.startswith(f"{program} ")]


@pytest.mark.parametrize(("page", "least"), [("README.md", 20), *((f"docs/{name}.md", 3) for name in PAGES)])
def test_every_command_line_is_understood(repository: Path, page: str, least: int):
    command_lines = _command_lines((repository / page).read_text(encoding="utf-8"), "neural3d")
    assert len(command_lines) >= least
    for arguments in command_lines:
        assert parse(arguments)


def test_every_page_is_linked_and_every_link_leads_somewhere(repository: Path):
    pages = [repository / "README.md", repository / "CONTRIBUTING.md", *(repository / "docs").glob("*.md")]
    linked = set()
    for page in pages:
        for target in re.findall(r"\]\((?!https?://)([^)#]*)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
            found = (page.parent / target).resolve() if target else page
            assert found.exists(), f"{page.name}: {target}"
            linked.add(found)
    assert {page for page in pages if page.parent.name == "docs"} <= linked


def test_a_command_line_that_is_wrong_is_not():
    with pytest.raises(InputError, match="photos/"):
        parse(["train", "splat", "photos/", "--output", "runs/mine"])


def test_every_make_target_exists(readme, repository):
    makefile = (repository / "Makefile").read_text(encoding="utf-8")
    targets = {arguments[0] for arguments in _command_lines(readme, "make")}
    assert targets >= {"demo", "test"}
    assert not [target for target in targets if not re.search(rf"^{target}:", makefile, flags=re.MULTILINE)]


def test_the_tree_is_the_repository(repository):
    text = (repository / "CONTRIBUTING.md").read_text(encoding="utf-8")
    (block,) = (block for block in _blocks(text, "") if "pyproject.toml" in block)
    folders: list[str] = []
    listed = set()
    for line in block.splitlines():
        depth = (len(line) - len(line.lstrip())) // 2
        name = line.split()[0]
        folders[depth:] = [name.rstrip("/")]
        listed.add("/".join(folders))
    assert not [path for path in listed if not (repository / path).exists()], "the tree names what is not there"

    there = {path.name for path in repository.iterdir() if not path.name.startswith(".")}
    there |= {f"neural3d/{path.name}" for path in (repository / "neural3d").iterdir() if _is_part(path)}
    missing = {path for path in there if path not in listed | NEEDS_NO_LINE and not path.endswith(".egg-info")}
    assert not missing, f"give these a line in the tree of CONTRIBUTING.md: {sorted(missing)}"


def _is_part(path: Path) -> bool:
    return path.suffix == ".py" if path.is_file() else path.name != "__pycache__"


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md"])
def test_the_examples_use_names_that_exist(repository: Path, page: str):
    used = {
        node.attr
        for example in _blocks((repository / page).read_text(encoding="utf-8"), "python")
        for node in ast.walk(ast.parse(example))
        if isinstance(node, ast.Attribute) and ast.unparse(node.value) == "neural3d"
    }
    assert used
    assert not used - set(neural3d.__all__)
