"""Every name that a function uses exists: to the linter, shapes in annotations are names, too, so it cannot look."""

import builtins
import dis
import importlib
from collections.abc import Iterator
from types import CodeType

OF_EVERY_MODULE = {"__file__", "__name__", "__doc__", "__path__", "__spec__", "__annotations__"}


def code_in(code: CodeType) -> Iterator[CodeType]:
    """A module's code, and that of all its functions."""
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from code_in(constant)


def unknown_names(source: str, path: str, known: set[str]) -> list[str]:
    """Globals that are read and that nothing defines."""
    found, module = [], compile(source, path, "exec")
    known = known | {i.argval for i in dis.get_instructions(module) if i.opname == "STORE_NAME"}  # on another system
    for code in code_in(module):
        stored = {i.argval for i in dis.get_instructions(code) if i.opname in ("STORE_NAME", "STORE_GLOBAL")}
        for instruction in dis.get_instructions(code):
            reads = instruction.opname in ("LOAD_GLOBAL", "LOAD_NAME")
            if reads and instruction.argval not in known | stored | OF_EVERY_MODULE | set(dir(builtins)):
                found.append(f"{path}: {instruction.argval} in {code.co_name}")
    return found


def test_the_detector():
    assert unknown_names("def f():\n    return g()", "a.py", {"f"}) == ["a.py: g in f"]
    assert unknown_names("import os\ndef f():\n    return os.sep + str(h)", "a.py", {"os", "f", "h"}) == []
    assert unknown_names("class A:\n    x = 1\n    y = x + z", "a.py", {"A"}) == ["a.py: z in A"]


def test_every_name_is_known(repository):
    found = []
    for folder, package in (("neural3d", "neural3d"), ("viewer", "neural3d.viewer")):
        for path in sorted((repository / folder).rglob("*.py")):
            parts = path.relative_to(repository / folder).with_suffix("").parts
            name = ".".join([package, *(part for part in parts if part != "__init__")])
            if path.name == "__main__.py":
                continue
            try:
                module = importlib.import_module(name)
            except ModuleNotFoundError as error:
                if error.name is None or error.name.startswith("neural3d"):
                    raise
                continue  # an extra that is not installed
            found += unknown_names(
                path.read_text(encoding="utf-8"), str(path.relative_to(repository)), set(vars(module))
            )
    assert not found, "\n".join(found)
