"""The demo table, of a repository whose demo takes a second."""

import subprocess
from pathlib import Path

import pytest

from neural3d.bench import text_of
from neural3d.bench.demo import measure_demo

MAKEFILE = """demo:
\tsleep 0.5
\tmkdir -p runs/demo
\tsleep 0.4
\techo '{{"psnr": 27.5, "train_seconds": 0.25, "viewer": "$(VIEWER)"}}' > runs/demo/metrics.json
\t@echo the last words
\t{last}
"""


def repository_with(last: str, folder: Path) -> Path:
    (folder / "Makefile").write_text(MAKEFILE.format(last=last))
    author = ["-c", "user.name=a", "-c", "user.email=a@b"]
    for command in (["init", "-q"], ["add", "."], [*author, "commit", "-q", "-m", "a"]):
        subprocess.run(["git", *command], cwd=folder, check=True)
    return folder


def test_setting_up_and_the_rest_are_told_apart(tmp_path):
    report = measure_demo(repository_with("true", tmp_path))
    assert report["psnr"] == 27.5 and report["train_seconds"] == 0.25
    assert 0.5 <= report["setup_seconds"] <= report["seconds"] - 0.2
    assert "27.50 dB" in text_of(report)
    assert not (tmp_path / "runs").exists(), "the checkout itself stays as it was"


def test_a_demo_that_fails_says_its_last_words(tmp_path):
    with pytest.raises(RuntimeError, match=r"status 2: .*the last words"):
        measure_demo(repository_with("false", tmp_path))
