"""Textures with holes as occlusion leaves them: made in code, and crops of photos."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Float
from PIL import Image
from torch import Tensor

from neural3d.priors.fitting import seeded
from neural3d.priors.patches import to_signed

PHOTOS = (
    "embark/1.jpg",
    "embark/2.jpg",
    "embark/4.png",
    "skimage/brick.png",
    "skimage/gravel.png",
    "skimage/grass.png",
)
_VIEWS = 3


@dataclass(frozen=True)
class Case:
    """One texture with a hole."""

    name: str
    image: Float[Tensor, "3 H W"]
    hole: Bool[Tensor, "H W"]


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


def _planks(side: int, seed: int) -> Tensor:
    """Boards side by side, each with a grain of its own along it."""
    generator = np.random.default_rng(seed)
    y, x = np.mgrid[:side, :side]
    board = x // 20
    shift, shade = generator.uniform(0, 100, side)[board], generator.uniform(0.75, 1.1, side)[board]
    wavy = x + 2.5 * np.sin(2 * np.pi * (y + shift) / 47) + 1.2 * np.sin(2 * np.pi * (y + 3 * shift) / 17)
    grain = 0.85 + 0.15 * np.sin(2 * np.pi * (wavy + shift) / 5)
    color = (shade * grain)[..., None] * np.array((0.68, 0.47, 0.29))
    return _noisy(np.where((x % 20 < 1)[..., None], 0.12, color), generator)


def _tiles(side: int, seed: int) -> Tensor:
    """Square tiles of two colours in turns, speckled."""
    generator = np.random.default_rng(seed)
    y, x = np.mgrid[:side, :side]
    light = ((x // 16 + y // 16) % 2).astype(bool)
    speckle = (generator.uniform(size=(side, side)) < 0.06) * 0.25
    color = np.where(light[..., None], (0.82, 0.8, 0.75), (0.25, 0.36, 0.4)) - speckle[..., None]
    grout = (x % 16 < 1) | (y % 16 < 1)
    return _noisy(np.where(grout[..., None], 0.55, color), generator)


def _pebbles(side: int, seed: int) -> Tensor:
    """Round stones of several sizes over each other, lit from above."""
    generator = np.random.default_rng(seed)
    y, x = np.mgrid[:side, :side]
    color = np.full((side, side, 3), 0.1)
    for _ in range(side * side // 25):
        center, radius = generator.uniform(-8, side + 8, 2), generator.uniform(2.5, 7)
        away = np.hypot(y - center[0], x - center[1]) / radius
        shade = generator.uniform(0.35, 0.8) * (1 - 0.35 * away**2 - 0.2 * (y - center[0]) / radius)
        tint = np.array((1.0, 0.95, 0.88)) + generator.normal(0, 0.03, 3)
        color = np.where((away < 1)[..., None], shade[..., None] * tint, color)
    return _noisy(color, generator)


def _marble(side: int, seed: int) -> Tensor:
    """Veins that noise has bent."""
    y, x = np.mgrid[:side, :side]
    bent = x + 0.6 * y + 14 * _clouds(side, seed, range(2, 5))
    vein = np.abs(np.sin(np.pi * bent / 22)) ** 0.5
    color = 0.25 + vein[..., None] * np.array((0.62, 0.63, 0.6))
    return _noisy(color, np.random.default_rng(seed))


def _knit(side: int, seed: int) -> Tensor:
    """Rows of stitches shaped like a V."""
    y, x = np.mgrid[:side, :side]
    slanted = y + np.abs(x % 10 - 5)
    light = 0.55 + 0.3 * np.cos(2 * np.pi * slanted / 7) + 0.12 * np.cos(2 * np.pi * x / 5)
    color = light[..., None] * np.where(((y // 21) % 2)[..., None], (0.85, 0.3, 0.3), (0.9, 0.87, 0.8))
    return _noisy(color, np.random.default_rng(seed))


def _rust(side: int, seed: int) -> Tensor:
    """Paint that has come off in flakes."""
    flaked = _clouds(side, seed, range(3, 6)) > 0.25
    grain = 0.8 + 0.2 * _clouds(side, seed + 1, range(5, 7))
    color = np.where(flaked[..., None], np.array((0.5, 0.27, 0.14)) * grain[..., None], (0.35, 0.5, 0.47))
    return _noisy(color, np.random.default_rng(seed))


def _scales(side: int, seed: int) -> Tensor:
    """Overlapping round scales, each second row moved by half."""
    generator = np.random.default_rng(seed)
    y, x = np.mgrid[:side, :side]
    color = np.zeros((side, side, 3))
    for row in range(-1, side // 8 + 2):
        moved = x + 7 * (row % 2)
        column = moved // 14
        away = np.hypot(y - 8 * row, moved % 14 - 7) / 11
        shade = generator.uniform(0.7, 1.05, side)[column % side] * (0.45 + 0.5 * away)
        scale = (away < 1) & (y >= 8 * row)
        color = np.where(scale[..., None], shade[..., None] * np.array((0.4, 0.62, 0.5)), color)
    return _noisy(color, generator)


def _stripes(side: int, seed: int) -> Tensor:
    """A cloth of slanted stripes of three widths, woven."""
    y, x = np.mgrid[:side, :side]
    across = (x + y) % 26
    base = np.select([across[..., None] < 11, across[..., None] < 16], [(0.2, 0.25, 0.45), (0.85, 0.82, 0.7)], 0.55)
    thread = 0.88 + 0.12 * np.where((x + y) % 2, 1.0, -1.0)
    return _noisy(base * thread[..., None], np.random.default_rng(seed))


def _hexagons(side: int, seed: int) -> Tensor:
    """Tiles with six sides in three colours, each with a shade of its own."""
    generator = np.random.default_rng(seed)
    y, x = np.mgrid[:side, :side].astype(float)
    rows, columns = np.mgrid[-1 : side // 10 + 2, -1 : side // 12 + 2]
    centers = np.stack([10.0 * rows, 12.0 * columns + 6 * (rows % 2)], -1).reshape(-1, 2)
    apart = np.hypot(y[..., None] - centers[:, 0], x[..., None] - centers[:, 1])
    first, second = np.partition(apart, 1, axis=-1)[..., :2].transpose(2, 0, 1)
    palette = np.array([(0.85, 0.82, 0.74), (0.72, 0.45, 0.3), (0.3, 0.3, 0.34)])
    kind = ((columns - rows // 2) % 3).reshape(-1)
    each = palette[kind] * generator.uniform(0.85, 1.05, (len(centers), 1))
    color = np.where((second - first < 1.2)[..., None], 0.6, each[apart.argmin(-1)])
    return _noisy(color, generator)


def _ripples(side: int, seed: int) -> Tensor:
    """Sand that wind has drawn into waves."""
    y, x = np.mgrid[:side, :side]
    phase = 2 * np.pi * (y + 0.3 * x) / 13 + 1.6 * _clouds(side, seed, range(2, 4))
    light = 0.62 + 0.2 * np.sin(phase) + 0.08 * np.sin(2 * phase + 0.7)
    grain = np.random.default_rng(seed).normal(0, 0.04, (side, side))
    return _noisy((light + grain)[..., None] * np.array((1.0, 0.86, 0.66)), np.random.default_rng(seed + 1))


def _clouds(side: int, seed: int, levels: range) -> Float[np.ndarray, "side side"]:
    """Smooth noise of standard deviation 1, the finer the fainter."""
    generator, total = seeded(seed), torch.zeros(1, 1, side, side)
    for level in levels:
        coarse = torch.randn(1, 1, 2**level, 2**level, generator=generator)
        total += torch.nn.functional.interpolate(coarse, (side, side), mode="bicubic") * 0.6**level
    return (total[0, 0] / total.std()).numpy()


MADE: dict[str, Callable[[int, int], Tensor]] = {
    "bricks": _bricks,
    "weave": _weave,
    "stones": _stones,
    "plaster": _plaster,
    "planks": _planks,
    "tiles": _tiles,
    "pebbles": _pebbles,
    "marble": _marble,
    "knit": _knit,
    "rust": _rust,
    "scales": _scales,
    "stripes": _stripes,
    "hexagons": _hexagons,
    "ripples": _ripples,
}
