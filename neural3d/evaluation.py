"""How well a model shows the photos that it has not seen."""

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from neural3d.errors import InputError
from neural3d.metrics import Lpips, find_lpips, flip_map, psnr, psnr_color_corrected, ssim
from neural3d.metrics.lpips import SMALLEST_PX
from neural3d.metrics.pixels import masked_mean, with_photo_where_invalid
from neural3d.render.colormaps import colored
from neural3d.render.images import write_png
from neural3d.render.rendering import RenderFn, Rendering
from neural3d.scene import Photo, Scene
from neural3d.srgb import decode_srgb, encode_srgb

BACKGROUNDS = {"white": (1.0, 1.0, 1.0), "black": (0.0, 0.0, 0.0)}


@dataclass(frozen=True)
class ViewScores:
    """One view."""

    index: int
    """In the scene."""
    name: str
    psnr: float
    psnr_color_corrected: float
    ssim: float
    flip: float
    lpips: float | None
    """None without LPIPS's weights."""


@dataclass(frozen=True)
class Evaluation:
    """The views and their means."""

    views: tuple[ViewScores, ...]
    render_fps: float
    """Views a second, the first one left out where there are more: it pays for what later ones reuse."""
    skipped: tuple[str, ...] = ()
    """Views without a valid pixel."""

    def mean(self, name: Literal["psnr", "psnr_color_corrected", "ssim", "flip", "lpips"]) -> float | None:
        """The mean of a score over the views; None where a view has none."""
        values = [getattr(view, name) for view in self.views]
        return None if None in values else float(np.mean(values))

    def to_json(self) -> dict[str, Any]:
        """Means, and under `views` each view."""
        means = {name: self.mean(name) for name in ("psnr", "psnr_color_corrected", "ssim", "flip", "lpips")}
        views = [asdict(view) for view in self.views]
        return {
            **means,
            "render_fps": self.render_fps,
            "num_views": len(views),
            "skipped": list(self.skipped),
            "views": views,
        }


def evaluation_background(has_alpha: bool, choice: str = "auto") -> Float[Tensor, "3"]:
    """What to render and to composite photos on: `choice` where it is "white" or "black".

    Otherwise white for captures with alpha, as papers do, and black.
    """
    name = choice if choice in BACKGROUNDS else "white" if has_alpha else "black"
    return torch.tensor(BACKGROUNDS[name])


def evaluate(
    render_fn: RenderFn,
    scene: Scene,
    *,
    indices: Int[Tensor, "B"] | Sequence[int] | None = None,
    background: Float[Tensor, "3"] | None = None,
    linear: bool = False,
    output: str | Path | None = None,
) -> Evaluation:
    """Render the held-out views (or those of `indices`) and compare each with its photo, over valid pixels only.

    Photos with alpha are composited over `background` (by default `evaluation_background`); `render_fn` must render
    over the same, and blend light where `linear`, else display values. With `output`, a picture of each view is
    written there: photo, render, FLIP error.

    Raises: InputError when there is no view to compare; StorageError.
    """
    chosen = scene.test_indices if indices is None else torch.as_tensor(indices)
    background = evaluation_background(scene.has_alpha) if background is None else background
    lpips = find_lpips()
    scores, skipped, seconds = [], [], []
    for index in chosen.tolist():
        photo = scene.photos[index]
        if photo.valid is not None and not photo.valid.any():
            skipped.append(photo.name)
            continue
        rendering, taken = _timed(render_fn, scene, index)
        seconds.append(taken)
        expected = photo_colors(photo, background, linear=linear)
        scores.append(_score(index, photo, rendering, expected, lpips, output))
    if not scores:
        raise InputError("the capture has no held-out view with a valid pixel, so there is nothing to evaluate")
    timed = seconds[1:] or seconds
    return Evaluation(tuple(scores), len(timed) / max(sum(timed), 1e-9), tuple(skipped))


def photo_colors(photo: Photo, background: Float[Tensor, "3"], *, linear: bool = False) -> Float[Tensor, "H W 3"]:
    """The photo in [0, 1], composited over the background where it has alpha.

    As the model that is compared with it blends: display values, or where `linear` light.
    """
    colors = photo.pixels.float() / 255
    if photo.alpha is None:
        return colors
    alpha = (photo.alpha.float() / 255)[..., None]
    if not linear:
        return alpha * colors + (1 - alpha) * background
    light = decode_srgb(colors) if photo.light is None else photo.light.float()
    return encode_srgb(alpha * light + (1 - alpha) * decode_srgb(background)).clamp(0, 1)


def _timed(render_fn: RenderFn, scene: Scene, index: int) -> tuple[Rendering, float]:
    start = time.perf_counter()
    with torch.no_grad():
        rendering = render_fn(scene.cameras[index])
    if rendering.colors.device.type == "cuda":
        torch.cuda.synchronize(rendering.colors.device)
    return rendering, time.perf_counter() - start


def _score(
    index: int,
    photo: Photo,
    rendering: Rendering,
    expected: Float[Tensor, "H W 3"],
    lpips: Lpips | None,
    output: str | Path | None,
) -> ViewScores:
    valid = photo.valid
    image = rendering.colors[0].detach().float().cpu()
    errors = flip_map(with_photo_where_invalid(image, expected, valid), expected)
    if output is not None:
        write_png(Path(output) / f"{index:05d}-{Path(photo.name).stem}.png", _side_by_side(expected, image, errors))
    large_enough = min(image.shape[:2]) >= SMALLEST_PX
    return ViewScores(
        index=index,
        name=photo.name,
        psnr=psnr(image, expected, valid),
        psnr_color_corrected=psnr_color_corrected(image, expected, valid),
        ssim=ssim(image, expected, valid),
        flip=float(masked_mean(errors, valid)),
        lpips=lpips(image, expected, valid) if lpips is not None and large_enough else None,
    )


def _side_by_side(
    photo: Float[Tensor, "H W 3"], image: Float[Tensor, "H W 3"], errors: Float[Tensor, "H W"]
) -> Float[Tensor, "H W3 3"]:
    return torch.cat([photo, image.clamp(0, 1), colored(errors, "magma")], dim=1)
