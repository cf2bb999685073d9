"""Ways to fill the unknown of a chart, by name: exemplar methods, and any prior that was trained on the scene.

All of them begin with what is expected from afar, so that windows of one side agree on its material: texels are copied
from where the scene has such colours, blocks are chosen that look like it under a wide blur.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional

from neural3d.errors import InputError
from neural3d.priors.exemplar.nearest import NearestConfig, nearest_fill
from neural3d.priors.exemplar.poisson import solve_poisson
from neural3d.priors.exemplar.quilting import LEAST_BLOCK, QuiltConfig, Texels, quilt, smoothed
from neural3d.priors.files import load_prior
from neural3d.priors.patches import PatchSource, Picture, to_bytes
from neural3d.priors.prior import Prior, PriorConfig
from neural3d.priors.records import Budget, Watch, watch_nothing
from neural3d.priors.registry import ROWS, make_prior
from neural3d.priors.text.clip import EmbeddingPrior
from neural3d.texture.charts import Chart

AUTO, AUTO_FAST = ("smooth", "quilt", "patchnn", "x0"), ("smooth", "quilt", "patchnn")
_EXEMPLAR = ("smooth", "quilt", "patchnn")
_MARGIN_PX = 24
_GRID_PX = 4
"""A crop's sides are multiples of this."""
_FAST_NEAREST = NearestConfig(rounds=2, num_patches=2000)
_FAST_QUILT, _QUILT = QuiltConfig(num_blocks=3000), QuiltConfig()
_EXPECTED_SIGMA_PX = 5.0
"""Of what is expected from afar only this much means something."""
_SMOOTH_ANCHOR = 0.01
"""What is expected is met 10 texels from the border of what is known."""
_ALIKE_PX = 17
"""Side of what is compared in colour, to say which texels are of a material that is expected."""
_ALIKE = 0.25
"""Distance of mean colours, in [-1, 1], within which materials are alike."""
_LEAST_ALIKE = 3000
"""Texels to copy from; where fewer are alike, the most alike ones are taken."""
_PALETTE = 64

Propose = Callable[[Float[Tensor, "3 H W"], Bool[Tensor, "H W"], Texels, torch.Generator], Float[Tensor, "3 H W"]]
"""Fill what is unknown in an image in [-1, 1], with texels to copy from; what is known stays.

Where it is unknown, the image has what is expected from afar.
"""


@dataclass(frozen=True)
class Trainer:
    """What a prior of images is trained with, where a method needs one."""

    charts: Sequence[Chart] = ()
    budget: Budget = Budget()
    seed: int = 0
    watch: Watch = watch_nothing
    """Is asked at each step whether to stop."""


def proposer(name: str, trainer: Trainer = Trainer(), *, is_fast: bool = False, keeps_colors: bool = False) -> Propose:
    """The method of a name: `smooth`, `quilt`, `patchnn`, a prior of the registry, or the file of a prior.

    With `keeps_colors` what is copied is not tinted by what is around it.

    Raises: InputError where there is none of that name, the file is no prior, or the scene shows too little to train.
    """
    nearest = _FAST_NEAREST if is_fast else NearestConfig()
    blocks = replace(_FAST_QUILT if is_fast else _QUILT, keeps_colors=keeps_colors)

    def smooth(image: Tensor, unknown: Tensor, texels: Texels, generator: torch.Generator) -> Tensor:
        across, down = torch.zeros_like(image[..., 1:]), torch.zeros_like(image[:, 1:])
        return solve_poisson(image, unknown, across, down, anchor=_SMOOTH_ANCHOR)

    def copied(image: Tensor, unknown: Tensor, texels: Texels, generator: torch.Generator) -> Tensor:
        coarse = replace(blocks, guide_sigma_px=_EXPECTED_SIGMA_PX)
        return quilt(image, unknown, texels, generator, image, coarse)

    def resembling(image: Tensor, unknown: Tensor, texels: Texels, generator: torch.Generator) -> Tensor:
        found = nearest_fill(image, unknown, texels, generator, nearest, start=image)
        # Patches that resemble each other, step by step, may end at other colours than those that are expected.
        guide = found + smoothed(image - found, _EXPECTED_SIGMA_PX)
        return quilt(image, unknown, texels, generator, guide, blocks)

    exemplar: dict[str, Propose] = {"smooth": smooth, "quilt": copied, "patchnn": resembling}
    return exemplar[name] if name in exemplar else _guided_by(_prior(name, trainer), blocks)


def require_method(name: str) -> None:
    """Raises: InputError where there is no method of that name, or it can fill nothing here."""
    if name in ("auto", *_EXEMPLAR):
        return
    if Path(name).is_file():
        _require_filling(name, load_prior(Path(name)))
    elif name not in ROWS:
        known = ", ".join(["auto", *_EXEMPLAR, *(row for row in ROWS if row not in _EXEMPLAR)])
        raise InputError(f"--method {name}: there is no such method; choose {known}, or the file of a trained prior")
    elif ROWS[name].labels == "needed":
        raise InputError(
            f"--method {name}: it learns classes, and a scene has none; train it on images of your own "
            f"(neural3d prior train --prior {name}) and give its file"
        )
    else:
        with torch.device("meta"):
            _require_filling(name, make_prior(PriorConfig(name, ROWS[name].size)))


def _require_filling(name: str, prior: Prior) -> None:
    if isinstance(prior, EmbeddingPrior):
        raise InputError(
            f"--method {name}: {prior.config.name} tells which texts and images fit and fills no holes; "
            "vqgan-clip and unclip, which hold such an embedding, do"
        )


def least_source_px(method: str) -> int:
    """Side of the smallest image that a method can copy texels from."""
    return NearestConfig().patch if method in ("auto", "patchnn") else LEAST_BLOCK


def filled(
    chart: Chart,
    propose: Propose,
    library: Sequence[Chart],
    generator: torch.Generator,
    source: Texels | None = None,
) -> Float[Tensor, "3 H W"]:
    """The chart's image with its unknown texels filled; texels come from the chart itself and from the library.

    Of these only such are copied as are of the colours that the chart expects where it is unknown. A `source` takes the
    place of both, as it is. What lies beside the surface is filled along, and means nothing.

    Raises: InputError where nothing large enough is known to copy from.
    """
    box = box_of(chart.unknown)
    known = chart.known[box]
    mean = _mean_color([chart, *library])
    image = torch.where((chart.known | chart.unknown)[box], chart.image[(slice(None), *box)], mean)
    texels = alike(texels_of([chart, *library]), chart.image[:, chart.unknown].T) if source is None else source
    result = chart.image.clone()
    try:
        proposed = propose(image, ~known, texels, generator)
    except ValueError as error:
        raise InputError(
            f"the surface shows too little that could be copied ({error}); take a larger --texture"
        ) from error
    result[(slice(None), *box)] = torch.where(known, image, proposed.clamp(-1, 1))
    return result


def texels_of(charts: Sequence[Chart]) -> Texels:
    """What is known of several charts, to copy from; what is not known is their mean colour."""
    mean = _mean_color(charts)
    images = tuple(torch.where(chart.known, chart.image, mean) for chart in charts)
    return Texels(images, tuple(chart.known for chart in charts))


def alike(texels: Texels, colors: Float[Tensor, "N 3"]) -> Texels:
    """Of the texels those around which the mean colour is near to one of `colors`."""
    palette = colors[torch.linspace(0, len(colors) - 1, min(_PALETTE, len(colors))).round().long()]
    apart = [
        torch.where(known, _distances(image, known, palette), torch.inf)
        for image, known in zip(texels.images, texels.known, strict=True)
    ]
    all_of_them = torch.cat([distances[distances.isfinite()] for distances in apart])
    if len(all_of_them) == 0:
        return texels
    enough = float(all_of_them.kthvalue(min(_LEAST_ALIKE, len(all_of_them))).values)
    limit, reach = max(_ALIKE, enough), _ALIKE_PX // 2
    near = [functional.max_pool2d((d <= limit)[None, None].float(), _ALIKE_PX, 1, reach)[0, 0] > 0 for d in apart]
    return Texels(texels.images, tuple(known & mask for known, mask in zip(texels.known, near, strict=True)))


def _distances(image: Tensor, known: Tensor, palette: Float[Tensor, "K 3"]) -> Float[Tensor, "H W"]:
    """Of the mean of what is known around each texel to the nearest colour of the palette."""
    layers = torch.cat([image * known, known[None].float()])[None]
    sums = functional.avg_pool2d(layers, _ALIKE_PX, 1, _ALIKE_PX // 2)[0]
    means = (sums[:3] / sums[3:].clamp_min(1e-6)).flatten(1).T
    return torch.cdist(means, palette).amin(1).view_as(known)


def _prior(name: str, trainer: Trainer) -> Prior:
    if Path(name).is_file():
        return load_prior(Path(name))
    pictures = [Picture(to_bytes(chart.image[None])[0].numpy(), chart.known.numpy()) for chart in trainer.charts]
    if not pictures:
        raise InputError("no place of the surface is known well enough to train a prior on; try --method quilt")
    prior = make_prior(PriorConfig(name, ROWS[name].size), trainer.seed)
    prior.fit(PatchSource(pictures, prior.config.size), trainer.budget, trainer.seed, trainer.watch)
    return prior


def _guided_by(prior: Prior, blocks: QuiltConfig) -> Propose:
    """Texels copied along what a prior proposes: it gives the structure, they give the detail."""

    def propose(image: Tensor, unknown: Tensor, texels: Texels, generator: torch.Generator) -> Tensor:
        seed = int(torch.randint(2**31, (1,), generator=generator))
        guide = prior.inpaint(image[None], unknown[None, None], seed=seed)[0]
        return quilt(image, unknown, texels, generator, guide, blocks)

    return propose


def box_of(unknown: Bool[Tensor, "H W"]) -> tuple[slice, slice]:
    """What surrounds the unknown, with a margin."""
    sides = []
    for axis, length in ((1, unknown.shape[0]), (0, unknown.shape[1])):
        at = unknown.any(axis).nonzero()[:, 0]
        first, last = max(0, int(at[0]) - _MARGIN_PX), min(length, int(at[-1]) + 1 + _MARGIN_PX)
        first -= first % _GRID_PX
        sides.append(slice(first, min(length, last + (first - last) % _GRID_PX)))
    return sides[0], sides[1]


def _mean_color(charts: Sequence[Chart]) -> Float[Tensor, "3 1 1"]:
    total = sum((chart.image * chart.known).sum((1, 2)) for chart in charts)
    count = sum(int(chart.known.sum()) for chart in charts)
    return (total / max(count, 1))[:, None, None]
