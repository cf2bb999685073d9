"""The table of things that move: held-out views of a capture after training on photos that something passes through."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import UInt8

from neural3d.bench.machine import provenance
from neural3d.capture import load_capture
from neural3d.evaluation import evaluate, evaluation_background
from neural3d.render.splats import render_function
from neural3d.scene import Scene
from neural3d.train.config import SplatConfig
from neural3d.train.splats import train_splats

SHARE = 1 / 3
"""Of the training photos that something passes through."""
SIZE = 0.2
"""Half of its width, of a photo's height; it is half as high again."""


def measure_moving_things(capture: Path, *, steps: int, downscale: float, every: int = 1) -> dict[str, Any]:
    """Train with and without `--ignore-moving`, on a capture as it is and with things planted in a third of its photos.

    Of the training photos each `every`-th is used: with fewer of them what passes does more harm. Held-out photos are
    always as they are.
    """
    scene = load_capture(capture, downscale=downscale)
    scene = replace(scene, train_indices=scene.train_indices[::every])
    rows = []
    for photos, shown in (("as they are", scene), ("with planted things", with_planted(scene))):
        for ignore in (False, True):
            result = train_splats(shown, SplatConfig(steps=steps, max_seconds=None, ignore_moving=ignore))
            background = evaluation_background(scene.has_alpha)
            found = evaluate(render_function(result.gaussians, background=background), scene, background=background)
            scores = {score: found.mean(score) for score in ("psnr", "psnr_color_corrected", "ssim")}
            rows.append({"photos": photos, "ignore_moving": ignore, "seconds": result.train_seconds, **scores})
    return {
        "table": "moving_things",
        "capture": capture.resolve().name,
        "num_train": len(scene.train_indices),
        "held_out": len(scene.test_indices),
        "steps": steps,
        "downscale": downscale,
        "rows": rows,
        **provenance(),
    }


def with_planted(scene: Scene, seed: int = 0) -> Scene:
    """The scene with a striped ellipse, in another place and colour each, on a third of its training photos."""
    random, photos = np.random.default_rng(seed), list(scene.photos)
    train = scene.train_indices.tolist()
    for index in random.permutation(train)[: round(SHARE * len(train))]:
        pixels = torch.from_numpy(_planted(photos[index].pixels.numpy(), random))
        photos[index] = replace(photos[index], pixels=pixels)
    return replace(scene, photos=tuple(photos))


def _planted(pixels: UInt8[np.ndarray, "H W 3"], random: np.random.Generator) -> UInt8[np.ndarray, "H W 3"]:
    height, width = pixels.shape[:2]
    x, y = random.uniform(0.2, 0.8, 2) * [width, height]
    across, down = random.uniform(0.7, 1.2, 2) * [SIZE * height, 1.5 * SIZE * height]
    rows, columns = np.mgrid[:height, :width]
    inside = ((columns - x) / across) ** 2 + ((rows - y) / down) ** 2 < 1
    stripes = np.where(np.sin(rows * 40 / height) > 0, 20, -20)[..., None]
    color = np.clip(random.integers(20, 235, 3) + stripes, 0, 255).astype(np.uint8)
    return np.where(inside[..., None], color, pixels)
