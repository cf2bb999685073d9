"""What goes wrong in a thread reaches the caller: the process goes on, and so does the next loop."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SOURCES = Path(__file__).parents[2] / "cuda_ext" / "cpu"
PROGRAM = Path(__file__).parent / "scripts" / "throwing_pieces.cpp"


@pytest.mark.skipif(sys.platform != "linux" or shutil.which("g++") is None, reason="needs g++ on Linux")
def test_exceptions_come_through_and_missing_threads_are_done_without(tmp_path):
    files = [str(PROGRAM), str(SOURCES / "threads.cpp")]
    options = ["-std=c++20", "-O1", "-pthread", f"-I{SOURCES}", "-o", str(tmp_path / "program"), "-ldl"]
    subprocess.run(["g++", *files, *options], check=True)
    done = subprocess.run([tmp_path / "program"], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, f"{done.returncode}: {done.stderr}"
