"""prior: train, sample and inpaint with the 2D generative priors on their own."""

import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, UInt8
from PIL import Image

from neural3d.capture.listing import BadFrame
from neural3d.capture.photo_files import read_photo
from neural3d.cli.answers import answer
from neural3d.cli.interrupts import Interrupts
from neural3d.cli.options import Prior as PriorCommand
from neural3d.cli.options import PriorInpaint, PriorSample, PriorTrain
from neural3d.cli.progress import clock, say
from neural3d.errors import InputError
from neural3d.priors.exemplar.quilting import Texels, quilt
from neural3d.priors.files import load_prior, save_prior
from neural3d.priors.fitting import seeded
from neural3d.priors.folders import read_folder, scaled
from neural3d.priors.patches import PatchSource, to_bytes, to_signed
from neural3d.priors.prior import Prior, PriorConfig
from neural3d.priors.records import Budget, Condition, FitProgress
from neural3d.priors.registry import make_prior, row_of
from neural3d.priors.sheets import contact_sheet
from neural3d.render.images import write_png
from neural3d.run import check_parents

DEFAULT_SECONDS = 60.0
_MAX_SAMPLES, _MAX_ENLARGE, _MAX_SEED = 1024, 16, 2**63 - 1
_SECONDS_BETWEEN_LINES = 5.0
_WHITE_ABOVE = 127


def run_prior(command: PriorCommand, interrupts: Interrupts) -> int:
    """Run one of the three."""
    match command.action:
        case PriorTrain():
            answer(train(command.action, interrupts), command.action.json)
            interrupts.raise_if_requested()
        case PriorSample():
            answer(sample(command.action), False)
        case PriorInpaint():
            answer(inpaint(command.action), False)
    return 0


def train(options: PriorTrain, interrupts: Interrupts) -> dict[str, Any]:
    """Fit and save; Ctrl-C ends the fit early and saves what was learnt.

    Raises: InputError; StorageError; NumericError.
    """
    row, budget = row_of(options.prior), _budget(options)
    _check_output(options.output)
    _check_range("--seed", options.seed, 0, _MAX_SEED)
    size = row.size if options.size is None else options.size
    if options.downscale is not None and not 1 <= options.downscale <= 1000:
        raise InputError(f"--downscale {options.downscale:g}: expected 1 to 1000")
    make_prior(PriorConfig(options.prior, size, ("a", "b") if row.labels == "needed" else ()))  # refused before reading
    folder = read_folder(options.images, size, options.downscale)
    for line in folder.skipped:
        say(f"neural3d: warning: skipped: {line}")
    if folder.num_left_out:
        say(f"neural3d: warning: left out {folder.num_left_out} images, to spare memory")
    labels = () if row.labels == "ignored" else folder.labels
    prior = make_prior(PriorConfig(options.prior, size, labels, folder.downscale), options.seed)
    source = PatchSource(folder.pictures, size, folder.labels)
    line = _FitLine(interrupts)
    with interrupts.graceful():
        reports = prior.fit(source, budget, options.seed, line)
    facts = {"seed": options.seed, "num_images": len(folder.pictures), "stages": [asdict(r) for r in reports]}
    save_prior(options.output, prior, facts)
    return {"output": str(options.output), **asdict(prior.config), "labels": list(labels), **facts}


def sample(options: PriorSample) -> dict[str, Any]:
    """Draw, and write the sheet.

    Raises: InputError; StorageError.
    """
    _check_png(options.output)
    _check_range("--count", options.count, 1, _MAX_SAMPLES)
    _check_range("--enlarge", options.enlarge, 1, _MAX_ENLARGE)
    _check_range("--seed", options.seed, 0, _MAX_SEED)
    prior = load_prior(options.file)
    start = time.monotonic()
    images = prior.sample(options.count, _condition(prior, options.label, options.count), options.seed)
    seconds = time.monotonic() - start
    write_png(options.output, contact_sheet(images, options.enlarge))
    return {"output": str(options.output), "prior": prior.config.name, "count": options.count, "seconds": seconds}


def inpaint(options: PriorInpaint) -> dict[str, Any]:
    """Fill the hole at the scale that the prior learnt, and lay it into the image.

    Raises: InputError; StorageError.
    """
    _check_png(options.output)
    _check_range("--seed", options.seed, 0, _MAX_SEED)
    prior = load_prior(options.file)
    pixels, hole = _read_image(options.image), _read_mask(options.mask)
    if hole.shape != pixels.shape[:2]:
        sizes = [f"{shape[1]} x {shape[0]}" for shape in (hole.shape, pixels.shape)]
        raise InputError(f"{options.mask}: the mask is {sizes[0]}, the image {sizes[1]}; they must be equal")
    if not hole.any() or hole.all():
        what = "nothing is white, so there is nothing to fill" if not hole.any() else "all is white, nothing is known"
        raise InputError(f"{options.mask}: {what}; paint white what shall be filled, and black what is known")
    filled = _filled(prior, pixels, hole, _condition(prior, options.label, 1), options.seed)
    if options.refine:
        filled = _refined(pixels, hole, filled, options.seed)
    result = np.where(hole[..., None], filled, pixels)
    write_png(options.output, torch.from_numpy(result).float() / 255)
    return {"output": str(options.output), "prior": prior.config.name, "filled_pixels": int(hole.sum())}


def _filled(
    prior: Prior, pixels: UInt8[np.ndarray, "H W 3"], hole: Bool[np.ndarray, "H W"], condition: Condition, seed: int
) -> UInt8[np.ndarray, "H W 3"]:
    """The image as the prior completes it, back at its own size."""
    downscale = prior.config.downscale
    known = scaled(Image.fromarray(np.where(hole, 0, 255).astype(np.uint8)), downscale)
    unknown = torch.from_numpy(np.array(known) < 255)[None, None]
    if bool(unknown.all()):
        raise InputError(f"nothing is known at 1/{downscale:g} of the size, which this prior learnt; mask less")
    small = torch.from_numpy(np.array(scaled(Image.fromarray(pixels), downscale)))[None]
    filled = to_bytes(prior.inpaint(to_signed(small), unknown, condition, seed))[0].numpy()
    size = (pixels.shape[1], pixels.shape[0])
    return np.array(Image.fromarray(filled).resize(size, Image.Resampling.BICUBIC))


def _refined(
    pixels: UInt8[np.ndarray, "H W 3"], hole: Bool[np.ndarray, "H W"], filled: UInt8[np.ndarray, "H W 3"], seed: int
) -> UInt8[np.ndarray, "H W 3"]:
    """The hole filled with texels of the image that look like what is proposed."""
    image, guide = (to_signed(torch.from_numpy(array)[None])[0] for array in (pixels, filled))
    unknown = torch.from_numpy(hole)
    try:
        quilted = quilt(image, unknown, Texels((image,), (~unknown,)), seeded(seed), guide)
    except ValueError as error:
        raise InputError(f"--refine: {error}") from error
    return to_bytes(quilted[None])[0].numpy()


class _FitLine:
    """Says how far a fit is, and passes on the wish to stop."""

    def __init__(self, interrupts: Interrupts) -> None:
        self._interrupts, self._next, self._start = interrupts, 0.0, time.monotonic()
        self._is_terminal = sys.stderr.isatty()

    def __call__(self, progress: FitProgress) -> bool:
        now = time.monotonic()
        is_last = progress.fraction >= 1
        if now >= self._next or is_last:
            self._next = now + (0.2 if self._is_terminal else _SECONDS_BETWEEN_LINES)
            end = "\n" if is_last or not self._is_terminal else ""
            start = "\r\x1b[K" if self._is_terminal else ""
            print(f"{start}{_told(progress, now - self._start)}", end=end, file=sys.stderr, flush=True)
        return self._interrupts.requested() == "stop"


def _told(progress: FitProgress, seconds: float) -> str:
    return (
        f"{progress.stage}  {100 * progress.fraction:3.0f} %  step {progress.step:,}  "
        f"loss {progress.loss:.4f}  {clock(seconds)}"
    )


def _budget(options: PriorTrain) -> Budget:
    seconds = DEFAULT_SECONDS if options.seconds is None and options.steps is None else options.seconds
    if seconds is not None and not 0 < seconds < 1e7:
        raise InputError(f"--seconds {seconds:g}: expected more than 0")
    if options.steps is not None:
        _check_range("--steps", options.steps, 1, 10**9)
    return Budget(seconds, options.steps)


def _condition(prior: Prior, label: str | None, count: int) -> Condition:
    if label is None:
        return Condition()
    names = prior.config.labels
    if label not in names:
        known = f"it knows {', '.join(names)}" if names else "it was trained without labels; leave --label out"
        raise InputError(f"--label {label}: not a label of this prior; {known}")
    return Condition(torch.full((count,), names.index(label)))


def _read_image(path: Path) -> UInt8[np.ndarray, "H W 3"]:
    pixels = _read(path)
    return np.ascontiguousarray(np.repeat(pixels, 3, axis=2) if pixels.shape[2] == 1 else pixels[..., :3])


def _read_mask(path: Path) -> Bool[np.ndarray, "H W"]:
    return _read(path)[..., :3].max(axis=2) > _WHITE_ABOVE


def _read(path: Path) -> UInt8[np.ndarray, "H W C"]:
    try:
        return read_photo(path).pixels
    except BadFrame as error:
        raise InputError(f"{path}: {error}; give an image that can be read") from error


def _check_output(path: Path) -> None:
    check_parents(path)
    if path.exists():
        raise InputError(f"--output {path}: is there already; choose another name, or remove it")


def _check_png(path: Path) -> None:
    if path.suffix.lower() != ".png":
        raise InputError(f"--output {path}: pictures are written as .png; choose such a name")
    _check_output(path)


def _check_range(name: str, value: int, least: int, most: int) -> None:
    if not least <= value <= most:
        raise InputError(f"{name} {value}: expected {least} to {most}")
