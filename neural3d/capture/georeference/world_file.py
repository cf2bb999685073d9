"""world.json beside a capture: the way from its frame to metres, and for which poses that holds."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float64

from neural3d.capture.poses import MAX_COORDINATE
from neural3d.capture.strict_json import load_json
from neural3d.errors import InputError, said
from neural3d.scene import Similarity, World
from neural3d.storage import atomic_write_text

WORLD_FILE = "world.json"
VERSION = 1
WITNESSES = 5
"""Cameras that are kept with it, by which poses that have changed are found out."""
TOLERANCE = 1e-5
"""Of the cameras' median distance from their middle, by which a centre may differ."""

Centers = Mapping[str, Float64[np.ndarray, "3"]]
"""Where the cameras of a capture stand, by the names of their photos."""


def save_world(capture: Path, world: World, centers: Centers, distances: Mapping[str, float], used: set[str]) -> Path:
    """Write world.json for the poses that `centers` are of, with what each reference was missed by (metres).

    Raises: StorageError.
    """
    names = sorted(centers)
    chosen = {names[i] for i in np.linspace(0, len(names) - 1, min(WITNESSES, len(names))).astype(int)}
    content = {
        "format": "neural3d world",
        "version": VERSION,
        "unit": "metre",
        **world_to_json(world),
        "distances_m": {name: distances[name] for name in sorted(used)},
        "left_out_m": {name: distances[name] for name in sorted(distances.keys() - used)},
        "cameras": {name: [float(value) for value in centers[name]] for name in sorted(chosen)},
    }
    path = capture / WORLD_FILE
    atomic_write_text(path, json.dumps(content, indent=1, allow_nan=False) + "\n")
    return path


def find_world(capture: Path, centers: Centers) -> tuple[World | None, tuple[str, ...]]:
    """What world.json says, None where there is none or the poses are no longer those it was made for (and a note).

    Raises: InputError when the file is damaged.
    """
    path = capture / WORLD_FILE
    if not path.is_file():
        return None, ()
    content = load_json(path)
    if content.get("version") != VERSION or content.get("format") != "neural3d world":
        raise InputError(f"{path}: not a world.json of version {VERSION}; remove it, or: neural3d world --overwrite")
    try:
        world = world_from_json(content)
        witnesses = {str(name): np.array([float(v) for v in place]) for name, place in content["cameras"].items()}
        if any(place.shape != (3,) for place in witnesses.values()):
            raise ValueError("a camera has no three coordinates")
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise InputError(
            f"{path}: not as it was written ({said(error)}); remove it, or: neural3d world --overwrite"
        ) from error
    if not _are_the_same(witnesses, centers):
        return None, (
            f"{WORLD_FILE} was made for other poses and is not used; make it anew: neural3d world --overwrite",
        )
    return world, ()


def _are_the_same(witnesses: Centers, centers: Centers) -> bool:
    """Whether those cameras that are still there stand where they stood, and any is."""
    both = sorted(witnesses.keys() & centers.keys())
    places = np.array(list(centers.values())).reshape(-1, 3)
    spread = float(np.median(np.abs(places - np.median(places, axis=0)).max(axis=1))) if both else 0.0
    apart = [float(np.abs(witnesses[name] - centers[name]).max()) for name in both]
    return bool(both) and max(apart) <= TOLERANCE * spread


def world_to_json(world: World) -> dict[str, Any]:
    """Plain values."""
    way = world.metres_from_capture
    return {
        "axes": world.axes,
        "origin": list(world.origin),
        "source": world.source,
        "median_m": world.median_m,
        "scale_error": world.scale_error,
        "metres_from_capture": {
            "scale": way.scale,
            "rotation": way.rotation.tolist(),
            "translation": way.translation.tolist(),
        },
    }


def world_from_json(content: Mapping[str, Any]) -> World:
    """The inverse of `world_to_json`.

    Raises: KeyError, TypeError or ValueError for what is no such thing.
    """
    way = content["metres_from_capture"]
    rotation = torch.tensor(way["rotation"], dtype=torch.float64)
    translation = torch.tensor(way["translation"], dtype=torch.float64)
    if rotation.shape != (3, 3) or translation.shape != (3,):
        raise ValueError("metres_from_capture is no similarity")
    scale = float(way["scale"])
    is_rotation = (rotation @ rotation.T - torch.eye(3)).abs().max() < 1e-6 and torch.linalg.det(rotation) > 0
    if not (0 < scale <= MAX_COORDINATE and is_rotation and translation.abs().max() <= MAX_COORDINATE):
        raise ValueError("metres_from_capture is no similarity")
    latitude, longitude, altitude = (float(value) for value in content["origin"])
    errors = float(content["median_m"]), float(content["scale_error"])
    if not np.isfinite([latitude, longitude, altitude, *errors]).all():
        raise ValueError("origin, median_m or scale_error is not finite")
    way = Similarity(scale, rotation, translation)
    return World(way, str(content["axes"]), (latitude, longitude, altitude), str(content["source"]), *errors)
