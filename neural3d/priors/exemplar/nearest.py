"""Patch nearest neighbours: coarse to fine, each patch of the hole becomes the mean of real ones that it resembles."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor
from torch.nn import functional

from neural3d.priors.exemplar.poisson import harmonic_fill
from neural3d.priors.exemplar.quilting import Texels, cut

_CHUNK = 2048


@dataclass(frozen=True)
class NearestConfig:
    """How patches are compared."""

    patch: int = 7
    """Side in texels; odd."""
    rounds: int = 3
    """Searches a scale."""
    num_patches: int = 6000
    """Real patches to choose from at each scale, drawn at random."""
    least_patches: int = 200
    """Real patches that the coarsest scale must have."""
    completeness: float = 2e-4
    """How strongly a patch that is used already costs more: less is stronger. With 0.02 and grey beginnings, smooth
    patches were chosen again and again."""
    noise: float = 0.5
    """Standard deviation of what is added to the smooth fill that the coarsest scale begins with."""


@torch.no_grad()
def nearest_fill(
    image: Float[Tensor, "3 H W"],
    unknown: Bool[Tensor, "H W"],
    texels: Texels,
    generator: torch.Generator,
    config: NearestConfig = NearestConfig(),
    start: Float[Tensor, "3 H W"] | None = None,
) -> Float[Tensor, "3 H W"]:
    """Fill the unknown; what is known stays.

    The coarsest scale begins with `start`, else with the smoothest continuation, and noise.

    Source: Granot et al., Drop the GAN: In Defense of Patches Nearest Neighbors as Single Image Generative Models,
        2022, equation 1 (normalised scores); coarse to fine: Wexler et al., Space-Time Completion of Video, 2007.
    Raises: ValueError where no patch of the texels is known as a whole.
    """
    if not any(map(len, texels.whole_places(config.patch))):
        raise ValueError(f"texels: nowhere are {config.patch} x {config.patch} known; give larger images")
    if not bool(unknown.any()):
        return image.clone()
    scales = [(image, unknown, texels)]
    while _can_halve(scales[-1][1], scales[-1][2], config):
        scales.append(tuple(halve(*scales[-1])))
    filled: Tensor | None = None
    for picture, hole, source in reversed(scales):
        if filled is None:
            first = _continued(picture, hole) if start is None else _at_size(start, picture)
            filled = first + config.noise * torch.randn(picture.shape, generator=generator)
        else:
            filled = functional.interpolate(filled[None], picture.shape[1:], mode="bilinear", align_corners=False)[0]
        filled = torch.where(hole, filled, picture)
        for _ in range(config.rounds):
            filled = torch.where(hole, _voted(filled, hole, source, config, generator), picture)
    return filled


def _continued(image: Tensor, hole: Tensor) -> Tensor:
    return harmonic_fill(torch.where(hole, _mean(image, hole), image), hole)


def _at_size(image: Tensor, like: Tensor) -> Tensor:
    return functional.interpolate(image[None], like.shape[1:], mode="area")[0]


def halve(
    image: Float[Tensor, "3 H W"], unknown: Bool[Tensor, "H W"], texels: Texels
) -> tuple[Float[Tensor, "3 h w"], Bool[Tensor, "h w"], Texels]:
    """All at half their size; a texel is known where all that it covers are."""
    sources = Texels(tuple(_halved(source) for source in texels.images), _halved_known(texels))
    return _halved(image), _halved_hole(unknown), sources


def normalized_nearest(
    queries: Float[Tensor, "Q D"], keys: Float[Tensor, "K D"], completeness: float
) -> Int64[Tensor, "Q"]:
    """For each query the key with the least distance, relative to how near any query comes to that key.

    A key that some query is very near to is dear to all others, so that all keys come to be used.
    """
    nearest = torch.full((len(keys),), torch.inf)
    for chunk in queries.split(_CHUNK):
        nearest = torch.minimum(nearest, _distances(chunk, keys).amin(0))
    scores = (_distances(chunk, keys) / (completeness + nearest) for chunk in queries.split(_CHUNK))
    return torch.cat([score.argmin(1) for score in scores])


def _voted(
    filled: Tensor, hole: Tensor, source: Texels, config: NearestConfig, generator: torch.Generator
) -> Float[Tensor, "3 H W"]:
    """Each texel of the hole as the mean of what the patches over it were replaced by; the others mean nothing."""
    side, half = config.patch, config.patch // 2
    keys = draw_patches(source, side, config.num_patches, generator)
    touched = functional.max_pool2d(hole[None, None].float(), side, stride=1, padding=half)[0, 0] > 0
    # Of a large photo with a small hole, all patches would take 150 times its memory.
    rows, columns = (
        slice(int(at[0]), int(at[-1]) + 1) for at in (touched.any(axis).nonzero()[:, 0] for axis in (1, 0))
    )
    padded = functional.pad(filled[None], 4 * [half], mode="replicate")
    around = padded[..., rows.start : rows.stop + 2 * half, columns.start : columns.stop + 2 * half]
    is_touched = touched[rows, columns].flatten()
    queries = functional.unfold(around, side)[0].T[is_touched]
    chosen = keys[normalized_nearest(queries, keys, config.completeness)]
    total = _folded(chosen, is_touched, around.shape[-2:], side)
    number = _folded(torch.ones(len(chosen), side * side), is_touched, around.shape[-2:], side)
    voted = filled.clone()
    inside = (slice(None), slice(half, -half), slice(half, -half))
    voted[:, rows, columns] = total[inside] / number[inside].clamp_min(1)
    return voted


def _folded(
    patches: Float[Tensor, "T D"], is_there: Bool[Tensor, "P"], size: torch.Size, side: int
) -> Float[Tensor, "C H W"]:
    """The sum of overlapping patches, of those places where there is one."""
    everywhere = torch.zeros(patches.shape[1], len(is_there))
    everywhere[:, is_there] = patches.T
    return functional.fold(everywhere[None], tuple(size), side)[0]


def draw_patches(texels: Texels, side: int, most: int, generator: torch.Generator) -> Float[Tensor, "K D"]:
    """Patches that are known as a whole, at most so many, drawn at random; no others are ever cut."""
    places = texels.whole_places(side)
    drawn = torch.randperm(sum(map(len, places)), generator=generator)[:most]
    patches, first = torch.zeros(len(drawn), 3 * side * side), 0
    for image, found in zip(texels.images, places, strict=True):
        mine = (drawn >= first) & (drawn < first + len(found))
        patches[mine] = cut(image, found[drawn[mine] - first], side).flatten(1)
        first += len(found)
    return patches


def whole_patches(texels: Texels, side: int) -> Float[Tensor, "K D"]:
    """All patches that are known as a whole: side * side times the memory of the images."""
    places = texels.whole_places(side)
    return torch.cat([cut(*pair, side).flatten(1) for pair in zip(texels.images, places, strict=True)])


def _can_halve(unknown: Tensor, texels: Texels, config: NearestConfig) -> bool:
    """While the hole is wide against a patch, and enough would be left to choose from."""
    if min(unknown.shape) < 4 * config.patch or float(unknown.sum()) < 2 * config.patch**2:
        return False
    smaller = Texels(texels.images, _halved_known(texels))
    return sum(map(len, smaller.whole_places(config.patch))) >= config.least_patches


def _distances(queries: Tensor, keys: Tensor) -> Float[Tensor, "Q K"]:
    """Mean squared differences."""
    products = queries @ keys.T
    squares = queries.square().sum(1, keepdim=True) + keys.square().sum(1) - 2 * products
    return squares.clamp_min(0) / queries.shape[1]


def _halved(image: Tensor) -> Tensor:
    return functional.avg_pool2d(image[None], 2, ceil_mode=True, count_include_pad=False)[0]


def _halved_hole(unknown: Tensor) -> Tensor:
    return functional.max_pool2d(unknown[None, None].float(), 2, ceil_mode=True)[0, 0] > 0


def _halved_known(texels: Texels) -> tuple[Tensor, ...]:
    return tuple(~_halved_hole(~mask) for mask in texels.known)


def _mean(image: Tensor, unknown: Tensor) -> Tensor:
    known = (~unknown).float()
    return ((image * known).sum((1, 2)) / known.sum().clamp_min(1))[:, None, None]


def patch_distance(
    images: Float[Tensor, "B 3 H W"], texels: Texels, side: int, num_patches: int, generator: torch.Generator
) -> Float[Tensor, ""]:
    """Mean squared distance of each patch to the nearest of some real ones; differentiable in the images."""
    keys = draw_patches(texels, side, num_patches, generator)
    patches = functional.unfold(images, side).movedim(1, 2).flatten(0, 1)
    with torch.no_grad():
        nearest = torch.cat([_distances(chunk, keys).argmin(1) for chunk in patches.split(_CHUNK)])
    return (patches - keys[nearest]).square().mean()
