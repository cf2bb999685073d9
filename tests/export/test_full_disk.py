"""Every writer names a full disk, keeps the old file, and leaves nothing half-written under a final name."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

SCRIPT = """
import resource, signal, sys
from pathlib import Path
import torch
from neural3d.cameras import Cameras
from neural3d.checkpoints import save_checkpoint
from neural3d.errors import StorageError
from neural3d.export.camera_formats import write_cameras
from neural3d.export.formats import write_splats
from neural3d.render.camera_files import CameraPath
from neural3d.render.exr import ExrFrame, write_exr
from neural3d.render.images import write_png
from neural3d.render.tiff import write_tiff
from neural3d.render.video import write_mp4, write_video
from neural3d.scene import Similarity
from neural3d.splats.gaussians import Gaussians

folder, n = Path(sys.argv[1]), 3000
gaussians = Gaussians(torch.randn(n, 3), torch.randn(n, 3), torch.randn(n, 4), torch.randn(n), torch.randn(n, 16, 3))
frames = torch.rand(8, 200, 200, 3)
poses = torch.eye(4).repeat(3000, 1, 1)
poses[:, 2, 3] = torch.rand(3000)
size = torch.tensor([[200, 200]]).repeat(3000, 1)
cameras = Cameras(poses, torch.rand(3000, 2) + 100, size / 2, size)
where = {"capture_from_scene": Similarity.identity()}
optional = {
    "a.exr": lambda path: write_exr(path, gaussians, ExrFrame(cameras[0]), **where),
    "a.tif": lambda path: write_tiff(path, frames[0]),
    "cams.usdc": lambda path: write_cameras(path, CameraPath(cameras, 24.0, tuple(range(3000))), **where),
}
writers = {
    **dict.fromkeys(sys.argv[2:], lambda path: write_splats(path, gaussians, **where)),
    **{name: write for name, write in optional.items() if name in sys.argv},
    "a.png": lambda path: write_png(path, frames[0]),
    "b.png": lambda path: write_png(path, frames[0], bits=16),
    "a.mp4": lambda path: write_mp4(path, iter(frames)),
    "a.mov": lambda path: write_video(path, iter(frames), codec="prores422hq"),
    **dict.fromkeys(
        ["cams.chan", "cams.glb", "cams.blender.json", "cams.json"],
        lambda path: write_cameras(path, CameraPath(cameras, 24.0, tuple(range(3000))), **where),
    ),
    "run": lambda path: save_checkpoint(path, 1, gaussians.tensors(), {}),
}
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))
for name, write in writers.items():
    try:
        write(folder / name)
    except StorageError as error:
        print(name, "refused:", error)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="limits on file sizes are POSIX")
def test_every_writer(tmp_path: Path):
    splats = ["a.ply", "a.compressed.ply", "a.splat", "a.spz", "a.sog", "a.glb", "a.html"]
    splats += ["a.usdc", "a.usdz"] if importlib.util.find_spec("pxr") else []
    needs = {"a.exr": "OpenEXR", "a.tif": "tifffile", "cams.usdc": "pxr"}
    splats += [name for name, module in needs.items() if importlib.util.find_spec(module)]
    names = [*splats, "a.png", "b.png", "a.mp4", "a.mov", "cams.chan", "cams.glb", "cams.blender.json", "cams.json"]
    for name in names:
        (tmp_path / name).write_text("the last good result")
    done = subprocess.run([sys.executable, "-c", SCRIPT, str(tmp_path), *splats], capture_output=True, text=True)
    refused = [line for line in done.stdout.splitlines() if "refused: cannot write" in line]
    assert [line.split()[0] for line in refused] == [*names, "run"], done.stdout + done.stderr
    assert sum("disk full" in line and "missing)" in line for line in refused) >= len(splats) + 3
    assert all((tmp_path / name).read_text() == "the last good result" for name in names)
    assert list((tmp_path / "run").iterdir()) == []
    assert sorted(entry.name for entry in tmp_path.iterdir()) == sorted([*names, "run"])


KILLED = """
import sys
from pathlib import Path
import torch
from neural3d.cameras import Cameras
from neural3d.export.html import write_html
from neural3d.render.exr import ExrFrame, write_exr
from neural3d.scene import Similarity
from neural3d.splats.gaussians import Gaussians

folder, n = Path(sys.argv[1]), 2000
gaussians = Gaussians(torch.randn(n, 3), torch.randn(n, 3) - 3, torch.randn(n, 4), torch.randn(n), torch.randn(n, 1, 3))
pose = torch.eye(4)
pose[2, 3] = 4
frame = ExrFrame(Cameras(pose[None], torch.full((1, 2), 300.0), torch.full((1, 2), 160.0), torch.full((1, 2), 320)))
where = {"capture_from_scene": Similarity.identity()}
while True:
    write_exr(folder / "a.exr", gaussians, frame, **where)
    write_html(folder / "a.html", gaussians, **where)
    print("written", flush=True)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="signals are POSIX")
def test_whoever_is_killed_leaves_whole_files(tmp_path: Path):
    """Wherever the kill hits: under the final names lies what was whole, and the next write tidies up the rest."""
    pytest.importorskip("OpenEXR", reason="needs OpenEXR: pip install OpenEXR mmh3 tifffile")
    from neural3d.render.exr_files import read_attribute, write_parts

    process = subprocess.Popen([sys.executable, "-c", KILLED, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None and process.stdout.readline() == "written\n"
    seen = set()
    while len(seen) < 2:  # somewhere within one of the two writes
        seen |= {entry.name for entry in tmp_path.iterdir() if entry.name.startswith(".tmp-")}
    process.kill()
    process.communicate()
    assert read_attribute(tmp_path / "a.exr", "imageCounter") == 1
    assert (tmp_path / "a.html").read_text(encoding="utf-8").rstrip().endswith("</html>")
    write_parts(tmp_path / "b.exr", {"rgba": {"R": np.zeros((2, 2), np.float32)}}, {})
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["a.exr", "a.html", "b.exr"]
