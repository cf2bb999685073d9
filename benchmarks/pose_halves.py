"""How sure found poses are, and given ones: `python benchmarks/pose_halves.py FOUND GIVEN`.

FOUND is a capture that `neural3d ingest` made, GIVEN one of the same photos with other poses. Its points are parted
into two halves at random, and all poses and lenses are adjusted to each: what the halves differ in is what features
leave open, what both differ in from the given poses is not. Then all points are adjusted to the given cameras, and to
the found ones: `given_fits_better` counts photos whose median residual is smaller with the given cameras.
Keeps the table in results/pose_halves.json. Needs pycolmap.
"""

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import pycolmap

from neural3d.bench import keep
from neural3d.bench.machine import provenance
from neural3d.bench.poses import spread
from neural3d.capture.alignment import CameraDifference, camera_difference, fit_similarity
from neural3d.capture.detect import list_capture

LOSS_PX = 0.3


def adjusted(model: Any, *, fixed: bool = False) -> Any:
    """All poses, lenses and points together, with a robust loss; or the points alone."""
    options = pycolmap.BundleAdjustmentOptions()
    options.print_summary = False
    options.refine_rig_from_world = options.refine_focal_length = options.refine_extra_params = not fixed
    options.ceres.loss_function_type = pycolmap.LossFunctionType.CAUCHY
    options.ceres.loss_function_scale = LOSS_PX
    pycolmap.bundle_adjustment(model, options)
    return model


def half(model: Any, chosen: set[int]) -> Any:
    """The model with these points alone."""
    result = pycolmap.Reconstruction(model)
    for point in sorted(result.points3D):
        if point not in chosen:
            result.delete_point3D(point)
    return result


def poses(model: Any, names: list[str]) -> np.ndarray:
    """Camera from world of the photos."""
    by_name = {Path(model.image(i).name).stem: model.image(i).cam_from_world().matrix() for i in model.reg_image_ids()}
    return np.stack([np.vstack([by_name[name], [0, 0, 0, 1]]) for name in names])


def centers(matrices: np.ndarray) -> np.ndarray:
    """Where these cameras stand."""
    return -np.einsum("vji,vj->vi", matrices[:, :3, :3], matrices[:, :3, 3])


def residuals(model: Any) -> dict[str, float]:
    """Median distance of a photo's features from their points."""
    found = {}
    for image in (model.image(i) for i in model.reg_image_ids()):
        seen = [(point.xy, model.points3D[point.point3D_id].xyz) for point in image.points2D if point.has_point3D()]
        pixels, points = (np.array(column) for column in zip(*seen, strict=True))
        in_camera = points @ image.cam_from_world().rotation.matrix().T + image.cam_from_world().translation
        errors = np.linalg.norm(model.cameras[image.camera_id].img_from_cam(in_camera) - pixels, axis=1)
        found[Path(image.name).stem] = float(np.median(errors))
    return found


def with_cameras(model: Any, frames: dict[str, Any], names: list[str]) -> Any:
    """The model's points, moved to the given world, with the given cameras."""
    result = pycolmap.Reconstruction(model)
    given = np.stack([frames[name].camera_from_world for name in names])
    scale, rotation, translation = fit_similarity(centers(poses(model, names)), centers(given))
    result.transform(pycolmap.Sim3d(scale, pycolmap.Rotation3d(rotation), translation))
    for image in (result.image(i) for i in result.reg_image_ids()):
        frame = frames[Path(image.name).stem]
        matrix, camera = frame.camera_from_world, result.cameras[image.camera_id]
        lens = frame.lens.scaled(camera.width, camera.height)
        camera.params = [lens.focal_px[0], *lens.principal_px, *(*lens.radial, 0.0)[:1]]
        image.frame.set_cam_from_world(
            image.camera_id, pycolmap.Rigid3d(pycolmap.Rotation3d(matrix[:3, :3]), matrix[:3, 3])
        )
    return result


def measure(found: Path, given: Path, seed: int = 0) -> dict[str, Any]:
    """The table."""
    model = pycolmap.Reconstruction(found / "sparse/0")
    frames = {Path(frame.name).stem: frame for frame in list_capture(given).frames}
    names = sorted(Path(model.image(i).name).stem for i in model.reg_image_ids())
    truth = np.stack([frames[name].camera_from_world for name in names])
    points = np.random.default_rng(seed).permutation(sorted(model.points3D))
    halves = [poses(adjusted(half(model, set(points[start::2].tolist()))), names) for start in (0, 1)]
    to_given = [camera_difference(each, truth) for each in halves]
    ours, theirs = (
        residuals(adjusted(pycolmap.Reconstruction(model), fixed=True)),
        residuals(adjusted(with_cameras(model, frames, names), fixed=True)),
    )
    worst = int(np.argmax(to_given[0].centers + to_given[1].centers))
    return {
        "table": "pose_halves", "num_photos": len(names), **facts(camera_difference(*halves)),
        "worst": names[worst],
        "worst_percent": [100 * float(each.centers[worst]) for each in to_given],
        "worst_between_percent": 100 * float(camera_difference(*halves).centers[worst]),
        "residual_px": float(np.median(list(ours.values()))),
        "given_residual_px": float(np.median(list(theirs.values()))),
        "given_fits_better": sum(theirs[name] < ours[name] for name in names),
        **provenance(),
    }  # fmt: skip


def facts(between: CameraDifference) -> dict[str, float]:
    """What the halves differ in."""
    return {**spread("center_percent", 100 * between.centers), **spread("angle_deg", between.angles_deg)}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("found", type=Path)
    parser.add_argument("given", type=Path)
    options = parser.parse_args()
    keep(measure(options.found, options.given), Path(__file__).parent / "results")
