"""Random rays of the training photos, and the colours that they should see."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Bool, Float, Int64, UInt8
from torch import Tensor

from neural3d.cameras import Cameras
from neural3d.fields.rays import Rays, rays_through
from neural3d.scene import Scene
from neural3d.train.random_numbers import Purpose, generator

CENTRAL = 0.5
"""Part of each photo, along both axes, that the first steps look at."""
BLOCK = 64
"""Pixels whose number of chosen ones is kept together."""


@dataclass(frozen=True)
class RayBatch:
    """R rays of one step."""

    rays: Rays
    colors: Float[Tensor, "R 3"]
    """The photos', over the background where they have alpha."""
    backgrounds: Float[Tensor, "R 3"]
    views: Int64[Tensor, "R"]
    """Which of the training photos each ray belongs to."""

    def __getitem__(self, rows: slice | Int64[Tensor, "M"]) -> "RayBatch":
        """Some of them."""
        return RayBatch(self.rays[rows], self.colors[rows], self.backgrounds[rows], self.views[rows])


@dataclass(frozen=True)
class ChosenPixels:
    """Some of many pixels, found by their rank: a quarter of a byte for each of all, where an index takes eight."""

    bits: UInt8[np.ndarray, "B 8"]
    """One for each pixel, in blocks of `BLOCK`."""
    before: Int64[np.ndarray, "B+1"]
    """How many are chosen before each block, and at last of all."""

    @staticmethod
    def of(flags: Bool[np.ndarray, "M"]) -> "ChosenPixels":
        """Those that are flagged, of whole blocks."""
        blocks = flags.reshape(-1, BLOCK)
        before = np.zeros(len(blocks) + 1, dtype=np.int64)
        blocks.sum(axis=1).cumsum(out=before[1:])
        return ChosenPixels(np.packbits(blocks, axis=1), before)

    def __len__(self) -> int:
        return int(self.before[-1])

    def __getitem__(self, ranks: Int64[np.ndarray, "R"]) -> Int64[np.ndarray, "R"]:
        """The chosen pixels of these ranks, counted from 0: by their block, by an eighth of it, by the bit."""
        blocks = np.searchsorted(self.before, ranks, side="right") - 1
        eighths = self.bits[blocks]
        eighth, rest = _with_rank(_ONES[eighths], ranks - self.before[blocks])
        bits = np.unpackbits(np.take_along_axis(eighths, eighth[:, None], axis=1), axis=1)
        bit, _ = _with_rank(bits, rest)
        return blocks * BLOCK + 8 * eighth + bit


_ONES = np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1).sum(axis=1, dtype=np.uint8)


def _with_rank(
    counts: UInt8[np.ndarray, "R 8"], ranks: Int64[np.ndarray, "R"]
) -> tuple[Int64[np.ndarray, "R"], Int64[np.ndarray, "R"]]:
    """In which of eight parts, each with so many, a rank lies, and which it is in there."""
    ends = counts.cumsum(axis=1, dtype=np.int64)
    part = (ends > ranks[:, None]).argmax(axis=1)
    before = np.take_along_axis(ends - counts, part[:, None], axis=1)[:, 0]
    return part, ranks - before


class PhotoPixels:
    """Every valid pixel of the training photos, held once as 8-bit numbers."""

    def __init__(self, scene: Scene) -> None:
        chosen = scene.train_indices.tolist()
        self.cameras = scene.cameras[scene.train_indices]
        photos = [scene.photos[i] for i in chosen]
        self.colors = torch.cat([photo.pixels.reshape(-1, 3) for photo in photos])
        self.alphas = None
        if scene.has_alpha:
            full = [torch.full(p.pixels.shape[:2], 255, dtype=torch.uint8) for p in photos]
            alphas = [whole if p.alpha is None else p.alpha for p, whole in zip(photos, full, strict=True)]
            self.alphas = torch.cat([alpha.flatten() for alpha in alphas])
        self.widths = self.cameras.size_px[:, 0]
        self.starts = torch.cat([torch.zeros(1, dtype=torch.int64), self.cameras.size_px.prod(dim=1).long().cumsum(0)])
        self._valid = [photo.valid for photo in photos]
        self.usable = self._chosen(None) if any(valid is not None for valid in self._valid) else None
        """The pixels that teach something; None: all, for which no memory is needed."""

    @cached_property
    def central(self) -> ChosenPixels:
        """Those of them that lie in the middle of their photo; most fields never ask."""
        return self._chosen(CENTRAL)

    def _chosen(self, part: float | None) -> ChosenPixels:
        """Usable pixels, all or those in the middle."""
        chosen = np.zeros(-(-len(self.colors) // BLOCK) * BLOCK, dtype=bool)
        for (width, height), start, valid in zip(
            self.cameras.size_px.tolist(), self.starts.tolist(), self._valid, strict=False
        ):
            flags = torch.ones(height, width, dtype=torch.bool) if valid is None else valid
            if part is not None:
                down, across = (((torch.arange(n) + 0.5) / n - 0.5).abs() <= part / 2 for n in (height, width))
                flags = flags & down[:, None] & across
            chosen[start : start + flags.numel()] = flags.flatten().numpy()
        return ChosenPixels.of(chosen)

    def batch(
        self, count: int, background: str, seed: int, step: int, *, central: bool, cameras: Cameras | None = None
    ) -> RayBatch:
        """Rays through pixels drawn with replacement, each over a background of its own where that is random.

        `cameras` are those of the training photos, where they are not the given ones.
        """
        chosen = self.central if central and len(self.central) else self.usable
        total = len(self.colors) if chosen is None else len(chosen)
        drawn = generator(seed, Purpose.RAYS, step).integers(0, total, count)
        pixels = torch.from_numpy(drawn if chosen is None else chosen[drawn])
        # By numpy: torch wakes its threads for a few thousand numbers.
        views = torch.from_numpy(np.searchsorted(self.starts.numpy(), pixels.numpy(), side="right") - 1)
        within = pixels - self.starts[views]
        xy = torch.stack([within % self.widths[views], within // self.widths[views]], dim=1) + 0.5
        backgrounds = _backgrounds(background, count, seed, step)
        colors = self.colors[pixels].float() / 255
        if self.alphas is not None:
            alpha = self.alphas[pixels].float()[:, None] / 255
            colors = alpha * colors + (1 - alpha) * backgrounds
        rays = rays_through(self.cameras if cameras is None else cameras, views, xy.float())
        return RayBatch(rays, colors, backgrounds, views)


def _backgrounds(kind: str, count: int, seed: int, step: int) -> Float[Tensor, "R 3"]:
    if kind == "random":
        return torch.from_numpy(generator(seed, Purpose.BACKGROUND, step).random((count, 3), dtype=np.float32))
    return torch.full((count, 3), 1.0 if kind == "white" else 0.0)
