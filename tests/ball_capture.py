"""A capture of a ball, photographed from above alone, and a run that has learnt it perfectly."""

import json
from dataclasses import asdict, replace
from pathlib import Path

import torch
from surface_ball import ball, cameras_around

from neural3d.capture import load_capture
from neural3d.cli.runs import save_views
from neural3d.render.images import write_png
from neural3d.render.splats import render_splats
from neural3d.run import Run
from neural3d.scene import Similarity
from neural3d.splats.gaussians import Gaussians
from neural3d.train.config import SplatConfig
from neural3d.train.loop import frame_meta
from neural3d.train.state import fresh_state, state_tensors

SIDE, FOCAL = 64, 60.0


def write_ball_capture(folder: Path) -> Path:
    """RGBA photos of cameras that all stand above the ball."""
    cameras = cameras_around(48, SIDE)
    cameras = replace(cameras, focal_px=torch.full_like(cameras.focal_px, FOCAL))
    cameras = cameras[(cameras.centers_world[:, 2] > 0.4).nonzero()[:, 0]]
    with torch.no_grad():
        seen = render_splats(ball(), cameras)
    frames = []
    for index in range(len(cameras)):
        name = f"images/{index:03d}.png"
        straight = seen.colors[index] / seen.alphas[index].clamp(min=1e-3)
        write_png(folder / name, torch.cat([straight.clamp(0, 1), seen.alphas[index]], dim=-1))
        matrix = cameras.world_from_camera[index] @ torch.diag(torch.tensor([1.0, -1, -1, 1]))
        frames.append({"file_path": name, "transform_matrix": matrix.tolist()})
    lens = {"w": SIDE, "h": SIDE, "fl_x": FOCAL, "fl_y": FOCAL, "cx": SIDE / 2, "cy": SIDE / 2}
    (folder / "transforms.json").write_text(json.dumps({**lens, "frames": frames}))
    return folder


def write_ball_run(capture: Path, path: Path) -> Path:
    """As training leaves it."""
    scene = load_capture(capture)
    config = SplatConfig(steps=1, max_seconds=None, exposure="affine")
    kept = {"capture": str(capture), "downscale": 1.0, "device": "cpu", "backend": "native"}
    with Run.create(path, {**kept, "background": "auto", "method": "splat", "splat": asdict(config)}) as run:
        save_views(run, scene)
        matrices = torch.eye(3, 4).flatten().repeat(len(scene.train_indices), 1)
        exposure = {f"exposure.{name}": torch.zeros_like(matrices) for name in ("first_moments", "second_moments")}
        exposure["exposure.matrices"] = matrices
        tensors = {**state_tensors(fresh_state(moved(ball(), scene.capture_from_scene))), **exposure}
        meta = {"antialiased": False, "train_seconds": 1.0, **frame_meta(scene.capture_from_scene)}
        run.save_checkpoint(1, tensors, meta)
        run.set_status("completed")
    return path


def moved(gaussians: Gaussians, capture_from_scene: Similarity) -> Gaussians:
    """From the capture's frame to the scene's, which is not rotated."""
    way = capture_from_scene.inverse()
    fields = gaussians.tensors()
    fields["means_world"] = way.apply(gaussians.means_world)
    fields["log_scales"] = gaussians.log_scales + torch.tensor(way.scale).log()
    return Gaussians(**fields)
