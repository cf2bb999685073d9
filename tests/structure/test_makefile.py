"""What `make test` does about system libraries that pip does not bring."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
PACKAGES = "libegl1 libgl1 libusb-1.0-0"


def program(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


@pytest.fixture
def make(repository: Path, tmp_path: Path):
    """Runs the target on a pretended Debian, whose apt-get writes down what it is asked for."""
    asked = tmp_path / "asked"

    def run(*, user: int, loads: bool, apt_fails: bool = False) -> tuple[subprocess.CompletedProcess[str], list[str]]:
        asked.write_text("")
        program(tmp_path / "bin" / "id", f"echo {user}")
        program(tmp_path / "bin" / "apt-get", f'echo "$@" >> {asked}; exit {int(apt_fails)}')
        program(tmp_path / "venv" / "bin" / "python", f"exit {int(not loads)}")
        around = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}  # of `make test`
        environment = around | {"PATH": f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}"}
        command = ["make", "-s", "-C", str(repository), f"VENV={tmp_path / 'venv'}", "open3d-libraries"]
        done = subprocess.run(command, capture_output=True, text=True, env=environment)
        return done, asked.read_text().splitlines()

    return run


def test_libraries_that_are_there_are_left_alone(make):
    done, asked = make(user=0, loads=True)
    assert (done.returncode, done.stderr, asked) == (0, "", [])


def test_missing_ones_are_installed_by_root(make):
    done, asked = make(user=0, loads=False)
    assert done.returncode == 0 and asked == ["update -q", f"install -y -q {PACKAGES}"]


def test_others_are_told_the_command_and_go_on(make):
    done, asked = make(user=1000, loads=False)
    assert done.returncode == 0 and asked == []
    assert f"sudo apt-get install -y {PACKAGES}\n" in done.stderr and "without Open3D" in done.stderr


def test_without_a_network_the_tests_run_all_the_same(make):
    done, asked = make(user=0, loads=False, apt_fails=True)
    assert done.returncode == 0 and asked == ["update -q"] and "without Open3D" in done.stderr
