"""A capture on disk -> a Scene in memory."""

import math
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from jaxtyping import Bool, Float32, UInt8

from neural3d.cameras import Cameras
from neural3d.capture.detect import list_capture
from neural3d.capture.images import MAX_PIXELS, read_pixels
from neural3d.capture.lenses import Lens
from neural3d.capture.light_files import read_light
from neural3d.capture.listing import BadFrame, Frame, Listing, Skipped, require_frames
from neural3d.capture.masks import fitted_mask
from neural3d.capture.memory import (
    SHARE_OF_FREE,
    choose_downscale,
    free_memory_bytes,
    require_memory,
    target_size,
)
from neural3d.capture.panoramas import cut_view
from neural3d.capture.resample import Developed, develop
from neural3d.capture.splits import split_photos
from neural3d.capture.survey import Placed, Survey, survey, use_reduced_photos
from neural3d.capture.world import camera_centers, finite_points, points_in_scene, poses_in_scene, scene_frame, scene_up
from neural3d.errors import InputError
from neural3d.scene import Photo, Scene

DECODERS = 2
"""Photos decoded at once; each holds one photo at its full size."""

Item, Result = TypeVar("Item"), TypeVar("Result")


@dataclass(frozen=True)
class Loaded:
    """A frame with its photo; `lens` is the pinhole that fits the photo."""

    frame: Frame
    lens: Lens
    developed: Developed
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Plan:
    """Which files are decoded, and to which size."""

    placed: tuple[Placed, ...]
    sizes: tuple[tuple[int, int], ...]
    downscale: float
    notes: tuple[str, ...]


def load_capture(
    path: Path | str, *, downscale: float | int | None = None, max_memory_bytes: int | None = None
) -> Scene:
    """Read a capture: COLMAP (binary or text), transforms.json of nerfstudio, instant-ngp or Blender.

    Photos are undistorted and brought down to 1/`downscale` of their size (>= 1; by default the smallest whole factor
    that leaves the longest side at about 1600 pixels and the photos in `max_memory_bytes`). `max_memory_bytes` bounds
    the photos that are held; by default a quarter of the free memory when the downscale is chosen, all of it when it
    is given. Photos are sorted by name. What was skipped or odd is in `warnings`.

    Raises: InputError when nothing is left to work on, a file is damaged or claims the impossible, a path leaves the
    capture, or the photos do not fit into the memory.
    Limits: 8-bit colours, but for photos of linear light (EXR); a JPEG whose bytes were changed without being cut off
        decodes to wrong colours unnoticed.
    """
    return read_capture(path, downscale=downscale, max_memory_bytes=max_memory_bytes)[0]


def read_capture(
    path: Path | str, *, downscale: float | int | None = None, max_memory_bytes: int | None = None
) -> tuple[Scene, tuple[Skipped, ...]]:
    """The scene, and the frames that were skipped, those whose photos cannot be decoded among them.

    Raises: as `load_capture`.
    """
    surveyed = survey(list_capture(Path(path)))
    plan = plan_sizes(surveyed, None if downscale is None else float(downscale), max_memory_bytes)
    results = _in_threads(_load_frame, list(zip(plan.placed, plan.sizes, strict=True)))
    loaded = [result for result in results if isinstance(result, Loaded)]
    skipped = surveyed.skipped + tuple(result for result in results if isinstance(result, Skipped))
    require_frames(len(loaded), skipped, surveyed.listing.source)
    return _assemble(surveyed.listing, loaded, skipped, surveyed.notes + plan.notes, plan.downscale), skipped


def plan_sizes(surveyed: Survey, downscale: float | None, max_memory_bytes: int | None) -> Plan:
    """Choose the downscale where none is given, and the smaller copies of photos where they fit it exactly.

    Raises: InputError when the downscale makes no sense or the photos do not fit into the memory.
    """
    placed, notes = surveyed.placed, ()
    if downscale is not None and not (math.isfinite(downscale) and downscale >= 1):
        raise InputError(f"downscale is {downscale:g}, expected 1 or more")
    budget = max_memory_bytes
    if budget is None:
        budget = int(free_memory_bytes() * (SHARE_OF_FREE if downscale is None else 1.0))
    if downscale is None:
        downscale = choose_downscale(placed, budget)
        if downscale > 1:
            notes = (f"photos are used at 1/{downscale:g} of their size, chosen from size and memory",)
    require_memory(placed, downscale, budget, surveyed.listing.root)
    if downscale == int(downscale) and downscale > 1:
        smaller = use_reduced_photos(surveyed.listing.root, placed, int(downscale))
        if smaller:
            return Plan(smaller, tuple((p.frame.lens.width, p.frame.lens.height) for p in smaller), downscale, notes)
    return Plan(placed, tuple(target_size(p.frame.lens, downscale) for p in placed), downscale, notes)


def _in_threads(function: Callable[[Item], Result], items: Sequence[Item]) -> list[Result]:
    """Map in order on a few threads; an interrupt does not wait for what has not begun."""
    threads = torch.get_num_threads()
    # One torch thread in each: bands are small, and teams of threads that wait for each other take ten times as long.
    pool = ThreadPoolExecutor(DECODERS, initializer=torch.set_num_threads, initargs=(1,))
    try:
        return list(pool.map(function, items))
    finally:
        pool.shutdown(cancel_futures=True)
        # The number of the calling thread is its own, but threads that begin later would inherit the 1.
        torch.set_num_threads(threads)


def _load_frame(item: tuple[Placed, tuple[int, int]]) -> Loaded | Skipped:
    placed, (width, height) = item
    frame, lens = placed.frame, placed.frame.lens
    try:
        pixels = _read(placed)
        if pixels.shape[:2] != (lens.height, lens.width):
            raise BadFrame(f"its header says {lens.width} x {lens.height}, its pixels are {pixels.shape[1::-1]}")
        usable, notes = _usable(frame, lens, placed.view)
        developed = develop(pixels, usable, lens, width, height)
        if developed.valid is not None and not developed.valid.any():
            raise BadFrame("its mask is black everywhere" if usable is not None else "its lens sees no pixel")
    except BadFrame as bad:
        return Skipped(frame.name, str(bad))
    return Loaded(frame, lens.scaled(width, height), developed, notes)


def _read(placed: Placed) -> UInt8[np.ndarray, "H W C"] | Float32[np.ndarray, "H W C"]:
    """The photo's light where that is wanted, else what a display shows."""
    if placed.light_path is not None:
        return read_light(placed.light_path, MAX_PIXELS)
    pixels = read_pixels(placed.frame.image_path, turned=placed.turned)
    return pixels if placed.view is None else cut_view(pixels, placed.view)


def _usable(frame: Frame, lens: Lens, view: str | None) -> tuple[Bool[np.ndarray, "H W"] | None, tuple[str, ...]]:
    """The user's mask at the photo's size, nearest where it is another; None where there is none or it does not fit."""
    if frame.mask_path is None:
        return None, ()
    try:
        mask = fitted_mask(frame.mask_path, lens, view)
    except BadFrame as bad:
        raise BadFrame(f"its mask: {bad}") from bad
    return (None, (f"{frame.name}: {mask}; not used",)) if isinstance(mask, str) else (mask, ())


def _assemble(
    listing: Listing, loaded: list[Loaded], skipped: tuple[Skipped, ...], notes: tuple[str, ...], downscale: float
) -> Scene:
    poses = np.stack([entry.frame.camera_from_world for entry in loaded])
    frame = scene_frame(camera_centers(poses), listing.points)
    points = points_in_scene(listing.points, frame)
    splits = split_photos([entry.frame.split for entry in loaded])
    has_alpha = any(_is_transparent(entry.developed) for entry in loaded)
    far = [entry.frame.name for entry, is_far in zip(loaded, frame.far_cameras, strict=True) if is_far]
    return Scene(
        cameras=_cameras([entry.lens for entry in loaded], poses_in_scene(poses, frame)),
        photos=tuple(_photo(entry, has_alpha) for entry in loaded),
        train_indices=torch.tensor(splits.train),
        test_indices=torch.tensor(splits.test),
        points=points,
        capture_from_scene=frame.capture_from_scene,
        extent=1.0,
        up_world=scene_up(poses, listing.world_up) if listing.world is None else listing.world.up_capture.float(),
        has_alpha=has_alpha,
        downscale=downscale,
        warnings=(
            *_skip_notes(skipped, len(loaded)),
            *notes,
            *(note for entry in loaded for note in entry.notes),
            *_transparency_notes(loaded),
            *point_notes(listing),
            *((f"{len(far)} cameras are far from all others, check their poses: {', '.join(far)}",) if far else ()),
            *splits.notes,
        ),
        world=listing.world,
    )


def _cameras(lenses: list[Lens], camera_from_world: torch.Tensor) -> Cameras:
    return Cameras(
        camera_from_world=camera_from_world,
        focal_px=torch.tensor([lens.focal_px for lens in lenses], dtype=torch.float32),
        principal_px=torch.tensor([lens.principal_px for lens in lenses], dtype=torch.float32),
        size_px=torch.tensor([(lens.width, lens.height) for lens in lenses]),
    )


def _is_transparent(developed: Developed) -> bool:
    return developed.alpha is not None and bool((developed.alpha < 255).any())


def _photo(entry: Loaded, has_alpha: bool) -> Photo:
    """In a capture with transparency each photo has alpha, in others none has."""
    alpha = entry.developed.alpha if has_alpha else None
    if has_alpha and alpha is None:
        alpha = torch.full(entry.developed.pixels.shape[:2], 255, dtype=torch.uint8)
    return Photo(entry.frame.name, entry.developed.pixels, alpha, entry.developed.valid, entry.developed.light)


def _transparency_notes(loaded: list[Loaded]) -> tuple[str, ...]:
    """Photos that show nothing teach that there is nothing."""
    alphas = ((entry.frame.name, entry.developed.alpha) for entry in loaded)
    empty = [name for name, alpha in alphas if alpha is not None and not bool(alpha.any())]
    if not empty:
        return ()
    return (f"{len(empty)} photos are transparent everywhere, check their alpha: {', '.join(empty)}",)


def _skip_notes(skipped: tuple[Skipped, ...], num_loaded: int) -> tuple[str, ...]:
    if not skipped:
        return ()
    return (f"{len(skipped)} of {num_loaded + len(skipped)} frames were skipped", *(str(entry) for entry in skipped))


def point_notes(listing: Listing) -> tuple[str, ...]:
    """What is odd about the points."""
    finite = finite_points(listing.points)
    if finite is None:
        return ("there are no points: training starts from random ones",)
    lost = len(listing.points.xyz) - len(finite.xyz)
    return (f"{lost} of {len(listing.points.xyz)} points are not finite and not used",) if lost else ()
