"""The operators' tests under the address and undefined-behaviour sanitizers: no byte of foreign memory is touched."""

import subprocess
import sys

import pytest

from .build import build, operators_sources, sanitized_environment

TESTS = ["tests/ops", *(f"tests/emulator/test_{name}.py" for name in ("operators", "modes", "bin", "rasterize"))]
REPEATED = ("determinism", "derivative", "threads_change", "order_of_threads_changes", "longer_segments", "torchs_adam")
"""What touches no memory that other tests of the same drivers do not, and takes long under sanitizers."""
CHOICE = f"(emulator or emulated) and not ({' or '.join(REPEATED)})"


@pytest.mark.early
def test_the_drivers_under_the_sanitizers(repository):
    build("neural3d_emulated", operators_sources(), sanitized=True)  # here, where the compiler runs without them
    command = [sys.executable, "-m", "pytest", *TESTS, "-k", CHOICE, "-q", "-p", "no:cacheprovider"]
    result = subprocess.run(
        command, cwd=repository, env=sanitized_environment(), capture_output=True, text=True, timeout=1200
    )
    assert result.returncode == 0, result.stdout[-10000:] + result.stderr[-10000:]
