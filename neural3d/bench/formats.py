"""The formats table: how large a model is in each format, how true it stays, what writing takes in memory."""

import os
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from neural3d.bench.machine import provenance, rss_unit_bytes
from neural3d.bench.quality import GIB, chosen_captures
from neural3d.cameras import Cameras
from neural3d.capture import load_capture
from neural3d.errors import InputError
from neural3d.export.formats import read_splats, write_splats
from neural3d.export.selection import Selection, select
from neural3d.render.splats import render_splats
from neural3d.scene import Similarity
from neural3d.splats.gaussians import Gaussians
from neural3d.train.config import SplatConfig
from neural3d.train.splats import train_splats

FILES: dict[str, dict[str, Any]] = {
    "a.ply": {},
    "a.compressed.ply": {},
    "a.splat": {},
    "a.spz": {},
    "4.spz": {"version": 4},
    "a.sog": {},
    "a.glb": {},
    "a.usdc": {},
}
NUM_VIEWS = 10
LARGE = 5_000_000


def measure_formats(
    *, seconds: float = 45.0, capture: str | None = None, num_large: int = LARGE, files: list[str] | None = None
) -> dict[str, Any]:
    """Train a model, write and read it in each format, and compare pictures; then write a large model in each.

    Raises:
        InputError: There is no such capture, or the system cannot say what memory a process held (Windows).
        RuntimeError: A writer failed; its last line is named.
    """
    if not hasattr(os, "wait4"):
        raise InputError("bench formats: this system does not tell what a process has held; run it on Linux or macOS")
    spec = chosen_captures([capture or "bundled"])[-1]
    scene = load_capture(spec.path, downscale=spec.downscale)
    gaussians = train_splats(scene, SplatConfig(max_seconds=seconds, background=spec.background)).gaussians
    cameras = scene.cameras[torch.linspace(0, len(scene.cameras) - 1, NUM_VIEWS).round().long()]
    names = files or list(FILES)
    with TemporaryDirectory() as folder:
        rows = {name: _measured(Path(folder) / name, gaussians, cameras) for name in names}
        peaks = {name: _peak(Path(folder) / name, num_large) for name in names} if num_large else {}
    return {
        "table": "formats",
        "capture": spec.name,
        "seconds": seconds,
        "num_gaussians": len(gaussians),
        "num_views": NUM_VIEWS,
        "files": rows,
        "half": _halved(gaussians, scene.cameras, cameras),
        "num_large": num_large,
        "large": peaks,
        **provenance(),
    }


def _measured(path: Path, gaussians: Gaussians, cameras: Cameras) -> dict[str, Any]:
    begin = time.perf_counter()
    write_splats(path, gaussians, capture_from_scene=Similarity.identity(), **FILES[path.name])
    between = time.perf_counter()
    found = read_splats(path)
    end = time.perf_counter()
    size = path.stat().st_size
    return {
        "bytes": size,
        "bytes_a_gaussian": size / len(gaussians),
        "psnr": _psnr(gaussians, found, cameras),
        "write_seconds": between - begin,
        "read_seconds": end - between,
    }


def _pictures(gaussians: Gaussians, cameras: Cameras) -> list[Float[Tensor, "..."]]:
    with torch.no_grad():
        return [render_splats(gaussians, cameras[i : i + 1]).colors.clamp(0, 1) for i in range(len(cameras))]


def _psnr(a: Gaussians, b: Gaussians, cameras: Cameras) -> float | None:
    """Of the error over all views; None where it is below what float32 tells (120 dB)."""
    pairs = zip(_pictures(a, cameras), _pictures(b, cameras), strict=True)
    error = sum(float((left.double() - right.double()).square().mean()) for left, right in pairs) / len(cameras)
    return None if error < 1e-12 else float(-10 * torch.log10(torch.tensor(error)))


def _halved(gaussians: Gaussians, all_cameras: Cameras, cameras: Cameras) -> dict[str, float | None]:
    """Pictures of the more important half beside those of all, chosen in three ways."""
    selection, frame = Selection(max_splats=len(gaussians) // 2), {"capture_from_scene": Similarity.identity()}
    shuffled = torch.randperm(len(gaussians), generator=torch.Generator().manual_seed(0))[: len(gaussians) // 2]
    kept = {
        "seen": select(gaussians, selection, cameras=all_cameras, **frame),
        "seen from around": select(gaussians, selection, **frame),
        "random": shuffled.sort().values,
    }
    return {name: _psnr(gaussians, gaussians[rows], cameras) for name, rows in kept.items()}


def _peak(path: Path, count: int) -> dict[str, float]:
    """Peak memory and seconds of a process that makes a model of random Gaussians and writes it."""
    with path.with_suffix(".stderr").open("w+") as stderr:
        code = "import sys; from neural3d.bench.formats import write_large; write_large(sys.argv[1], int(sys.argv[2]))"
        command = [sys.executable, "-c", code, str(path), str(count)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=stderr, text=True)
        assert process.stdout is not None
        with process.stdout as stdout:
            seconds = stdout.read().strip()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode != 0:
            stderr.seek(0)
            lines = stderr.read().strip().splitlines()
            raise RuntimeError(f"writing {path.name} ended with status {process.returncode}: {lines[-1:]}")
    size = path.stat().st_size
    path.unlink()
    return {"peak_rss_gib": usage.ru_maxrss * rss_unit_bytes() / GIB, "write_seconds": float(seconds), "bytes": size}


def write_large(name: str, count: int) -> None:
    """What `_peak` starts: nothing is held twice but by the writer."""
    generator = torch.Generator().manual_seed(0)
    sh = torch.randn(count, 16, 3, generator=generator).mul_(0.1)
    gaussians = Gaussians(
        means_world=torch.randn(count, 3, generator=generator),
        log_scales=torch.randn(count, 3, generator=generator).mul_(0.5).sub_(6),
        quats_wxyz=torch.randn(count, 4, generator=generator),
        logit_opacities=torch.randn(count, generator=generator),
        sh=sh,
    )
    begin, path = time.perf_counter(), Path(name)
    write_splats(path, gaussians, capture_from_scene=Similarity.identity(), **FILES[path.name])
    print(time.perf_counter() - begin)
