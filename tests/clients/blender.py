"""Blender as a Python module, where it is: in this environment, or in another one that NEURAL3D_BLENDER names.

pip install bpy wants an older numpy than ours, so it is at home in an environment of its own.
"""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

REPOSITORY = Path(__file__).parents[2]
_PROBE = Path(__file__).with_name("blender_probe.py")


def blender_python() -> str:
    """The interpreter that has bpy."""
    named = os.environ.get("NEURAL3D_BLENDER")
    if named:
        return named
    if importlib.util.find_spec("bpy") is None:
        pytest.skip("needs Blender: pip install bpy into an environment, and NEURAL3D_BLENDER=its python")
    return sys.executable


def run_blender(script: str | Path, *arguments: str | Path) -> str:
    """A script in Blender; what it says."""
    command = [blender_python(), str(script), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def probe(kind: str, path: Path, *arguments: Any) -> Any:
    """What Blender makes of a file."""
    said = run_blender(_PROBE, kind, path, *map(json.dumps, arguments))
    return json.loads(next(line for line in said.splitlines() if line.startswith("FOUND ")).removeprefix("FOUND "))
