"""What torch wants of an operator (schema, fake, gradient, compile), and what wrong arguments are answered."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).parent / "scripts"


@pytest.mark.parametrize("script", ["opcheck.py", "compiled_render.py", "wrong_arguments.py", "reference_alone.py"])
def test_without_the_hook_that_checks_annotations(repository, script):
    """The hook would stop torch.compile, and would answer before the operators do; so these run on their own."""
    command = [sys.executable, "-W", "error", str(SCRIPTS / script)]
    result = subprocess.run(command, cwd=repository, capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.parametrize("forced, answer", [("baseline", "baseline"), ("sse9", "NEURAL3D_SIMD: expected avx512, avx2")])
def test_the_environment_chooses_the_instruction_set(repository, forced, answer):
    program = "from neural3d.ops.library import native; print(native().simd())"
    environment = os.environ | {"NEURAL3D_SIMD": forced}
    result = subprocess.run(
        [sys.executable, "-c", program], cwd=repository, env=environment, capture_output=True, text=True, timeout=300
    )
    assert (result.returncode == 0) == (forced == answer)
    assert answer in result.stdout + result.stderr
