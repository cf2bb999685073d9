"""The priors table: what each prior draws after the same short training, how fast, and how much of the truth it covers.

The three legs of the trilemma (Xiao et al. 2022, Tackling the Generative Learning Trilemma with Denoising Diffusion
GANs), each beside what true patches score.
"""

import time
from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from neural3d.bench.machine import provenance
from neural3d.bench.texture_cases import MADE
from neural3d.priors.fitting import seeded
from neural3d.priors.metrics import (
    RandomFeatures,
    bootstrap_interval,
    kernel_distance,
    recall,
    sharpness,
    whole_features,
)
from neural3d.priors.patches import PatchSource, Picture, to_bytes
from neural3d.priors.prior import Prior, PriorConfig
from neural3d.priors.records import Budget, Condition, Images
from neural3d.priors.registry import ROWS, make_prior

SECONDS, DRAWN, SEEDS = 15.0, 48, 3
FLOOR = "true patches"
_TEXTURES = ("bricks", "weave", "stones", "plaster")
COPIES = ("clip", "patchnn", "quilt")
"""What these draw are patches of the images, whole or in pieces."""
_SIDE = 192
_MOST_PX = 32
"""Side of the patches, so that most priors are judged by one floor; igpt's are smaller."""


def measure_priors(
    names: Sequence[str] = tuple(ROWS), *, seconds: float = SECONDS, drawn: int = DRAWN, seeds: int = SEEDS
) -> dict[str, Any]:
    """Train each prior for so long on four textures made in code, and draw `seeds` times so many images.

    Raises: NumericError where a training comes to nothing.
    Limits: one training each, so that the intervals speak of the draws alone.
    """
    rows = {name: _row(name, seconds, drawn, seeds) for name in names}
    sizes = sorted({row["size"] for row in rows.values()})
    floors = {str(size): _scores(*_true_sets(size, drawn, seeds)) for size in sizes}
    return {
        "table": "priors",
        "seconds": seconds,
        "drawn": drawn,
        "seeds": seeds,
        "textures": list(_TEXTURES),
        "floors": floors,
        "priors": rows,
        **provenance(),
    }


def textures(size: int) -> PatchSource:
    """The four, each with its name as a label."""
    pictures = [Picture(to_bytes(MADE[name](_SIDE, 0)[None])[0].numpy(), None, i) for i, name in enumerate(_TEXTURES)]
    return PatchSource(pictures, size, _TEXTURES)


def _row(name: str, seconds: float, drawn: int, seeds: int) -> dict[str, Any]:
    size = min(_MOST_PX, ROWS[name].size)
    source = textures(size)
    prior = make_prior(PriorConfig(name, size, () if ROWS[name].labels == "ignored" else source.labels))
    began = time.monotonic()
    reports = prior.fit(source, Budget(seconds))
    trained = time.monotonic() - began
    began = time.monotonic()
    sets = [prior.sample(drawn, _asked(prior, drawn), seed=seed) for seed in range(seeds)]
    taken = time.monotonic() - began
    return {
        "size": size,
        "steps": sum(report.steps for report in reports),
        "train_seconds": trained,
        "images_a_second": drawn * seeds / taken,
        "copies": name in COPIES,
        **_scores(sets, _true_sets(size, drawn, seeds)[1]),
    }


def _asked(prior: Prior, count: int) -> Condition:
    """Classes in turn, where a prior has to be asked for one; else nothing."""
    if ROWS[prior.config.name].labels != "needed":
        return Condition()
    return Condition(torch.arange(count) % len(prior.config.labels))


def _true_sets(size: int, drawn: int, seeds: int) -> tuple[list[Images], list[Images]]:
    """Two independent lots of draws from the textures: one to be judged, one to judge by."""
    source = textures(size)
    return tuple([source.draw(drawn, seeded(first + seed)).images for seed in range(seeds)] for first in (1000, 2000))


def _scores(sets: Sequence[Images], true: Sequence[Images]) -> dict[str, Any]:
    """Draw by draw against as many true patches: precision, coverage, distance; and how sharp."""
    features = RandomFeatures()
    pairs = [(whole_features(a, features), whole_features(b, features)) for a, b in zip(sets, true, strict=True)]
    columns = {
        "precision": [recall(*_scaled(a, b)) for a, b in pairs],
        "coverage": [recall(*reversed(_scaled(a, b))) for a, b in pairs],
        "distance": [kernel_distance(*_scaled(a, b)) for a, b in pairs],
        "sharpness": [_sharp(a) / _sharp(b) for a, b in zip(sets, true, strict=True)],
    }
    return {
        name: {"mean": sum(values) / len(values), "interval": bootstrap_interval(values)}
        for name, values in columns.items()
    }


def _scaled(drawn: Float[Tensor, "N F"], true: Float[Tensor, "N F"]) -> list[Tensor]:
    """Both in units of the truth's spread, feature by feature: else the brightest filter alone would count."""
    mean, spread = true.mean(0), true.std(0).clamp_min(1e-4)
    return [(drawn - mean) / spread, (true - mean) / spread]


def _sharp(images: Images) -> float:
    everywhere = torch.ones(images.shape[-2:], dtype=torch.bool)
    return sum(sharpness(image, everywhere) for image in images) / len(images)
