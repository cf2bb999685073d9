"""prior: train, sample and inpaint with the 2D generative priors on their own."""

import sys
import time
from dataclasses import asdict, replace
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
from neural3d.cli.prior_options import Prior as PriorCommand
from neural3d.cli.prior_options import PriorInpaint, PriorSample, PriorTrain
from neural3d.cli.progress import clock, say
from neural3d.errors import InputError
from neural3d.priors.exemplar.quilting import Texels, quilt
from neural3d.priors.files import load_prior, save_prior
from neural3d.priors.fitting import seeded
from neural3d.priors.folders import read_folder, scaled
from neural3d.priors.maps import COMPUTED, ENLARGEMENT, GIVEN, computed_maps, enlarged
from neural3d.priors.patches import PatchSource, to_bytes, to_signed
from neural3d.priors.pretrained.clip import PretrainedClip
from neural3d.priors.pretrained.pipelines import PretrainedPrior
from neural3d.priors.prior import Prior, PriorConfig
from neural3d.priors.records import Budget, Condition, FitProgress, Images
from neural3d.priors.registry import ROWS, make_prior, row_of
from neural3d.priors.sheets import contact_sheet
from neural3d.priors.text.quantized_guidance import TextGuidedPrior
from neural3d.render.images import write_png
from neural3d.run import check_parents

DEFAULT_SECONDS = 60.0
_MAX_SAMPLES, _MAX_ENLARGE, _MAX_SEED = 1024, 16, 2**63 - 1
_SECONDS_BETWEEN_LINES = 5.0
_WHITE_ABOVE = 127
_MAX_MAPPED_PIXELS = 4_000_000


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
    maps, maps_folder = _maps(options.maps)
    labels = ("a", "b") if row.labels == "needed" else ()
    make_prior(PriorConfig(options.prior, size, labels, maps=maps))  # refused before reading
    folder = read_folder(options.images, size, options.downscale, options.labels, maps_folder)
    for line in folder.skipped:
        say(f"neural3d: warning: skipped: {line}")
    if folder.num_left_out:
        say(f"neural3d: warning: left out {folder.num_left_out} images, to spare memory")
    labels = () if row.labels == "ignored" else folder.labels
    prior = make_prior(PriorConfig(options.prior, size, labels, folder.downscale, maps), options.seed)
    source = PatchSource(folder.pictures, size, folder.labels)
    line = _FitLine(interrupts)
    with interrupts.graceful():
        reports = prior.fit(source, budget, options.seed, line)
    facts = {"seed": options.seed, "num_images": len(folder.pictures), "stages": [asdict(r) for r in reports]}
    # Seconds are the machine's day: with them no two files of a seed would be equal.
    timeless = [{name: value for name, value in stage.items() if name != "seconds"} for stage in facts["stages"]]
    save_prior(options.output, prior, {**facts, "stages": timeless})
    return {"output": str(options.output), **asdict(prior.config), "labels": list(labels), **facts}


def sample(options: PriorSample) -> dict[str, Any]:
    """Draw, and write the sheet.

    Raises: InputError; StorageError.
    """
    _check_png(options.output)
    _check_range("--count", options.count, 1, _MAX_SAMPLES)
    _check_range("--enlarge", options.enlarge, 1, _MAX_ENLARGE)
    _check_range("--seed", options.seed, 0, _MAX_SEED)
    prior = _loaded(options.file)
    if options.clip is not None:
        _give_eye(prior, options.clip)
    start = time.monotonic()
    condition = _condition(prior, options.label, options.text, options.count)
    if options.image is not None:
        condition = replace(condition, images=_middle(prior, options.image))
    if options.map is not None:
        condition = replace(condition, maps=_map_to_draw(prior, options.map, options.count))
    images = prior.sample(options.count, condition, options.seed)
    seconds = time.monotonic() - start
    write_png(options.output, contact_sheet(images, options.enlarge))
    return {"output": str(options.output), "prior": prior.config.name, "count": options.count, "seconds": seconds}


def inpaint(options: PriorInpaint) -> dict[str, Any]:
    """Fill the hole at the scale that the prior learnt, and lay it into the image.

    Raises: InputError; StorageError.
    """
    _check_png(options.output)
    _check_range("--seed", options.seed, 0, _MAX_SEED)
    prior = _loaded(options.file, options.control)
    pixels, hole = _read_image(options.image), _read_mask(options.mask)
    if hole.shape != pixels.shape[:2]:
        sizes = [f"{shape[1]} x {shape[0]}" for shape in (hole.shape, pixels.shape)]
        raise InputError(f"{options.mask}: the mask is {sizes[0]}, the image {sizes[1]}; they must be equal")
    if not hole.any() or hole.all():
        what = "nothing is white, so there is nothing to fill" if not hole.any() else "all is white, nothing is known"
        raise InputError(f"{options.mask}: {what}; paint white what shall be filled, and black what is known")
    condition = _condition(prior, options.label, options.text, 1)
    if options.map is not None:
        condition = replace(condition, maps=_map_to_fill(prior, options.map, pixels.shape[:2]))
    filled = _filled(prior, pixels, hole, condition, options.seed)
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


def _condition(prior: Prior, label: str | None, text: str | None, count: int) -> Condition:
    """What is asked for.

    Raises: InputError where the prior cannot be asked so.
    """
    name, names = prior.config.name, prior.config.labels
    if text is not None and "text" not in _reads(prior):
        raise InputError(f"--text: {name} reads no text; {_that_read('text')} do")
    if label is None:
        return Condition(text=text)
    if name in ROWS and row_of(name).labels == "words":
        raise InputError(f"--label {label}: {name} goes by words; use --text")
    if label not in names:
        known = f"it knows {', '.join(names)}" if names else "it was trained without labels; leave --label out"
        raise InputError(f"--label {label}: not a label of this prior; {known}")
    return Condition(torch.full((count,), names.index(label)), text)


def _loaded(path: Path, control: Path | None = None) -> Prior:
    """A prior's file, or a folder of weights."""
    if path.is_dir():
        return PretrainedPrior(path, control)
    if control is not None:
        raise InputError(f"--control {control}: is for a folder of diffusers; {path} is none")
    return load_prior(path)


def _give_eye(prior: Prior, folder: Path) -> None:
    if not isinstance(prior, TextGuidedPrior):
        raise InputError(f"--clip {folder}: {prior.config.name} has no eye that could be replaced; vqgan-clip has")
    prior.eye = PretrainedClip(folder)


def _reads(prior: Prior) -> frozenset[str]:
    return prior.reads if isinstance(prior, PretrainedPrior) else row_of(prior.config.name).reads


def _that_read(what: str) -> str:
    return ", ".join(name for name, row in ROWS.items() if what in row.reads)


def _middle(prior: Prior, path: Path) -> Images:
    """The square of the prior's size in the middle of an image, at the scale that the prior learnt.

    Raises: InputError.
    """
    if "image" not in _reads(prior):
        raise InputError(f"--image: {prior.config.name} goes by no image; {_that_read('image')} do")
    size, small = prior.config.size, scaled(Image.fromarray(_read_image(path)), prior.config.downscale)
    left, top = ((side - size) // 2 for side in small.size)
    if min(left, top) < 0:
        sides = f"{small.width} x {small.height} at 1/{prior.config.downscale:g} of its size"
        raise InputError(f"--image {path}: {sides}, which this prior learnt; expected at least {size} x {size}")
    return to_signed(torch.from_numpy(np.array(small)[None, top : top + size, left : left + size]))


def _maps(asked: str | None) -> tuple[str, Path | None]:
    """The kind of maps, and the folder of given ones."""
    if asked is None or asked in COMPUTED:
        return asked or "", None
    if not Path(asked).is_dir():
        raise InputError(f"--maps {asked}: no such folder; give one, or {' or '.join(COMPUTED)}")
    return GIVEN, Path(asked)


def _map_to_draw(prior: Prior, path: Path, count: int) -> Images:
    """The map at the scale that the prior learnt; of x4, the image enlarged.

    Raises: InputError.
    """
    _check_mapped(prior, path)
    if prior.config.maps == "x4":
        small = to_signed(torch.from_numpy(_read_image(path))[None])
        height, width = (ENLARGEMENT * side for side in small.shape[-2:])
    else:
        small = to_signed(
            torch.from_numpy(np.array(scaled(Image.fromarray(_read_image(path)), prior.config.downscale)))[None]
        )
        height, width = small.shape[-2:]
    if count * height * width > _MAX_MAPPED_PIXELS:
        raise InputError(
            f"--map {path}: {count} images of {width} x {height} are more than {_MAX_MAPPED_PIXELS:,} pixels; "
            "take a smaller map, or a smaller --count"
        )
    return enlarged(small, height, width) if prior.config.maps == "x4" else small


def _map_to_fill(prior: Prior, path: Path, shape: tuple[int, ...]) -> Images:
    """The map of an image with a hole, at the scale that the prior learnt; of x4, the whole image, coarse or fine.

    Raises: InputError.
    """
    _check_mapped(prior, path)
    pixels = _read_image(path)
    if pixels.shape[:2] != shape:
        sizes = [f"{side[1]} x {side[0]}" for side in (pixels.shape, shape)]
        raise InputError(f"--map {path}: the map is {sizes[0]}, the image {sizes[1]}; they must be equal")
    small = to_signed(torch.from_numpy(np.array(scaled(Image.fromarray(pixels), prior.config.downscale)))[None])
    return computed_maps("x4", small) if prior.config.maps == "x4" else small


def _check_mapped(prior: Prior, path: Path) -> None:
    if not prior.config.maps:
        raise InputError(f"--map {path}: this prior was trained without maps; train one with --maps")


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
