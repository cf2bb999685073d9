"""Files from strangers are read in a process with limits."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from neural3d.errors import InputError
from neural3d.export.formats import write_splats
from neural3d.export.reading_apart import READABLE, read_content
from neural3d.scene import Similarity
from neural3d.splats.gaussians import Gaussians


def some() -> Gaussians:
    count = 20
    return Gaussians(
        torch.randn(count, 3), torch.randn(count, 3) - 3, torch.randn(count, 4), torch.randn(count),
        torch.randn(count, 4, 3), antialiased=True,
    )  # fmt: skip


def test_what_is_written_comes_back(tmp_path: Path):
    model = some()
    write_splats(tmp_path / "a.ply", model, capture_from_scene=Similarity.identity())
    found = read_content("../../etc/Some Name.PLY", (tmp_path / "a.ply").read_bytes())
    assert torch.equal(found.means_world, model.means_world) and torch.equal(found.sh, model.sh)
    assert found.antialiased


def test_a_broken_file_is_refused_in_one_line_without_a_path():
    with pytest.raises(InputError) as refused:
        read_content("a.ply", b"ply\nformat ascii 9.9\nend_header\n")
    assert "\n" not in str(refused.value) and "/" not in str(refused.value).split(";")[0]


def test_a_file_of_no_known_kind_is_refused_before_a_process_is_started(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("neural3d.export.reading_apart.subprocess", None)
    for name in ("a.exe", "a", "ply", "scene.html", "a.ply/../b"):
        with pytest.raises(InputError, match="not a splat file"):
            read_content(name, b"ply")
    assert ".compressed.ply" in READABLE and ".gltf" in READABLE


def test_too_long_and_too_large_are_said(monkeypatch: pytest.MonkeyPatch):
    with pytest.raises(InputError, match=r"longer than 0\.01 seconds"):
        read_content("a.ply", b"ply", timeout_s=0.01)
    monkeypatch.setattr("neural3d.export.reading_apart.MAX_FILE_BYTES", 2)
    with pytest.raises(InputError, match="3 bytes, at most 2"):
        read_content("a.ply", b"ply")


@pytest.mark.skipif(sys.platform != "linux", reason="the limit on memory is Linux's")
def test_the_process_gets_no_more_memory_than_its_limit():
    code = (
        "import neural3d.export.reading_apart as apart\napart._limit_memory()\n"
        "try:\n    bytearray(apart.MEMORY_BYTES)\nexcept MemoryError:\n    print('refused')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300, check=True)
    assert done.stdout.strip() == "refused"
