"""How good a completed texture is, without downloaded weights: what a critic, patches, edges and seams say.

No number here ranks alone. Pixel errors reward blur in wide holes; a distance rewards whoever optimises it; seams and
sharpness are blind to what is shown. Each has a floor, what true texels score, and is to be read against it.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor
from torch.nn import functional

from neural3d.priors.fitting import seeded
from neural3d.priors.records import Images

WINDOW_PX, STRIDE_PX = 16, 4
_FEATURE_CHANNELS = (16, 32, 32)
_WITHIN = 0.75
"""Share of a window that must lie in the hole."""
_RIDGE = 1.0
_ROUNDS = 8
_INVISIBLE = 0.02
"""A mean step between neighbours, in [-1, 1], that nobody sees: it keeps ratios of nothing to nothing at one."""
_PATCH, _PROJECTIONS, _QUANTILES, _SCALES = 7, 128, 64, 3


class RandomFeatures:
    """Mean and spread, window by window, of what three layers of random filters answer.

    Source: Ustyuzhaninov et al. 2016, Texture Synthesis Using Shallow Convolutional Networks with Random Filters.
    """

    def __init__(self, seed: int = 0) -> None:
        generator, inputs, self._filters = seeded(seed), 3, []
        for outputs in _FEATURE_CHANNELS:
            filters = torch.randn(outputs, inputs, 3, 3, generator=generator)
            filters -= 0.9 * filters.mean((2, 3), keepdim=True)  # mostly edges, but colour counts, too
            self._filters.append(filters / filters.flatten(1).norm(dim=1)[:, None, None, None])
            inputs = outputs

    def of_windows(self, image: Float[Tensor, "3 H W"]) -> Float[Tensor, "R K F"]:
        """For each place of a window, by rows and columns."""
        found, layer = [], image[None]
        for depth, filters in enumerate(self._filters):
            layer = functional.conv2d(functional.pad(layer, 4 * [1], mode="replicate"), filters).relu()
            side, stride = max(1, WINDOW_PX >> depth), max(1, STRIDE_PX >> depth)
            mean = functional.avg_pool2d(layer, side, stride)
            spread = (functional.avg_pool2d(layer.square(), side, stride) - mean.square()).clamp_min(0).sqrt()
            found.append(torch.cat([mean, spread], 1)[0])
            layer = functional.avg_pool2d(layer, 2)
        rows, columns = (min(layer.shape[axis] for layer in found) for axis in (1, 2))
        return torch.cat([layer[:, :rows, :columns] for layer in found]).permute(1, 2, 0)


@dataclass(frozen=True)
class Windows:
    """Features of the windows in holes, and which block of texels each window is of: blocks share no window."""

    features: Float[Tensor, "N F"]
    blocks: Int64[Tensor, "N"]


def hole_windows(
    image: Float[Tensor, "3 H W"], hole: Bool[Tensor, "H W"], features: RandomFeatures, first_block: int = 0
) -> Windows:
    """The windows of an image that lie in its hole for the most part."""
    found = features.of_windows(image)
    share = functional.avg_pool2d(hole[None, None].float(), WINDOW_PX, STRIDE_PX)[0, 0]
    rows, columns = (share[: found.shape[0], : found.shape[1]] >= _WITHIN).nonzero().unbind(1)
    across = 1 + found.shape[1] * STRIDE_PX // WINDOW_PX
    blocks = (rows * STRIDE_PX // WINDOW_PX) * across + columns * STRIDE_PX // WINDOW_PX
    return Windows(found[rows, columns], first_block + blocks)


def joined(parts: Sequence[Windows]) -> Windows:
    """Windows of several holes, their blocks told apart."""
    blocks, first = [], 0
    for part in parts:
        blocks.append(part.blocks + first)
        first = int(blocks[-1].max()) + 1 if len(part.blocks) else first
    return Windows(torch.cat([part.features for part in parts]), torch.cat(blocks))


def c2st(filled: Windows, true: Windows, seed: int = 0) -> float:
    """How well a critic tells what was filled in from the true texels of the same places: area under its curve.

    0.5: not at all; 1: always. A place is shown to the critic either as filled or as true, so that true texels score
    about 0.5 against themselves. The critic is linear, learns from one half of the blocks and is asked about the other.
    NaN where there are fewer than four blocks.

    Source: Lopez-Paz and Oquab 2017, Revisiting Classifier Two-Sample Tests.
    """
    names, numbers = true.blocks.unique(return_inverse=True)
    if len(names) < 4:
        return math.nan
    generator, areas = seeded(seed), []
    for _ in range(_ROUNDS):
        order = torch.randperm(len(names), generator=generator)
        group = torch.empty_like(order)
        group[order] = torch.arange(len(names)) % 4
        is_true, fold = (group[numbers] % 2).bool(), group[numbers] // 2
        shown = torch.where(is_true[:, None], true.features, filled.features)
        areas += [_area(shown, is_true, fold != asked) for asked in (0, 1)]
    return math.fsum(areas) / len(areas)


def _area(features: Tensor, is_true: Tensor, learns: Tensor) -> float:
    """A ridge discriminant's area under the curve, on those that it did not learn from."""
    mean, spread = features[learns].mean(0), features[learns].std(0).clamp_min(1e-6)
    known, asked = ((features[rows] - mean) / spread for rows in (learns, ~learns))
    sides = [known[is_true[learns] == side] for side in (True, False)]
    within = sum((side - side.mean(0)).T @ (side - side.mean(0)) for side in sides) / len(known)
    size = within.shape[0]
    direction = torch.linalg.solve(within + _RIDGE * torch.eye(size), sides[0].mean(0) - sides[1].mean(0))
    scores, truth = asked @ direction, is_true[~learns]
    return area_under_curve(scores[truth], scores[~truth])


def area_under_curve(first: Float[Tensor, "N"], second: Float[Tensor, "M"]) -> float:
    """How often a score of the first set is above one of the second."""
    above = first[:, None] - second[None]
    return float(((above > 0).float() + 0.5 * (above == 0).float()).mean())


def swd(
    filled: Float[Tensor, "3 H W"], true: Float[Tensor, "3 H W"], hole: Bool[Tensor, "H W"], seed: int = 0
) -> float:
    """Sliced Wasserstein distance between the patches of two images in a hole, the mean over three scales.

    In units of the pixels. The patches' order does not count: a copy from elsewhere that looks alike costs nothing.

    Source: Rabin et al. 2011, Wasserstein Barycenter and Its Application to Texture Mixing.
    """
    distances = []
    for _ in range(_SCALES):
        sets = [_patches_in(image, hole) for image in (filled, true)]
        if len(sets[0]):
            distances.append(sliced_distance(*sets, seed=seed))
        filled, true = (functional.avg_pool2d(image[None], 2)[0] for image in (filled, true))
        hole = functional.avg_pool2d(hole[None, None].float(), 2)[0, 0] > 0.99
    return math.fsum(distances) / len(distances) if distances else math.nan


def sliced_distance(first: Float[Tensor, "N D"], second: Float[Tensor, "M D"], seed: int = 0) -> float:
    """Mean distance of quantiles along random directions, of points of any two numbers."""
    directions = torch.randn(first.shape[1], _PROJECTIONS, generator=seeded(seed))
    directions = directions / directions.norm(dim=0)
    levels = (torch.arange(_QUANTILES) + 0.5) / _QUANTILES
    quantiles = [
        points.sort(0).values[(levels * len(points)).long()] for points in (first @ directions, second @ directions)
    ]
    return float((quantiles[0] - quantiles[1]).abs().mean())


def _patches_in(image: Tensor, hole: Tensor) -> Tensor:
    if min(hole.shape) < _PATCH:
        return torch.zeros(0, 3 * _PATCH * _PATCH)
    centres = hole[_PATCH // 2 : hole.shape[0] - _PATCH // 2, _PATCH // 2 : hole.shape[1] - _PATCH // 2]
    return functional.unfold(image[None], _PATCH)[0].T[centres.flatten()]


def sharpness(image: Float[Tensor, "3 H W"], where: Bool[Tensor, "H W"]) -> float:
    """Mean size of the Laplacian; of a hole to that of known texels it is an alarm for blur."""
    kernel = torch.tensor([[0.0, 1, 0], [1, -4, 1], [0, 1, 0]]).expand(3, 1, 3, 3)
    padded = functional.pad(image[None], 4 * [1], mode="replicate")
    return float(functional.conv2d(padded, kernel, groups=3)[0].abs().mean(0)[where].mean())


def seam(image: Float[Tensor, "3 H W"], hole: Bool[Tensor, "H W"]) -> float:
    """Mean step across the hole's border, against the mean step of the image where it is known."""
    crossing, outside = [], []
    for axis in (0, 1):
        steps = image.diff(dim=axis + 1).abs().mean(0).flatten()
        length = hole.shape[axis] - 1
        first, second = (hole.narrow(axis, start, length).flatten() for start in (0, 1))
        crossing.append(steps[first != second])
        outside.append(steps[~first & ~second])
    there, known = torch.cat(crossing), torch.cat(outside)
    return float((there.mean() + _INVISIBLE) / (known.mean() + _INVISIBLE)) if len(there) and len(known) else math.nan


def recall(real: Float[Tensor, "N F"], drawn: Float[Tensor, "M F"], neighbours: int = 3) -> float:
    """Which share of real features lies among the drawn ones: coverage.

    Source: Kynkaanniemi et al. 2019, Improved Precision and Recall Metric for Assessing Generative Models, equation 2.
    """
    reach = torch.cdist(drawn, drawn).kthvalue(min(neighbours + 1, len(drawn)), dim=1).values
    return float((torch.cdist(real, drawn) <= reach).any(1).float().mean())


def whole_features(images: Images, features: RandomFeatures) -> Float[Tensor, "B F"]:
    """One row an image: the mean over its windows."""
    return torch.stack([features.of_windows(image).mean((0, 1)) for image in images])


def frechet_distance(first: Float[Tensor, "N F"], second: Float[Tensor, "M F"]) -> float:
    """Between the normal laws of two sets of features: FID where these are Inception's.

    Source: Heusel et al. 2017, GANs Trained by a Two Time-Scale Update Rule, equation 6.
    """
    means = [points.double().mean(0) for points in (first, second)]
    spreads = [torch.cov(points.double().T) for points in (first, second)]
    values, vectors = torch.linalg.eigh(spreads[0])
    root = vectors @ torch.diag(values.clamp_min(0).sqrt()) @ vectors.T
    crossed = torch.linalg.eigvalsh(root @ spreads[1] @ root).clamp_min(0).sqrt().sum()
    apart = (means[0] - means[1]).square().sum()
    return float(apart + spreads[0].trace() + spreads[1].trace() - 2 * crossed)


def kernel_distance(first: Float[Tensor, "N F"], second: Float[Tensor, "M F"]) -> float:
    """Unbiased squared maximum mean discrepancy with a cubic kernel: KID where the features are Inception's.

    Source: Binkowski et al. 2018, Demystifying MMD GANs, section 4.
    """
    a, b = first.double(), second.double()

    def kernel(x: Tensor, y: Tensor) -> Tensor:
        return (x @ y.T / x.shape[1] + 1) ** 3

    def among(x: Tensor) -> Tensor:
        values = kernel(x, x)
        return (values.sum() - values.diagonal().sum()) / (len(x) * (len(x) - 1))

    return float(among(a) + among(b) - 2 * kernel(a, b).mean())


def bootstrap_interval(values: Sequence[float], seed: int = 0, rounds: int = 2000) -> tuple[float, float]:
    """Where the mean lies with 95 % confidence, by drawing again from the values.

    Source: Efron 1979, Bootstrap Methods: Another Look at the Jackknife.
    """
    numbers = torch.tensor(values, dtype=torch.float64)
    drawn = torch.randint(len(numbers), (rounds, len(numbers)), generator=seeded(seed))
    low, high = numbers[drawn].mean(1).quantile(torch.tensor([0.025, 0.975], dtype=torch.float64)).tolist()
    return low, high


@dataclass(frozen=True)
class Card:
    """What a completed hole scores, where the true texels are known."""

    c2st: float
    """0.5: nobody can tell it from the truth; 1: everybody can."""
    swd: float
    """Distance of patches, as a share of the truth's standard deviation."""
    sharpness: float
    """Against the truth's: 1 is as sharp."""
    seam: float
    """Against the truth's: 1 is as smooth a border."""
    layout: float
    """Squared error at a quarter of the size, as a share of the truth's variance there, at most 1."""

    @property
    def penalty(self) -> float:
        """One number to choose by, 0 for the truth: each of the five in units of what is plainly visible."""
        parts = (
            2 * max(0.0, (0.5 if math.isnan(self.c2st) else self.c2st) - 0.5),
            self.swd,
            abs(math.log(max(self.sharpness, 1e-3))),
            max(0.0, math.log(max(self.seam, 1e-3))),
            self.layout,
        )
        return math.fsum(part for part in parts if math.isfinite(part))


@torch.no_grad()
def score(
    filled: Sequence[Float[Tensor, "3 _ _"]],
    true: Sequence[Float[Tensor, "3 _ _"]],
    holes: Sequence[Bool[Tensor, "_ _"]],
    seed: int = 0,
) -> Card:
    """Hold what was filled in against the truth, over one or several holes; the critic sees all of them together."""
    features = RandomFeatures()
    windows = [
        joined([hole_windows(image, hole, features) for image, hole in zip(images, holes, strict=True)])
        for images in (filled, true)
    ]
    each = [_of_one(*one, seed) for one in zip(filled, true, holes, strict=True)]
    distance, sharp, step, layout = (_mean_of(column) for column in zip(*each, strict=True))
    return Card(c2st(*windows, seed=seed), distance, sharp, step, layout)


def _of_one(filled: Tensor, true: Tensor, hole: Tensor, seed: int) -> tuple[float, float, float, float]:
    spread = float(true[:, hole].std().clamp_min(1e-3))
    sharp = (sharpness(filled, hole) + _INVISIBLE) / (sharpness(true, hole) + _INVISIBLE)
    step = seam(filled, hole) / seam(true, hole)
    return swd(filled, true, hole, seed) / spread, sharp, step, _layout(filled, true, hole)


def _layout(filled: Tensor, true: Tensor, hole: Tensor) -> float:
    small = [functional.avg_pool2d(image[None], 4, ceil_mode=True)[0] for image in (filled, true)]
    inside = functional.avg_pool2d(hole[None, None].float(), 4, ceil_mode=True)[0, 0] > 0.5
    if not bool(inside.any()):
        return math.nan
    variance = float((small[1][:, inside] - small[1][:, inside].mean(1, keepdim=True)).square().mean())
    error = float((small[0] - small[1])[:, inside].square().mean())
    return min(1.0, error / max(variance, 1e-4))


def _mean_of(values: Sequence[float]) -> float:
    finite = [value for value in values if math.isfinite(value)]
    return math.fsum(finite) / len(finite) if finite else math.nan
