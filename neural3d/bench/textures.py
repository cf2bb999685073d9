"""The textures table: holes as occlusion leaves them, filled by our methods and by those that others have."""

import math
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from neural3d.bench.machine import provenance
from neural3d.bench.patch_distribution import matched_fill
from neural3d.bench.texture_cases import Case, cases
from neural3d.errors import InputError
from neural3d.priors.critics import Shown, areas_across, shown
from neural3d.priors.exemplar.nearest import NearestConfig, nearest_fill
from neural3d.priors.exemplar.quilting import Texels
from neural3d.priors.fitting import seeded
from neural3d.priors.metrics import RandomFeatures, bootstrap_interval, score
from neural3d.priors.patches import to_bytes, to_signed
from neural3d.priors.records import Budget
from neural3d.texture.charts import Chart, continued, frame_at
from neural3d.texture.choice import choose
from neural3d.texture.proposals import Trainer, filled, proposer

_PLAIN = NearestConfig(completeness=1e9)
_OFF: dict[str, Callable[[float], float]] = {
    "critic": lambda area: area,
    "c2st": lambda area: area,
    "swd": lambda distance: distance,
    "sharpness": lambda ratio: abs(math.log(ratio)),
    "seam": lambda ratio: abs(math.log(ratio)),
}
"""How far a score is from the truth's, but for a constant."""

Fill = Callable[[Float[Tensor, "3 H W"], Bool[Tensor, "H W"], int], Float[Tensor, "3 H W"]]
"""An image in [-1, 1], where it is unknown, a seed; what is known may be changed."""


_PRIOR_SECONDS = 10.0
"""For each texture's own prior, where `auto` tries one."""
TRUE_TEXELS = "true texels"
"""The floor: what the same texture shows elsewhere, laid into the hole."""
_ELSEWHERE = 1000
"""Added to a seed for it."""
_PERIODIC = ("bricks", "weave", "tiles", "knit", "stripes")


def measure_textures(data: Path | None, *, side: int, seeds: int, methods: Sequence[str]) -> dict[str, Any]:
    """Fill each texture's hole by each method, and hold the results against the truth.

    Raises: InputError where a method's library is missing.
    """
    fills, features = {name: _fill(name) for name in methods if name != TRUE_TEXELS}, RandomFeatures()
    rows: list[dict[str, Any]] = []
    seen: dict[str, list[Shown]] = {name: [] for name in (TRUE_TEXELS, *fills)}
    for seed in range(seeds):
        elsewhere = {case.name: case.image for case in cases(data, side, seed + _ELSEWHERE)}
        for case in cases(data, side, seed):
            print(f"seed {seed}, {case.name}", file=sys.stderr)
            true = elsewhere[case.name]
            for name, fill in {TRUE_TEXELS: lambda *_, true=true: true, **fills}.items():
                result, seconds = _filled(fill, case, seed)
                rows.append({"method": name, **_scores(result, case, seed), "seconds": seconds})
                seen[name].append(shown(case.name, result, case.image, case.hole, features))
    for name, windows in seen.items():
        of_method = [row for row in rows if row["method"] == name]
        for row, critic in zip(of_method, areas_across(windows), strict=True):
            row["critic"] = critic
    return {"table": "textures", "side": side, "seeds": seeds, **summed_up(rows), "rows": rows, **provenance()}


def _filled(fill: Fill, case: Case, seed: int) -> tuple[Float[Tensor, "3 H W"], float]:
    began = time.monotonic()
    hidden = torch.where(case.hole, 0.0, case.image)
    result = torch.where(case.hole, fill(hidden, case.hole, seed), case.image)
    return result, time.monotonic() - began


def _scores(result: Tensor, case: Case, seed: int) -> dict[str, Any]:
    card = score([result], [case.image], [case.hole], seed)
    error = float((result - case.image)[:, case.hole].square().mean()) / 4
    psnr = -10 * float(torch.log10(torch.tensor(max(error, 1e-10))))
    return {"texture": case.name, "seed": seed, "psnr": psnr, **asdict(card)}


def summed_up(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Means of each method, and how much better each does than GPDM, and than Telea where patterns repeat."""
    names = tuple(dict.fromkeys(row["method"] for row in rows))
    columns = ("critic", "c2st", "swd", "sharpness", "seam", "layout", "psnr", "seconds")
    return {
        "textures": len({row["texture"] for row in rows}),
        "methods": {
            name: {
                column: by_texture([(r["texture"], r[column]) for r in rows if r["method"] == name])
                for column in columns
            }
            for name in names
        },
        "against": {other: paired(rows, other) for other in names if other != TRUE_TEXELS},
        "periodic_db_over_telea": _over_telea([row for row in rows if row["texture"] in _PERIODIC]),
    }


def _means(rows: Sequence[dict[str, Any]], columns: Sequence[str]) -> dict[str, Any]:
    return {column: by_texture([(row["texture"], row[column]) for row in rows]) for column in columns}


def by_texture(values: Sequence[tuple[str, float]]) -> dict[str, Any]:
    """A mean and its interval: textures are drawn again, not holes, as holes in one texture are alike."""
    names = dict.fromkeys(name for name, _ in values)
    means = [math.fsum(mine) / len(mine) for mine in ([v for n, v in values if n == name] for name in names)]
    return {"mean": math.fsum(means) / len(means), "interval": bootstrap_interval(means)}


def paired(rows: Sequence[dict[str, Any]], other: str) -> dict[str, Any]:
    """How much better each method does than another one, hole by hole: how far that is further from what truth scores.

    The holes differ far more from each other than the methods do, so their means' intervals overlap where these do not.
    """
    cases = {(row["method"], row["texture"], row["seed"]): row for row in rows}
    found: dict[str, Any] = {}
    for method in dict.fromkeys(row["method"] for row in rows):
        pairs = [(row, cases.get((other, *case[1:]))) for case, row in cases.items() if case[0] == method != other]
        for name, off in _OFF.items():
            gains = [(ours["texture"], off(theirs[name]) - off(ours[name])) for ours, theirs in pairs if theirs]
            if gains:
                found.setdefault(method, {})[name] = by_texture(gains)
    return found


def _over_telea(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    telea = {(row["texture"], row["seed"]): row["psnr"] for row in rows if row["method"] == "telea"}
    gains: dict[str, list[tuple[str, float]]] = {}
    for row in rows if telea else ():
        gains.setdefault(row["method"], []).append((row["texture"], row["psnr"] - telea[row["texture"], row["seed"]]))
    return {name: by_texture(values) for name, values in gains.items()}


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
    trainer = Trainer((chart,), Budget(_PRIOR_SECONDS), seed)
    methods = {}
    for method in tried:
        try:
            methods[method] = proposer(method, trainer, is_fast=name == "auto-fast")
        except InputError as error:  # too little is known around this hole to train on: left out as `complete` does
            print(f"{name}: {method} is left out: {error}", file=sys.stderr)
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
