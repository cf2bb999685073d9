"""The script for Nuke, read as Nuke reads it: nodes take their inputs from a stack, the last pushed first."""

import re
from pathlib import Path


def nodes_of(text: str) -> dict[str, tuple[dict[str, str], list[str]]]:
    """By name: the values of its knobs, and the names of its inputs, B before A."""
    stack: list[str] = []
    variables: dict[str, str] = {}
    found: dict[str, tuple[dict[str, str], list[str]]] = {}
    pattern = r"^(?:set (?P<set>\w+) \[stack 0\]|push \$(?P<push>\w+)|(?P<kind>\w+) \{\n(?P<body>(?: .*\n)*)\})$"
    for match in re.finditer(pattern, text, flags=re.MULTILINE):
        if match["set"]:
            variables[match["set"]] = stack[-1]
        elif match["push"]:
            stack.append(variables[match["push"]])
        elif match["kind"] != "Root":
            knobs = dict(line.strip().split(" ", 1) for line in match["body"].splitlines())
            inputs = [stack.pop() for _ in range(int(knobs.get("inputs", "1")))]
            found[knobs["name"]] = (knobs, inputs)
            stack.append(knobs["name"])
    return found


def test_the_scene_goes_over_the_plate(repository: Path) -> None:
    nodes = nodes_of((repository / "docs" / "vfx" / "composite.nk").read_text())
    (merge,) = (name for name in nodes if name.startswith("SceneOver"))
    knobs, inputs = nodes[merge]
    assert inputs == ["Plate", "Scene"], "Nuke's B is the first input, and A lies over it"
    assert knobs["operation"] == "over"
    assert nodes["Viewer1"][1] == [merge]
    assert nodes["Scene"][0]["raw"] == "true", "its light is linear already"
