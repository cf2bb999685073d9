"""PLY: what is written is read back exactly, by this program and by others, and nothing is believed unseen."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from neural3d.errors import InputError
from neural3d.export.ply import read_ply, write_ply
from neural3d.scene import Similarity
from neural3d.splats.gaussians import Gaussians

IDENTITY = Similarity.identity()


def random_gaussians(count: int = 7, degree: int = 3, antialiased: bool = False) -> Gaussians:
    return Gaussians(
        means_world=torch.randn(count, 3),
        log_scales=torch.randn(count, 3),
        quats_wxyz=torch.randn(count, 4),
        logit_opacities=torch.randn(count),
        sh=torch.randn(count, (degree + 1) ** 2, 3),
        antialiased=antialiased,
    )


def header_lines(path: Path) -> list[str]:
    return path.read_bytes().split(b"end_header\n")[0].decode().splitlines()


@pytest.mark.parametrize("degree", range(4))
@pytest.mark.parametrize("antialiased", [False, True])
def test_round_trip_is_exact(tmp_path: Path, degree: int, antialiased: bool):
    gaussians = random_gaussians(degree=degree, antialiased=antialiased)
    written = write_ply(tmp_path / "ü x.ply", gaussians, capture_from_scene=IDENTITY)
    assert (written.num_gaussians, written.num_dropped) == (7, 0)
    found = read_ply(tmp_path / "ü x.ply")
    assert found.antialiased is antialiased
    for name, tensor in gaussians.tensors().items():
        assert torch.equal(found.tensors()[name], tensor), name
    assert (f"comment SH degree: {degree}" in header_lines(tmp_path / "ü x.ply")) and (
        ("comment SplatRenderMode: mip" in header_lines(tmp_path / "ü x.ply")) is antialiased
    )


def test_the_layout_is_the_one_that_everybody_reads(tmp_path: Path):
    gaussians = random_gaussians(2)
    write_ply(tmp_path / "a.ply", gaussians, capture_from_scene=IDENTITY)
    names = [line.split()[-1] for line in header_lines(tmp_path / "a.ply") if line.startswith("property")]
    expected = ["x", "y", "z", "nx", "ny", "nz", "f_dc_0", "f_dc_1", "f_dc_2", *(f"f_rest_{i}" for i in range(45))]
    assert names == [*expected, "opacity", "scale_0", "scale_1", "scale_2", "rot_0", "rot_1", "rot_2", "rot_3"]
    rows = np.frombuffer((tmp_path / "a.ply").read_bytes().split(b"end_header\n")[1], "<f4").reshape(2, len(names))
    row = dict(zip(names, rows[1].tolist(), strict=True))
    assert row["f_rest_0"] == gaussians.sh[1, 1, 0] and row["f_rest_15"] == gaussians.sh[1, 1, 1]
    assert row["rot_0"] == gaussians.quats_wxyz[1, 0] and row["nx"] == 0


def test_exports_are_in_the_frame_of_the_capture(tmp_path: Path):
    gaussians = random_gaussians()
    capture_from_scene = Similarity(4.0, torch.eye(3, dtype=torch.float64), torch.tensor([1.0, 2, 3]).double())
    write_ply(tmp_path / "a.ply", gaussians, capture_from_scene=capture_from_scene)
    found = read_ply(tmp_path / "a.ply")
    assert torch.allclose(found.means_world, 4 * gaussians.means_world + torch.tensor([1.0, 2, 3]), atol=1e-6)
    assert torch.allclose(found.log_scales, gaussians.log_scales + np.log(4), atol=1e-6)
    assert torch.equal(found.sh, gaussians.sh) and torch.equal(found.quats_wxyz, gaussians.quats_wxyz)


@pytest.mark.parametrize("name", random_gaussians().tensors())
@pytest.mark.parametrize("poison", [float("nan"), float("inf")])
def test_one_bad_number_costs_one_gaussian(tmp_path: Path, name: str, poison: float):
    gaussians = random_gaussians()
    gaussians.tensors()[name].view(7, -1)[3, -1] = poison
    written = write_ply(tmp_path / "a.ply", gaussians, capture_from_scene=IDENTITY)
    assert (written.num_gaussians, written.num_dropped) == (6, 1)
    keep = [0, 1, 2, 4, 5, 6]
    assert torch.equal(read_ply(tmp_path / "a.ply").sh, gaussians.sh[keep])


def write_columns(
    path: Path, columns: dict[str, np.ndarray], order: str = "<", before: str = "", extra: bytes = b""
) -> None:
    """A PLY as some other program might write it."""
    kinds = {"f4": "float", "f8": "double", "u1": "uchar"}
    table = np.zeros(len(next(iter(columns.values()))), [(n, order + c.dtype.str[1:]) for n, c in columns.items()])
    for name, column in columns.items():
        table[name] = column
    style = "binary_little_endian" if order == "<" else "binary_big_endian"
    properties = "".join(f"property {kinds[column.dtype.str[1:]]} {name}\n" for name, column in columns.items())
    header = f"ply\nformat {style} 1.0\ncomment antialiased 1\n{before}element vertex {len(table)}\n{properties}"
    tail = "element face 1\nproperty list uchar int vertex_indices\nend_header\n"
    path.write_bytes((header + tail).encode() + extra + table.tobytes() + bytes(13))


def columns_of(gaussians: Gaussians, dtype: str) -> dict[str, np.ndarray]:
    rest = gaussians.sh[:, 1:].transpose(1, 2).flatten(1)
    parts = {
        "rot": gaussians.quats_wxyz,
        "f_rest": rest,
        "scale": gaussians.log_scales,
        "f_dc": gaussians.sh[:, 0],
    }
    columns = {
        f"{name}_{i}": part[:, i].numpy().astype(dtype) for name, part in parts.items() for i in range(part.shape[1])
    }
    columns |= {axis: gaussians.means_world[:, i].numpy().astype(dtype) for i, axis in enumerate("zyx"[::-1])}
    return columns | {"opacity": gaussians.logit_opacities.numpy().astype(dtype)}


@pytest.mark.parametrize(("order", "dtype"), [("<", "f4"), (">", "f4"), ("<", "f8")])
def test_columns_are_found_by_name(tmp_path: Path, order: str, dtype: str):
    gaussians = random_gaussians(degree=2)
    columns = {"confidence": np.zeros(7, "u1")} | columns_of(gaussians, dtype)
    before = "element camera 2\nproperty float fx\nproperty uchar id\n"
    write_columns(tmp_path / "a.ply", columns, order, before, extra=bytes(10))
    found = read_ply(tmp_path / "a.ply")
    assert found.antialiased
    for name, tensor in gaussians.tensors().items():
        assert torch.equal(found.tensors()[name], tensor), name


def test_text_is_read_too(tmp_path: Path):
    gaussians = random_gaussians(degree=1)
    columns = columns_of(gaussians, "f4")
    properties = "".join(f"property float {name}\n" for name in columns)
    rows = "".join(" ".join(map(str, row)) + "\n" for row in zip(*(c.tolist() for c in columns.values()), strict=True))
    header = f"ply\r\nformat ascii 1.0\r\nelement vertex 7\n{properties}end_header\n"
    (tmp_path / "a.ply").write_text(header + rows.rstrip("\n"), newline="")
    for name, tensor in gaussians.tensors().items():
        assert torch.equal(read_ply(tmp_path / "a.ply").tensors()[name], tensor), name


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read_is_named(tmp_path: Path):
    write_ply(tmp_path / "a.ply", random_gaussians(1), capture_from_scene=IDENTITY)
    (tmp_path / "a.ply").chmod(0)
    with pytest.raises(InputError, match=r"a\.ply: cannot be read .*permissions"):
        read_ply(tmp_path / "a.ply")


def test_bad_rows_of_a_file_are_counted(tmp_path: Path):
    columns = columns_of(random_gaussians(degree=0), "f4")
    columns["scale_1"][2] = np.nan
    write_columns(tmp_path / "a.ply", columns)
    with pytest.warns(UserWarning, match="left out 1 of 7"):
        assert len(read_ply(tmp_path / "a.ply")) == 6


def test_other_kinds_of_files_are_named(tmp_path: Path):
    columns = columns_of(random_gaussians(degree=1), "f4")
    flat = {name: column for name, column in columns.items() if name != "scale_2"}
    points = {name: columns[name] for name in "xyz"}
    odd = {name: column for name, column in columns.items() if name != "f_rest_8"}
    for content, message in (
        (flat, "no scale_2"),
        (points, "no Gaussian splats"),
        (odd, "8 f_rest"),
        (points | {"packed_position": columns["x"]}, "compressed splat PLY"),
    ):
        write_columns(tmp_path / "a.ply", content)
        with pytest.raises(InputError, match=f"a.ply.*{message}"):
            read_ply(tmp_path / "a.ply")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "not a PLY"),
        (b"solid cube\n", "not a PLY"),
        (b"ply\nformat binary_little_endian 1.0\n", "no end"),
        (b"ply\n" + b"comment x\n" * 100_000, "no end"),
        (b"ply\nformat binary_little_endian 1.0\nelement vertex -5\nend_header\n", "'element vertex -5'"),
        (b"ply\nformat binary_middle_endian 1.0\nelement vertex 0\nend_header\n", "not understood"),
        (b"ply\nformat ascii 1.0\nend_header\n", "element vertex"),
        (b"ply\nformat ascii 1.0\nelement vertex 1\nproperty list uchar int x\nend_header\n", "not understood"),
        (b"ply\nformat ascii 1.0\nelement vertex 1\nproperty float x\nproperty float x\nend_header\n", "twice"),
        (b"ply\nformat ascii 1.0\nproperty float x\nend_header\n", "not understood"),
        (
            b"ply\nformat ascii 1.0\nelement vertex " + b"9" * 5000 + b"\nproperty float x\nend_header\n",
            "not understood",
        ),
        (b"ply\nformat ascii 1.0\nelement vertex 0\nend_header\n", "twice, or none"),
        (b"ply\nformat ascii 1.0\nelement a 1\nelement vertex 1\nproperty float x\nend_header\n", "a comes before"),
    ],
)
def test_broken_headers_are_named(tmp_path: Path, data: bytes, message: str):
    (tmp_path / "a.ply").write_bytes(data)
    with pytest.raises(InputError, match=message):
        read_ply(tmp_path / "a.ply")


@pytest.mark.parametrize("count", [10**9, 4 * 10**12, 2**63, 10**40])
def test_a_billion_points_are_refused_before_memory_is_taken(tmp_path: Path, count: int):
    write_ply(tmp_path / "a.ply", random_gaussians(2), capture_from_scene=IDENTITY)
    data = (tmp_path / "a.ply").read_bytes()
    (tmp_path / "b.ply").write_bytes(data.replace(b"element vertex 2\n", f"element vertex {count}\n".encode()))
    with pytest.raises(InputError, match="claims .* the file holds"):
        read_ply(tmp_path / "b.ply")


def test_truncated_files_are_refused(tmp_path: Path):
    write_ply(tmp_path / "a.ply", random_gaussians(2), capture_from_scene=IDENTITY)
    (tmp_path / "a.ply").write_bytes((tmp_path / "a.ply").read_bytes()[:-1])
    with pytest.raises(InputError, match="claims"):
        read_ply(tmp_path / "a.ply")
    with pytest.raises(InputError, match="no such file"):
        read_ply(tmp_path / "b.ply")


def test_no_gaussians_are_a_file_too(tmp_path: Path):
    write_ply(tmp_path / "a.ply", random_gaussians(0), capture_from_scene=IDENTITY)
    assert len(read_ply(tmp_path / "a.ply")) == 0


@pytest.mark.skipif(sys.platform == "win32", reason="limits on address space are POSIX")
def test_a_bomb_costs_no_memory(tmp_path: Path):
    write_ply(tmp_path / "a.ply", random_gaussians(2), capture_from_scene=IDENTITY)
    data = (tmp_path / "a.ply").read_bytes()
    (tmp_path / "b.ply").write_bytes(data.replace(b"element vertex 2\n", b"element vertex 1000000000\n"))
    script = f"""
import resource, sys
from neural3d.errors import InputError
from neural3d.export.ply import read_ply
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    read_ply({str(tmp_path / "b.ply")!r})
except InputError:
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    unit = 1 if sys.platform == "darwin" else 1024
    assert int(done.stdout) * unit < 64e6
