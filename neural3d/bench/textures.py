"""The textures table: holes as occlusion leaves them, filled by our methods and by those that others have."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float
from PIL import Image
from torch import Tensor

from neural3d.bench.machine import provenance
from neural3d.bench.patch_distribution import matched_fill
from neural3d.errors import InputError
from neural3d.priors.exemplar.nearest import NearestConfig, nearest_fill
from neural3d.priors.exemplar.quilting import Texels
from neural3d.priors.fitting import seeded
from neural3d.priors.metrics import bootstrap_interval, score
from neural3d.priors.patches import to_bytes, to_signed
from neural3d.priors.records import Budget
from neural3d.texture.charts import Chart, continued, frame_at
from neural3d.texture.choice import choose
from neural3d.texture.proposals import Trainer, filled, proposer

PHOTOS = (
    "embark/bricks.png",
    "embark/1.jpg",
    "embark/3.jpg",
    "skimage/brick.png",
    "skimage/gravel.png",
    "skimage/grass.png",
)
_PLAIN = NearestConfig(completeness=1e9)
_VIEWS = 3
_TRUE = {"c2st": 0.5, "swd": 0.0, "sharpness": 1.0, "seam": 1.0}

Fill = Callable[[Float[Tensor, "3 H W"], Bool[Tensor, "H W"], int], Float[Tensor, "3 H W"]]
"""An image in [-1, 1], where it is unknown, a seed; what is known may be changed."""


@dataclass(frozen=True)
class Case:
    """One texture with a hole."""

    name: str
    image: Float[Tensor, "3 H W"]
    hole: Bool[Tensor, "H W"]


def measure_textures(data: Path | None, *, side: int, seeds: int, methods: Sequence[str]) -> dict[str, Any]:
    """Fill each texture's hole by each method, and hold the results against the truth.

    Raises: InputError where a method's library is missing.
    """
    rows = []
    fills = {name: _fill(name) for name in methods}
    for seed in range(seeds):
        for case in cases(data, side, seed):
            rows += [_row(name, fill, case, seed) for name, fill in fills.items()]
    summary = {name: _summary([row for row in rows if row["method"] == name]) for name in fills}
    told = {"side": side, "seeds": seeds, "methods": summary, "against_gpdm": paired(rows, "gpdm"), "rows": rows}
    return {"table": "textures", **told, **provenance()}


def cases(data: Path | None, side: int, seed: int) -> Iterator[Case]:
    """Textures made in code, and crops of photos where these are at hand."""
    for name, make in MADE.items():
        yield Case(name, make(side, seed), shadow(side, seed))
    for relative in PHOTOS if data is not None else ():
        yield Case(relative, _crop(data / "textures" / relative, side, seed), shadow(side, seed))


def shadow(side: int, seed: int) -> Bool[Tensor, "H W"]:
    """What several cameras all fail to see of a plane behind a thing: where its shadows overlap."""
    generator = np.random.default_rng(1000 + seed)
    angles = np.sort(generator.uniform(0, 2 * np.pi, 9))
    radii = generator.uniform(0.2, 0.36, 9) * side
    y, x = np.mgrid[:side, :side] - side / 2 + 0.5
    turn, away = np.arctan2(y, x) % (2 * np.pi), np.hypot(x, y)
    thing = away < np.interp(turn, angles, radii, period=2 * np.pi)
    shifts = generator.integers(-side // 16, side // 16 + 1, (_VIEWS, 2))
    overlap = np.logical_and.reduce([np.roll(thing, tuple(shift), (0, 1)) for shift in shifts])
    return torch.from_numpy(overlap)


def _row(name: str, fill: Fill, case: Case, seed: int) -> dict[str, Any]:
    began = time.monotonic()
    hidden = torch.where(case.hole, 0.0, case.image)
    result = torch.where(case.hole, fill(hidden, case.hole, seed), case.image)
    seconds = time.monotonic() - began
    card = score([result], [case.image], [case.hole], seed)
    error = float((result - case.image)[:, case.hole].square().mean()) / 4
    psnr = -10 * float(torch.log10(torch.tensor(max(error, 1e-10))))
    return {"method": name, "texture": case.name, "seed": seed, "seconds": seconds, "psnr": psnr, **asdict(card)}


def _summary(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name in ("c2st", "swd", "sharpness", "seam", "layout", "psnr", "seconds"):
        values = [row[name] for row in rows]
        found[name] = {"mean": sum(values) / len(values), "interval": bootstrap_interval(values)}
    return found


def paired(rows: Sequence[dict[str, Any]], other: str) -> dict[str, Any]:
    """How much better each method does than another one, hole by hole: how far that is further from what truth scores.

    The holes differ far more from each other than the methods do, so their means' intervals overlap where these do not.
    """
    cases = {(row["method"], row["texture"], row["seed"]): row for row in rows}
    found: dict[str, Any] = {}
    for method in dict.fromkeys(row["method"] for row in rows):
        pairs = [(row, cases.get((other, *case[1:]))) for case, row in cases.items() if case[0] == method != other]
        for name, truth in _TRUE.items():
            gains = [abs(theirs[name] - truth) - abs(ours[name] - truth) for ours, theirs in pairs if theirs]
            if gains:
                mean = {"mean": sum(gains) / len(gains), "interval": bootstrap_interval(gains)}
                found.setdefault(method, {})[name] = mean
    return found


def _fill(name: str) -> Fill:
    if name in ("telea", "navier-stokes"):
        return opencv_fill(name)
    if name == "biharmonic":
        return _biharmonic()
    if name == "nearest":
        return _nearest
    if name == "gpdm":
        return matched_fill
    return lambda image, hole, seed: _ours(name, image, hole, seed)


def _nearest(image: Tensor, hole: Tensor, seed: int) -> Tensor:
    """Plain: no patch is dear because it is used already, and nothing is copied afterwards."""
    return nearest_fill(image, hole, Texels((image,), (~hole,)), seeded(seed), _PLAIN)


def _ours(name: str, image: Tensor, hole: Tensor, seed: int) -> Tensor:
    """As `texture complete` does it, the image as one chart."""
    side = image.shape[1]
    frame = frame_at(torch.zeros(3), torch.tensor([0.0, 0, 1]), torch.tensor([0.0, 1, 0]), 1.0, side)
    chart = continued(Chart(frame, image, hole, ~hole, torch.zeros(side, side)))
    if not name.startswith("auto"):
        return filled(chart, proposer(name), (), seeded(seed))
    tried = ("smooth", "quilt", "patchnn") if name == "auto-fast" else ("smooth", "quilt", "patchnn", "x0")
    trainer = Trainer((chart,), Budget(30.0), seed)
    methods = {method: proposer(method, trainer, is_fast=name == "auto-fast") for method in tried}
    shifted = hole.roll(side // 2, 1)
    choice = choose(methods, [replace(chart, unknown=torch.zeros_like(hole))], [shifted], seed=seed)
    return filled(chart, methods[choice.method], (), seeded(seed))


def opencv_fill(name: str) -> Fill:
    """`telea` or `navier-stokes`.

    Raises: InputError where OpenCV is not installed.
    """
    try:
        import cv2
    except ImportError as error:
        raise InputError(f"{name} needs OpenCV ({error}): pip install opencv-python-headless") from error
    kind = cv2.INPAINT_TELEA if name == "telea" else cv2.INPAINT_NS

    def fill(image: Tensor, hole: Tensor, seed: int) -> Tensor:
        pixels, mask = to_bytes(image[None])[0].numpy(), (255 * hole.byte()).numpy()
        return to_signed(torch.from_numpy(cv2.inpaint(pixels, mask, 3, kind))[None])[0]

    return fill


def _biharmonic() -> Fill:
    try:
        from skimage.restoration import inpaint_biharmonic
    except ImportError as error:
        raise InputError(f"biharmonic needs scikit-image ({error}): pip install scikit-image") from error

    def fill(image: Tensor, hole: Tensor, seed: int) -> Tensor:
        found = inpaint_biharmonic(image.permute(1, 2, 0).double().numpy(), hole.numpy(), channel_axis=-1)
        return torch.from_numpy(found).float().permute(2, 0, 1).clamp(-1, 1)

    return fill


def _crop(path: Path, side: int, seed: int) -> Tensor:
    """A square of a photo, at half of what would show all of it."""
    with Image.open(path) as image:
        pixels = np.asarray(image.convert("RGB").resize((2 * side, 2 * side), Image.Resampling.BOX))
    top, left = np.random.default_rng(seed).integers(0, side + 1, 2)
    return to_signed(torch.from_numpy(pixels[top : top + side, left : left + side].copy())[None])[0]


def _bricks(side: int, seed: int) -> Tensor:
    """Courses of bricks, each second one moved by half; every brick has a shade of its own."""
    generator = np.random.default_rng(seed)
    y, x = np.mgrid[:side, :side]
    row = y // 12
    column = (x + 12 * (row % 2)) // 24
    shade = generator.uniform(0.75, 1.1, (side, side))[row, column]
    mortar = (y % 12 < 2) | ((x + 12 * (row % 2)) % 24 < 2)
    color = np.where(mortar[..., None], (0.75, 0.73, 0.7), np.array((0.62, 0.3, 0.22)) * shade[..., None])
    return _noisy(color, generator)


def _weave(side: int, seed: int) -> Tensor:
    """A periodic cloth."""
    y, x = np.mgrid[:side, :side]
    over = ((x // 8 + y // 8) % 2).astype(bool)
    light = np.where(over, np.sin(np.pi * (x % 8 + 0.5) / 8), np.sin(np.pi * (y % 8 + 0.5) / 8))
    color = light[..., None] * np.where(over[..., None], (0.85, 0.75, 0.5), (0.3, 0.4, 0.65))
    return _noisy(color, np.random.default_rng(seed))


def _stones(side: int, seed: int) -> Tensor:
    """The cells around scattered points, with dark joints."""
    generator = np.random.default_rng(seed)
    points = generator.uniform(0, side, (side * side // 180, 2))
    y, x = np.mgrid[:side, :side]
    apart = np.hypot(y[..., None] - points[:, 0], x[..., None] - points[:, 1])
    first, second = np.partition(apart, 1, axis=-1)[..., :2].transpose(2, 0, 1)
    shade = generator.uniform(0.4, 0.85, len(points))[apart.argmin(-1)]
    color = np.where((second - first < 2)[..., None], 0.15, shade[..., None] * np.array((1.0, 0.95, 0.85)))
    return _noisy(color, generator)


def _plaster(side: int, seed: int) -> Tensor:
    """Noise of all sizes."""
    generator = seeded(seed)
    total = torch.zeros(1, 1, side, side)
    for level in range(2, 6):
        coarse = torch.randn(1, 1, 2**level, 2**level, generator=generator)
        total += torch.nn.functional.interpolate(coarse, (side, side), mode="bicubic") * 0.6**level
    grain = 0.06 * torch.randn(3, side, side, generator=generator)
    return (0.2 + total[0].expand(3, -1, -1) * torch.tensor([1.0, 0.9, 0.8])[:, None, None] + grain).clamp(-1, 1)


def _noisy(color: np.ndarray, generator: np.random.Generator) -> Tensor:
    grained = color + generator.normal(0, 0.02, color.shape)
    return torch.from_numpy(2 * np.clip(grained, 0, 1) - 1).float().permute(2, 0, 1).contiguous()


MADE: dict[str, Callable[[int, int], Tensor]] = {
    "bricks": _bricks,
    "weave": _weave,
    "stones": _stones,
    "plaster": _plaster,
}
