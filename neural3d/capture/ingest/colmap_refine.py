"""A second look at a model of COLMAP's: photos in the wrong place are moved, and everything is refined robustly.

Where a pattern repeats (tiles, windows, flowers on a pot), a photo that is registered early may fit the wrong
repetition. Once the model stands, most of its matches say so: the pose that fits most matches is sought again for every
photo, from the points of the others alone. Runs in the worker's process; imports nothing of neural3d.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import pycolmap

ROUNDS = 3
"""Of looking for misplaced photos and refining; each photo that is moved shows more of the others' places."""
MIN_MATCHES = 15
"""Verified matches that make a pair count, as in the incremental mapper."""
MIN_INLIERS = 15
"""Matches with points that a new pose needs."""
MIN_GAIN = 1.15
"""A photo is moved when another pose fits so many times the matches that its own fits."""
MIN_ANGLE_DEG = 1.5
"""Between two poses, or the same part of the distance to the points; less is no other place."""
NUM_TRIALS = 10_000
THIN_SHARE = 0.5
"""Of the median number of points that a photo sees; those that see fewer are matched once more."""
TRIANGULATIONS = 2


@dataclass(frozen=True)
class Tolerances:
    """How far a point may lie from its photo's feature."""

    pose_px: float
    """For a match to count for a pose."""
    loss_px: float
    """Scale of the Cauchy loss: residuals beyond it hardly pull."""


@dataclass(frozen=True)
class Evidence:
    """What the other photos say about one: its features and the points that they match."""

    features: np.ndarray
    """Index of the feature of each row; one may match several points."""
    pixels: np.ndarray
    points: np.ndarray


class Refiner:
    """One model, its matches, and COLMAP's mapper around them; `close` gives the model back."""

    def __init__(self, model: Any, database: str, tolerances: Tolerances, settings: Any) -> None:
        """`settings` are those of the incremental pipeline that the model was made with."""
        self._tolerances, self._settings = tolerances, settings
        options = pycolmap.DatabaseCacheOptions()
        options.min_num_matches = MIN_MATCHES
        options.image_names = set(settings.image_names)
        with pycolmap.Database.open(database) as opened:
            self._cache = pycolmap.DatabaseCache.create(opened, options)
            self._partners = _partners(opened)
        self._model = model
        self._mapper = pycolmap.IncrementalMapper(self._cache)
        self._mapper.begin_reconstruction(model)
        self._pixels = {i: np.array([p.xy for p in image.points2D]) for i, image in model.images.items()}

    def close(self) -> None:
        """End the mapper; the model keeps what was done."""
        self._mapper.end_reconstruction(False)

    def better_poses(self) -> dict[int, Any]:
        """Camera from world of photos that another pose fits clearly better, or that have none and could have one.

        Limits: views of a panorama stay where all of them together are.
        """
        tracks = {k: [e.image_id for e in point.track.elements] for k, point in self._model.points3D.items()}
        point_ids = {
            i: np.array(
                [p.point3D_id if p.has_point3D() else -1 for p in self._model.image(i).points2D], dtype=np.int64
            )
            for i in sorted(self._model.reg_image_ids())
        }
        found = {}
        alone = Counter(image.frame_id for image in self._model.images.values())
        for image_id in sorted(i for i, image in self._model.images.items() if alone[image.frame_id] == 1):
            evidence = self._evidence(image_id, point_ids, tracks)
            pose = self._better_pose(self._model.image(image_id), evidence)
            if pose is not None:
                found[image_id] = pose
        return found

    def _evidence(self, image_id: int, point_ids: dict[int, np.ndarray], tracks: dict[int, list[int]]) -> Evidence:
        """Matches with points that at least two other photos see: a point of this photo's own making proves nothing."""
        pairs = set()
        for other, matches in self._partners[image_id]:
            if other in point_ids:
                points = point_ids[other][matches[:, 1]]
                pairs |= set(zip(matches[points >= 0, 0].tolist(), points[points >= 0].tolist(), strict=True))
        kept = [(f, p) for f, p in sorted(pairs) if sum(other != image_id for other in tracks[p]) >= 2]
        features = np.array([feature for feature, _ in kept], dtype=np.int64)
        points = np.array([self._model.point3D(point).xyz for _, point in kept]).reshape(-1, 3)
        return Evidence(features, self._pixels[image_id][features].reshape(-1, 2), points)

    def _better_pose(self, image: Any, evidence: Evidence) -> Any | None:
        if len(set(evidence.features.tolist())) < MIN_INLIERS:
            return None
        camera = self._model.cameras[image.camera_id]
        options = pycolmap.AbsolutePoseEstimationOptions()
        options.ransac.max_error = self._tolerances.pose_px
        options.ransac.random_seed = self._settings.random_seed
        options.ransac.min_inlier_ratio = 0.02
        options.ransac.max_num_trials = NUM_TRIALS
        estimate = pycolmap.estimate_and_refine_absolute_pose(evidence.pixels, evidence.points, camera, options)
        if estimate is None:
            return None
        pose = estimate["cam_from_world"]
        support = _support(pose, camera, evidence, self._tolerances.pose_px)
        if support < MIN_INLIERS:
            return None
        if not image.has_pose:
            return pose
        current = image.cam_from_world()
        is_better = support > MIN_GAIN * _support(current, camera, evidence, self._tolerances.pose_px)
        return pose if is_better and _is_elsewhere(current, pose, evidence.points) else None

    def place(self, poses: dict[int, Any]) -> None:
        """Take these photos out of the model, and put them where they belong."""
        manager = self._mapper.observation_manager
        for image_id in poses:
            if self._model.image(image_id).has_pose:
                manager.deregister_frame(self._model.image(image_id).frame_id)
        for image_id, pose in poses.items():
            image = self._model.image(image_id)
            image.frame.set_cam_from_world(image.camera_id, pose)
            manager.register_frame(image.frame_id)
        for image_id in poses:
            self._mapper.triangulate_image(self._settings.triangulation, image_id)

    def adjust(self) -> None:
        """Triangulate again, adjust all poses, lenses and points together, drop what does not fit; several times.

        With a robust loss: matches between repetitions survive every filter, and pull whole rows of photos with them.
        """
        self._mapper.iterative_global_refinement(
            3, 5e-4, self._settings.mapper, self._robust(), self._settings.triangulation, True
        )

    def settle(self) -> None:
        """Adjust all poses, lenses and points together, drop what does not fit; no point is found anew."""
        for _ in range(2):
            self._mapper.adjust_global_bundle(self._settings.mapper, self._robust())
            self._mapper.filter_points(self._settings.mapper)

    def _robust(self) -> Any:
        options = pycolmap.BundleAdjustmentOptions()
        options.print_summary = False
        options.refine_focal_length = self._settings.ba_refine_focal_length
        options.refine_extra_params = self._settings.ba_refine_extra_params
        options.refine_sensor_from_rig = False
        options.ceres.loss_function_type = pycolmap.LossFunctionType.CAUCHY
        options.ceres.loss_function_scale = self._tolerances.loss_px
        options.ceres.solver_options.num_threads = self._settings.num_threads
        options.ceres.solver_options.max_num_iterations = 50
        options.ceres.solver_options.function_tolerance = 1e-6
        return options

    def remove(self, image_ids: list[int]) -> None:
        """Take photos out of the model."""
        for image_id in image_ids:
            self._mapper.observation_manager.deregister_frame(self._model.image(image_id).frame_id)


@dataclass(frozen=True)
class Context:
    """What belongs to a model: where its matches lie, how well it must fit them."""

    database: str
    images: str
    scratch: str
    tolerances: Tolerances
    settings: Any
    """Of the incremental pipeline that the model was made with."""

    @contextmanager
    def refiner(self, model: Any) -> Iterator[Refiner]:
        """Take the model up, and lay it down at the end."""
        refiner = Refiner(model, self.database, self.tolerances, self.settings)
        try:
            yield refiner
        finally:
            refiner.close()


def refine(
    model: Any,
    context: Context,
    rematch: Callable[[list[tuple[str, str]]], None],
    tell: Callable[[str], None],
) -> tuple[Any, dict[str, list[str]]]:
    """The model with misplaced photos moved, left out ones registered, and all adjusted; the names of these photos.

    `rematch` matches pairs of photos once more, along the epipolar lines; `tell` is told what is being done. Photos of
    which another pose still fits better at the end are taken out, and named as doubtful.
    """
    tell("checking places")
    moved = _place_all(model, context)
    tell("matching along epipolar lines")
    rematch(thin_pairs(model, context.database))
    for _ in range(TRIANGULATIONS):
        tell("adjusting")
        # From nothing: points that began with a photo in the wrong place keep out better ones.
        model = pycolmap.triangulate_points(
            model, context.database, context.images, context.scratch, clear_points=True, options=context.settings
        )
        with context.refiner(model) as refiner:
            refiner.adjust()
    return model, {"moved": moved, "doubtful": _remove_doubtful(model, context)}


def _place_all(model: Any, context: Context) -> list[str]:
    moved: set[str] = set()
    with context.refiner(model) as refiner:
        for number in range(ROUNDS):
            poses = refiner.better_poses()
            if not poses and number > 0:
                break
            moved |= {model.image(i).name for i in poses}
            refiner.place(poses)
            refiner.adjust()
    return sorted(moved)


def _remove_doubtful(model: Any, context: Context) -> list[str]:
    with context.refiner(model) as refiner:
        doubtful = [i for i in refiner.better_poses() if model.image(i).has_pose]
        names = sorted(model.image(i).name for i in doubtful)
        refiner.remove(doubtful)
    return names


def thin_pairs(model: Any, database: str) -> list[tuple[str, str]]:
    """Pairs of names: each photo that sees few points, with those that match it as the model says they must."""
    ids = sorted(model.reg_image_ids())
    counts = {i: model.image(i).num_points3D for i in ids}
    enough = THIN_SHARE * float(np.median(list(counts.values())))
    with pycolmap.Database.open(database) as opened:
        partners = _partners(opened)
    pairs = set()
    for first in (i for i in ids if counts[i] < enough):
        for second, matches in partners[first]:
            if second in counts and _agreement(model, first, second, matches) > 0.5:
                pairs.add((min(first, second), max(first, second)))
    return [(model.image(a).name, model.image(b).name) for a, b in sorted(pairs)]


def _agreement(model: Any, first: int, second: int, matches: np.ndarray) -> float:
    """Share of matches that lie on the epipolar lines of the model's poses, within a 500th of the focal length.

    Source: Hartley and Zisserman 2004, Multiple View Geometry, section 11.4.3 (Sampson distance).
    """
    rays = []
    for image_id, column in ((first, 0), (second, 1)):
        image = model.image(image_id)
        pixels = np.array([image.points2D[int(index)].xy for index in matches[:, column]])
        rays.append(np.c_[model.cameras[image.camera_id].cam_from_img(pixels), np.ones(len(pixels))])
    poses = [model.image(image_id).cam_from_world() for image_id in (first, second)]
    rotation = poses[1].rotation.matrix() @ poses[0].rotation.matrix().T
    translation = poses[1].translation - rotation @ poses[0].translation
    essential = np.cross(np.eye(3), translation / np.linalg.norm(translation)).T @ rotation
    lines = rays[0] @ essential.T, rays[1] @ essential
    slopes = np.sqrt(sum(np.square(line[:, :2]).sum(axis=1) for line in lines))
    return float((np.abs((rays[1] * lines[0]).sum(axis=1)) < slopes / 500).mean())


def _partners(database: Any) -> dict[int, list[tuple[int, np.ndarray]]]:
    """Of each photo: the others that it matches, with pairs of features (its own, the other's)."""
    partners: dict[int, list[tuple[int, np.ndarray]]] = defaultdict(list)
    pairs, geometries = database.read_two_view_geometries()
    for pair, geometry in zip(pairs, geometries, strict=True):
        first, second = pair if isinstance(pair, tuple) else pycolmap.pair_id_to_image_pair(pair)
        matches = np.asarray(geometry.inlier_matches, dtype=np.int64)
        if len(matches) >= MIN_MATCHES:
            partners[first].append((second, matches))
            partners[second].append((first, matches[:, ::-1]))
    return partners


def _support(pose: Any, camera: Any, evidence: Evidence, max_error_px: float) -> int:
    """How many features lie where one of their points is seen from the pose."""
    in_camera = evidence.points @ pose.rotation.matrix().T + pose.translation
    errors = np.linalg.norm(camera.img_from_cam(in_camera) - evidence.pixels, axis=1)
    return len(set(evidence.features[(in_camera[:, 2] > 0) & (errors < max_error_px)].tolist()))


def _is_elsewhere(first: Any, second: Any, points: np.ndarray) -> bool:
    """Whether two poses differ in angle, or in place relative to the distance of the points."""
    rotations = first.rotation.matrix(), second.rotation.matrix()
    cosine = (np.trace(rotations[0] @ rotations[1].T) - 1) / 2
    centers = [-rotation.T @ pose.translation for rotation, pose in zip(rotations, (first, second), strict=True)]
    distance = float(np.median(np.linalg.norm(points - centers[0], axis=1)))
    limit = np.radians(MIN_ANGLE_DEG)
    return bool(np.arccos(np.clip(cosine, -1, 1)) > limit or np.linalg.norm(centers[1] - centers[0]) > limit * distance)
