"""Guided quilting: blocks of real texels, laid where they fit what is known and look like a guide; seams blended."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor
from torch.nn import functional

from neural3d.priors.exemplar.poisson import solve_poisson

_GOOD_ENOUGH = 1.05
"""Blocks whose cost is below this multiple of the best one's are drawn from evenly."""
_ENOUGH_BLOCKS = 100
_SMALL_PIXELS = 1_000_000
_MARGIN_PX = 32
"""How far around a hole is looked at, where blocks are not so large that it has to be more."""
LEAST_BLOCK = 3
"""Side of the smallest blocks that are copied."""
_ANCHOR = 0.01
"""Seams are blended over 10 texels to either side; by differences alone colours drifted in the middle of wide holes."""


@dataclass(frozen=True)
class QuiltConfig:
    """How large blocks are, and how they are chosen."""

    block: int = 17
    """Side in texels, odd; smaller where few of that size are known as a whole."""
    num_blocks: int = 8000
    """Blocks to choose from, drawn at random."""
    guidance: float = 1.5
    """Weight of looking like the guide where nothing is known, against fitting what is known."""
    guide_sigma_px: float = 1.5
    """Standard deviation of the blur under which blocks and guide are compared: what is finer in the guide means
    nothing."""
    keeps_colors: bool = False
    """Leave the outermost copied texels as they are, so that blending does not tint the rest by what is around."""


@dataclass(frozen=True)
class Texels:
    """Images to copy from."""

    images: tuple[Float[Tensor, "3 _ _"], ...]
    known: tuple[Bool[Tensor, "_ _"], ...]
    """Where they may be copied from."""
    _found: dict[tuple[str, int | float], Any] = field(default_factory=dict, init=False, repr=False, compare=False)
    """What was worked out of them: a source may serve hundreds of windows."""

    def whole_places(self, side: int) -> tuple[Int64[Tensor, "_"], ...]:
        """Of each image, the blocks that are known as a whole: numbers, row by row, of all its blocks of that side."""
        return self._once(("places", side), lambda: tuple(_whole_places(known, side) for known in self.known))

    def smoothed(self, sigma_px: float) -> tuple[Float[Tensor, "3 _ _"], ...]:
        """The images, blurred."""
        return self._once(("smoothed", sigma_px), lambda: tuple(smoothed(image, sigma_px) for image in self.images))

    def _once(self, name: tuple[str, int | float], find: Callable[[], Any]) -> Any:
        if name not in self._found:
            self._found[name] = find()
        return self._found[name]


@dataclass(frozen=True)
class Blocks:
    """Blocks of texels, with where they are from."""

    pixels: Float[Tensor, "N 3 B B"]
    smoothed: Float[Tensor, "N 3 B B"]
    origins: Int64[Tensor, "N B B"]
    """Which of all texels, counted through the images, each one is."""


@torch.no_grad()
def quilt(
    image: Float[Tensor, "3 H W"],
    unknown: Bool[Tensor, "H W"],
    texels: Texels,
    generator: torch.Generator,
    guide: Float[Tensor, "3 H W"] | None = None,
    config: QuiltConfig = QuiltConfig(),
) -> Float[Tensor, "3 H W"]:
    """Fill the unknown with copied blocks, then blend.

    The next block lies where the most is known around an unknown texel; where nothing is known at all, the first block
    is any.

    Source: Efros and Freeman, Image Quilting for Texture Synthesis and Transfer, 2001, with Poisson blending in place
        of the cut: Perez et al. 2003.
    Raises: ValueError where no block of the texels is known as a whole.
    """
    config = replace(config, block=fitting_block(texels, config.block))
    blocks = draw_blocks(texels, config, generator)
    if not bool(unknown.any()):
        return image.clone()
    box = _box_around(unknown, max(_MARGIN_PX, 2 * config.block))
    work = Quilt(image[(..., *box)], unknown[box], blocks, None if guide is None else guide[(..., *box)], config)
    work.fill(generator)
    filled = image.clone()
    filled[(..., *box)] = work.blended(texels)
    return filled


def _box_around(unknown: Bool[Tensor, "H W"], margin: int) -> tuple[slice, slice]:
    """What a quilt looks at: in a large photo the other places have no say, and cost time with each block.

    A small image is looked at as a whole, so that what was made of it before comes out to the bit.
    """
    if unknown.numel() <= _SMALL_PIXELS:
        return slice(None), slice(None)
    found = (unknown.any(axis).nonzero()[:, 0] for axis in (1, 0))
    rows, columns = (slice(max(0, int(at[0]) - margin), int(at[-1]) + margin + 1) for at in found)
    return rows, columns


def fitting_block(texels: Texels, largest: int) -> int:
    """The largest odd side, at most `largest`, of which enough blocks are known as a whole.

    Raises: ValueError where no block of 3 x 3 texels is.
    """
    for side in range(largest, LEAST_BLOCK, -2):
        if sum(map(len, texels.whole_places(side))) >= _ENOUGH_BLOCKS:
            return side
    if not any(map(len, texels.whole_places(LEAST_BLOCK))):
        raise ValueError(f"texels: nowhere are {LEAST_BLOCK} x {LEAST_BLOCK} known; give larger images")
    return LEAST_BLOCK


def draw_blocks(texels: Texels, config: QuiltConfig, generator: torch.Generator) -> Blocks:
    """Blocks at random from all places that are known as a whole.

    Raises: ValueError where there is none.
    """
    side = config.block
    places = texels.whole_places(side)
    counts = torch.tensor([len(found) for found in places])
    if int(counts.sum()) == 0:
        raise ValueError(f"texels: nowhere are {side} x {side} known; give larger images, or take smaller blocks")
    chosen = torch.randint(int(counts.sum()), (config.num_blocks,), generator=generator)
    chosen = chosen.unique() if int(counts.sum()) <= config.num_blocks else chosen
    pixels, blurred, origins = [], [], []
    first = first_texel = 0
    for image, soft, found in zip(texels.images, texels.smoothed(config.guide_sigma_px), places, strict=True):
        mine = found[chosen[(chosen >= first) & (chosen < first + len(found))] - first]
        pixels.append(cut(image, mine, side))
        blurred.append(cut(soft, mine, side))
        origins.append(first_texel + _texel_numbers(mine, side, image.shape[2]))
        first, first_texel = first + len(found), first_texel + image[0].numel()
    return Blocks(torch.cat(pixels), torch.cat(blurred), torch.cat(origins))


class Quilt:
    """A quilt under way."""

    def __init__(
        self,
        image: Float[Tensor, "3 H W"],
        unknown: Bool[Tensor, "H W"],
        blocks: Blocks,
        guide: Float[Tensor, "3 H W"] | None,
        config: QuiltConfig,
    ) -> None:
        self._half, self._config, self._blocks = config.block // 2, config, blocks
        pad = 4 * [self._half]
        # Beyond the border nothing is known and nothing has to be filled.
        self._canvas = functional.pad(image, pad)
        self._known = functional.pad(~unknown, pad)
        self._open = functional.pad(unknown, pad)
        self._asked = self._open.clone()
        self._counts = self._known_around(slice(None), slice(None))
        smooth = None if guide is None else smoothed(guide, config.guide_sigma_px)
        self._guide = None if smooth is None else functional.pad(smooth, pad, mode="replicate")
        self._origins = torch.zeros_like(self._open, dtype=torch.long)
        flat = blocks.pixels.flatten(1)
        self._flat, self._squares = flat, flat.square()
        self._flat_smoothed = blocks.smoothed.flatten(1)
        self._squares_smoothed = self._flat_smoothed.square()

    def fill(self, generator: torch.Generator) -> None:
        """Lay blocks until nothing is open."""
        while bool(self._open.any()):
            self._lay(*self._next_site(), generator)

    def blended(self, texels: Texels) -> Float[Tensor, "3 H W"]:
        """The filled image, each neighbours' difference the mean of what it is where the two texels are from."""
        inside = (..., slice(self._half, -self._half), slice(self._half, -self._half))
        image, asked, origins = self._canvas[inside], self._asked[inside], self._origins[inside]
        differences = _differences(texels.images, origins)
        weights = asked.float()
        across = _met(differences[0], differences[1], weights, -1)
        down = _met(differences[2], differences[3], weights, -2)
        if self._config.keeps_colors:
            asked = functional.max_pool2d((~asked)[None, None].float(), 3, 1, 1)[0, 0] == 0
        return solve_poisson(image, asked, across, down, anchor=_ANCHOR)

    def _next_site(self) -> tuple[int, int]:
        """The open texel with the most known ones around it."""
        inner = self._open[self._half : -self._half, self._half : -self._half]
        best = int(torch.where(inner, self._counts, -1.0).argmax())
        return divmod(best, inner.shape[1])

    def _known_around(self, rows: slice, columns: slice) -> Float[Tensor, "R C"]:
        """Which share of the block about each texel is known, of those whose block lies in that part of the canvas."""
        return functional.avg_pool2d(self._known[None, None, rows, columns].float(), self._config.block, stride=1)[0, 0]

    def _recount(self, top: int, left: int) -> None:
        """After a block was laid there: of texels further away nothing has changed."""
        reach = self._config.block - 1
        first = max(0, top - reach), max(0, left - reach)
        rows, columns = slice(first[0], top + 2 * reach + 1), slice(first[1], left + 2 * reach + 1)
        found = self._known_around(rows, columns)
        self._counts[first[0] : first[0] + found.shape[0], first[1] : first[1] + found.shape[1]] = found

    def _lay(self, top: int, left: int, generator: torch.Generator) -> None:
        side = self._config.block
        window = (..., slice(top, top + side), slice(left, left + side))
        chosen = self._choose(window, generator)
        is_open = self._open[window]
        for layer, source in ((self._canvas, self._blocks.pixels), (self._origins, self._blocks.origins)):
            layer[window] = torch.where(is_open, source[chosen], layer[window])
        self._known[window] |= is_open
        self._open[window] = False
        self._recount(top, left)

    def _choose(self, window: tuple, generator: torch.Generator) -> int:
        known = self._known[window].float().expand(3, -1, -1).flatten()
        present = self._canvas[window].flatten() * known
        cost = self._squares @ known - 2 * (self._flat @ present) + present.square().sum()
        if self._guide is not None:
            free = 1 - known
            wanted = self._guide[window].flatten() * free
            apart = self._squares_smoothed @ free - 2 * (self._flat_smoothed @ wanted) + wanted.square().sum()
            cost = cost + self._config.guidance * apart
        cost = cost.clamp_min(0)
        good = (cost <= _GOOD_ENOUGH * cost.min() + 1e-6).nonzero()[:, 0]
        return int(good[torch.randint(len(good), (1,), generator=generator)])


def smoothed(image: Float[Tensor, "3 H W"], sigma_px: float) -> Float[Tensor, "3 H W"]:
    """Blurred by a Gaussian, the border repeated."""
    reach = round(3 * sigma_px)
    offsets = torch.arange(-reach, reach + 1, dtype=image.dtype)
    kernel = torch.exp(-0.5 * (offsets / sigma_px) ** 2)
    kernel = (kernel / kernel.sum()).expand(3, 1, 1, -1)
    padded = functional.pad(image[None], 4 * [reach], mode="replicate")
    return functional.conv2d(functional.conv2d(padded, kernel, groups=3), kernel.mT, groups=3)[0]


def _differences(images: Sequence[Float[Tensor, "3 _ _"]], origins: Int64[Tensor, "H W"]) -> Float[Tensor, "4 3 H W"]:
    """Of texels, counted through the images: to the right neighbour, from the left, to the lower, from the upper one.

    0 beyond the border.
    """
    found = torch.zeros(4, 3, origins.numel())
    first, flat = 0, origins.flatten()
    for image in images:
        height, width = image.shape[1:]
        mine = ((flat >= first) & (flat < first + height * width)).nonzero()[:, 0]
        own, texels = flat[mine] - first, image.flatten(1)
        rows, columns = own // width, own % width
        for layer, (step, has_other) in enumerate(
            ((1, columns < width - 1), (-1, columns > 0), (width, rows < height - 1), (-width, rows > 0))
        ):
            here, other = texels[:, own], texels[:, torch.where(has_other, own + step, own)]
            found[layer, :, mine] = other - here if step > 0 else here - other
        first += height * width
    return found.view(4, 3, *origins.shape)


def _met(forward: Tensor, backward: Tensor, weights: Tensor, axis: int) -> Tensor:
    """What both ends of a pair say of its difference; only copied texels have a say."""
    length = forward.shape[axis] - 1
    first, second = (weights.narrow(axis, start, length) for start in (0, 1))
    said = first * forward.narrow(axis, 0, length) + second * backward.narrow(axis, 1, length)
    return said / (first + second).clamp_min(1)


def _whole_places(known: Bool[Tensor, "H W"], side: int) -> Int64[Tensor, "P"]:
    if min(known.shape) < side:
        return torch.zeros(0, dtype=torch.long)
    return (functional.max_pool2d((~known)[None, None].float(), side, stride=1).flatten() == 0).nonzero()[:, 0]


def cut(layer: Float[Tensor, "C H W"], places: Int64[Tensor, "P"], side: int) -> Float[Tensor, "P C B B"]:
    """Blocks of an image, by their numbers."""
    numbers = _texel_numbers(places, side, layer.shape[2])
    return layer.flatten(1)[:, numbers].movedim(0, 1).contiguous()


def _texel_numbers(places: Int64[Tensor, "P"], side: int, width: int) -> Int64[Tensor, "P B B"]:
    """Which texels of an image of that width lie in its blocks of such numbers."""
    span = torch.arange(side)
    rows, columns = (part[:, None] + span for part in (places // (width - side + 1), places % (width - side + 1)))
    return rows[:, :, None] * width + columns[:, None, :]
