"""The poses as files that other tools read: transforms.json and points.ply beside COLMAP's own model."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float64, UInt8

from neural3d.capture.colmap_files import ColmapImage, read_model, read_points
from neural3d.capture.lenses import Lens
from neural3d.capture.poses import pose_from_colmap
from neural3d.errors import InputError
from neural3d.ply_vertices import colored_vertices
from neural3d.storage import atomic_write, atomic_write_text

MODEL_FOLDER = "sparse/0"
POINTS_FILE = "points.ply"
_OPENCV_FROM_OPENGL = np.diag([1.0, -1.0, -1.0, 1.0])


def write_results(capture: Path, masked: set[str]) -> None:
    """Write transforms.json and points.ply for the model in sparse/0, in its world and units.

    Raises: StorageError; InputError when the model is damaged.
    """
    model = read_model(capture / MODEL_FOLDER, ".bin")
    lenses = {camera_id: _intrinsics(capture, lens) for camera_id, lens in model.cameras.items()}
    used = {image.camera_id for image in model.images}
    # With one camera its intrinsics stand at the top, where every reader looks for them first.
    shared = lenses[next(iter(used))] if len(used) == 1 else {}
    frames = [
        {**({} if shared else lenses[image.camera_id]), **_frame(image, image.name in masked)}
        for image in sorted(model.images, key=lambda image: image.name)
    ]
    points = read_points(capture / MODEL_FOLDER, ".bin")
    has_points = points is not None and len(points.xyz) > 0
    if has_points:
        write_points(capture / POINTS_FILE, points.xyz, points.rgb)
    meta = {**shared, **({"ply_file_path": POINTS_FILE} if has_points else {}), "frames": frames}
    atomic_write_text(capture / "transforms.json", json.dumps(meta, indent=1) + "\n")


def _frame(image: ColmapImage, has_mask: bool) -> dict[str, Any]:
    """World from camera with OpenGL axes, as nerfstudio and instant-ngp read it."""
    camera_from_world = pose_from_colmap(image.quat_wxyz, image.translation)
    world_from_camera = np.linalg.inv(camera_from_world) @ _OPENCV_FROM_OPENGL
    frame = {"file_path": f"images/{image.name}", "transform_matrix": world_from_camera.tolist()}
    return {**frame, "mask_path": f"masks/{image.name}.png"} if has_mask else frame


def _intrinsics(capture: Path, lens: Lens | str) -> dict[str, Any]:
    """Under the names of the models that every tool knows: a polynomial with fewer terms is one with zeros."""
    if isinstance(lens, str):
        raise InputError(f"{capture / MODEL_FOLDER}: {lens}")
    model = "OPENCV_FISHEYE" if lens.fisheye else "FULL_OPENCV" if any(lens.radial_denominator) else "OPENCV"
    radial = (*lens.radial, 0.0, 0.0, 0.0, 0.0)[: 3 if model == "FULL_OPENCV" else 4]
    named = {f"k{power}": value for power, value in enumerate((*radial, *lens.radial_denominator), start=1)}
    return {
        "camera_model": model,
        "w": lens.width,
        "h": lens.height,
        "fl_x": lens.focal_px[0],
        "fl_y": lens.focal_px[1],
        "cx": lens.principal_px[0],
        "cy": lens.principal_px[1],
        **named,
        **({} if lens.fisheye else {"p1": lens.tangential[0], "p2": lens.tangential[1]}),
    }


def write_points(path: Path, xyz: Float64[np.ndarray, "P 3"], rgb: UInt8[np.ndarray, "P 3"]) -> None:
    """Write points with colours as a binary PLY.

    Raises: StorageError.
    """
    data = colored_vertices("xyz", xyz, rgb)

    def write(temporary: Path) -> None:
        temporary.write_bytes(data)

    atomic_write(path, write, estimate_bytes=len(data))
