"""COLMAP in a process of its own: one task from standard input, progress and result as lines of JSON.

A process, because pycolmap brings libraries that clash with Pillow's (saving a PNG ends the process once both are
loaded), because a fault in C++ ends no more than this, and because Ctrl-C can end it at any time. Of neural3d it
imports its own other parts alone, so that it starts without torch.
"""

import json
import os
import shutil
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pycolmap

from neural3d.capture.ingest.colmap_align import align_features
from neural3d.capture.ingest.colmap_refine import Context, Tolerances, refine
from neural3d.capture.ingest.colmap_tree import tree_pairs

SIMILARITY_FEATURES = 256
"""The largest features of a photo, by which photos are compared before they are matched in full."""
PAIRS_PER_BATCH = 64
PHOTOS_PER_BATCH = 8
MAX_FEATURES = 4096
LARGE_SIDE_PX = 1600
"""Photos of more pixels are searched at 2000 pixels without being enlarged; smaller ones are enlarged twice first."""
GOOD_SHARE = 0.95
"""Of the photos registered: with fewer, other settings are tried, too."""
FULL_SIDE_PX = 2000
"""COLMAP's tolerances in pixels suit photos of this size; smaller ones need smaller ones, down to MIN_TOLERANCE."""
MIN_TOLERANCE = 0.4
MAX_VERIFICATION_TRIALS = 2000
"""Enough for pairs of which half the matches are right; pairs that do not match use all, and are most of the work."""
FIRST_SNAPSHOT, MOST_SNAPSHOTS = 5, 20
"""Photos after which a model is worth a look, and how many such looks are kept on the disk."""
MIN_OBSERVATIONS = 30
"""Points that a photo must see for its pose to be believed; models of photos that see fewer fit anything."""


def main() -> None:
    """Run the task that standard input names."""
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # whatever C++ prints belongs to the log

    def tell(**content: Any) -> None:
        print(json.dumps(content), file=answers, flush=True)

    task = json.load(sys.stdin)
    pycolmap.set_random_seed(task["seed"])
    run = {"features": find_features, "matches": match_photos, "poses": find_poses}[task["name"]]
    tell(result=run(task, tell))


def find_features(task: dict[str, Any], tell: Any) -> dict[str, Any]:
    """SIFT features of all photos that have none yet, into the database."""
    database = Path(task["database"])
    with_features = _photos_with_features(database)
    total = sum(len(group["names"]) for group in task["groups"])
    done = 0
    for group in task["groups"]:
        camera_id = _camera_of(database, group)
        for has_mask, names in (
            (True, group["masked"]),
            (False, [n for n in group["names"] if n not in set(group["masked"])]),
        ):
            missing = [name for name in names if name not in with_features]
            done += len(names) - len(missing)
            for start in range(0, len(missing), PHOTOS_PER_BATCH):
                tell(done=done, total=total)
                batch = missing[start : start + PHOTOS_PER_BATCH]
                _extract(task, batch, camera_id, group, has_mask)
                done += len(batch)
    tell(done=total, total=total)
    _join_rigs(database, task["rigs"])
    with pycolmap.Database.open(database) as opened:
        counts = {image.name: opened.num_keypoints_for_image(image.image_id) for image in opened.read_all_images()}
    return {"num_features": counts}


def _photos_with_features(database: Path) -> set[str]:
    with pycolmap.Database.open(database) as opened:
        images = opened.read_all_images()
        return {image.name for image in images if opened.exists_keypoints(image.image_id)}


def _camera_of(database: Path, group: dict[str, Any]) -> int:
    """The camera of a group's photos that are known already, else a new one."""
    with pycolmap.Database.open(database) as opened:
        names = set(group["names"])
        known = [image.camera_id for image in opened.read_all_images() if image.name in names]
        return known[0] if known else opened.write_camera(_new_camera(group))


def _new_camera(group: dict[str, Any]) -> Any:
    width, height = group["width"], group["height"]
    focal_px = group["focal_px"] or 1.2 * max(width, height)
    camera = pycolmap.Camera.create_from_model_name(pycolmap.INVALID_CAMERA_ID, group["model"], focal_px, width, height)
    if group["params"]:
        camera.params = group["params"]
    camera.has_prior_focal_length = bool(group["focal_px"] or group["params"])
    return camera


def _join_rigs(database: Path, rigs: list[dict[str, Any]]) -> None:
    """Tell COLMAP which photos are views of one panorama, and how they are turned."""
    if not rigs:
        return
    configs = []
    for rig in rigs:
        cameras = []
        for number, (prefix, turn) in enumerate(zip(rig["prefixes"], rig["turns"], strict=True)):
            camera = pycolmap.RigConfigCamera(ref_sensor=number == 0, image_prefix=prefix)
            if number > 0:
                camera.cam_from_rig = pycolmap.Rigid3d(pycolmap.Rotation3d(np.array(turn)), np.zeros(3))
            cameras.append(camera)
        configs.append(pycolmap.RigConfig(cameras=cameras))
    with pycolmap.Database.open(database) as opened:
        pycolmap.apply_rig_config(configs, opened)


def _extract(task: dict[str, Any], names: list[str], camera_id: int, group: dict[str, Any], has_mask: bool) -> None:
    reader = pycolmap.ImageReaderOptions()
    reader.existing_camera_id = camera_id
    reader.camera_model = group["model"]
    if has_mask:
        reader.mask_path = task["masks"]
    options = pycolmap.FeatureExtractionOptions()
    options.num_threads = task["threads"]
    is_large = max(group["width"], group["height"]) > LARGE_SIDE_PX
    options.max_image_size = 2000 if is_large else LARGE_SIDE_PX
    options.sift.first_octave = 0 if is_large else -1
    options.sift.max_num_features = MAX_FEATURES
    # A third more matches between photos from different sides, for a third more time.
    options.sift.estimate_affine_shape = True
    pycolmap.extract_features(
        task["database"],
        task["images"],
        image_names=names,
        camera_mode=pycolmap.CameraMode.SINGLE,
        reader_options=reader,
        extraction_options=options,
        device=pycolmap.Device.cpu,
    )


def match_photos(task: dict[str, Any], tell: Any) -> dict[str, Any]:
    """Match and verify the pairs that were not yet."""
    database = task["database"]
    with pycolmap.Database.open(database) as opened:
        image_ids = {image.name: image.image_id for image in opened.read_all_images()}
        names = sorted(name for name in image_ids if name in set(task["names"]))
        pairs = _pairs(task, opened, names, image_ids)
        missing = [pair for pair in pairs if not opened.exists_matches(image_ids[pair[0]], image_ids[pair[1]])]
    for start in range(0, len(missing), PAIRS_PER_BATCH):
        tell(done=len(pairs) - len(missing) + start, total=len(pairs))
        _match(task, missing[start : start + PAIRS_PER_BATCH])
    tell(done=len(pairs), total=len(pairs))
    return {"num_pairs": len(pairs), "num_matches": _num_matches(database, image_ids)}


def _pairs(task: dict[str, Any], database: Any, names: list[str], image_ids: dict[str, int]) -> list[tuple[str, str]]:
    count, matching = len(names), task["matching"]
    chosen: set[tuple[int, int]] = set()
    if matching == "exhaustive":
        chosen |= {(a, b) for b in range(count) for a in range(b)}
    else:
        # Doubling steps join what a slow turn shows again after a while.
        steps = [*range(1, task["neighbours"] + 1), *(2**power for power in range(4, 10) if matching == "sequential")]
        chosen |= {(a, a + step) for step in steps for a in range(count - step)}
        if task["by_tree"]:
            how = {"count": task["similar"], "threads": task["threads"], "work": Path(task["work"])}
            chosen |= tree_pairs(database, names, image_ids, **how)
        else:
            chosen |= similar_pairs([_large_features(database, image_ids[name]) for name in names], task["similar"])
    return [(names[a], names[b]) for a, b in sorted(chosen)]


def _large_features(database: Any, image_id: int) -> np.ndarray:
    """Descriptors of a photo's largest features, scaled to length one."""
    if not database.exists_descriptors(image_id):
        return np.zeros((0, 128), dtype=np.float32)
    points = np.asarray(database.read_keypoints(image_id))
    descriptors = np.asarray(database.read_descriptors(image_id).data).astype(np.float32)
    if len(points) == 0:
        return np.zeros((0, 128), dtype=np.float32)
    largest = np.argsort(-np.hypot(points[:, 2], points[:, 4]), kind="stable")[:SIMILARITY_FEATURES]
    chosen = descriptors[largest]
    return chosen / np.maximum(np.linalg.norm(chosen, axis=1, keepdims=True), 1e-6)


def similar_pairs(features: list[np.ndarray], count: int) -> set[tuple[int, int]]:
    """Each photo with the `count` photos that share most large features.

    Source: preemptive matching, Wu 2013, Towards Linear-Time Incremental Structure from Motion, section 3.
    """
    scores = np.zeros((len(features), len(features)), dtype=np.int64)
    sizes = [len(rows) for rows in features]
    starts = np.cumsum([0, *sizes])
    everything = np.concatenate(features) if sum(sizes) else np.zeros((0, 128), dtype=np.float32)
    for a, rows in enumerate(features[:-1]):
        if len(rows) == 0:
            continue
        products = rows @ everything[starts[a + 1] :].T
        for b in range(a + 1, len(features)):
            block = products[:, starts[b] - starts[a + 1] : starts[b + 1] - starts[a + 1]]
            scores[a, b] = scores[b, a] = _mutual_matches(block)
    chosen: set[tuple[int, int]] = set()
    for a in range(len(features)):
        order = [int(b) for b in np.argsort(-scores[a], kind="stable") if scores[a, b] > 0][:count]
        chosen |= {(min(a, b), max(a, b)) for b in order}
    return chosen


def _mutual_matches(cosines: np.ndarray) -> int:
    """How many features are each other's nearest, clearly before the second nearest (Lowe 2004, section 7.1)."""
    if min(cosines.shape) < 2:
        return 0
    nearest = cosines.argmax(axis=1)
    mutual = np.flatnonzero(cosines.argmax(axis=0)[nearest] == np.arange(len(nearest)))
    two = np.partition(cosines[mutual], -2, axis=1)[:, -2:]
    distances = np.sqrt(np.maximum(2 - 2 * two, 0))
    return int((distances[:, 1] < 0.8 * distances[:, 0]).sum())


def _match(task: dict[str, Any], pairs: list[tuple[str, str]], *, guided: bool = False) -> None:
    listed = Path(task["work"]) / "pairs.txt"
    listed.write_text("\n".join(f"{first} {second}" for first, second in pairs) + "\n", encoding="utf-8")
    pairing = pycolmap.ImportedPairingOptions()
    pairing.match_list_path = str(listed)
    matching = pycolmap.FeatureMatchingOptions()
    matching.num_threads = task["threads"]
    matching.guided_matching = guided
    matching.skip_image_pairs_in_same_frame = True  # views of one panorama see nothing from two places
    verification = pycolmap.TwoViewGeometryOptions()
    verification.ransac.random_seed = task["seed"]
    verification.ransac.max_error *= _tolerance(task)
    verification.ransac.max_num_trials = MAX_VERIFICATION_TRIALS
    pycolmap.match_image_pairs(
        task["database"],
        matching_options=matching,
        pairing_options=pairing,
        verification_options=verification,
        device=pycolmap.Device.cpu,
    )


def _num_matches(database: str, image_ids: dict[str, int]) -> dict[str, list[int]]:
    """Of each photo: with how many others it matches, and how many matches the best of them has."""
    names = {image_id: name for name, image_id in image_ids.items()}
    found: dict[str, list[int]] = {name: [0, 0] for name in image_ids}
    with pycolmap.Database.open(database) as opened:
        pairs, geometries = opened.read_two_view_geometries()
        for pair, geometry in zip(pairs, geometries, strict=True):
            first, second = pair if isinstance(pair, tuple) else pycolmap.pair_id_to_image_pair(pair)
            inliers = len(geometry.inlier_matches)
            for image_id in (first, second) if inliers >= 15 else ():
                partners, best = found[names[image_id]]
                found[names[image_id]] = [partners + 1, max(best, inliers)]
    return found


def find_poses(task: dict[str, Any], tell: Any) -> dict[str, Any]:
    """Poses and points: incremental mapping, then what else is worth a try; the best model is written."""
    wanted = len(task["names"])
    models = _incremental(task, tell, "incremental", _settings(task))
    best = _best(models)
    if _support(best) < GOOD_SHARE * wanted:
        models += _incremental(task, tell, "relaxed", _relaxed(_settings(task)))
        best = _best(models)
    if _support(best) < GOOD_SHARE * wanted and wanted >= 3:
        models += _global(task, tell)
        best = _best(models)
    if best is None or _support(best) < 3:
        return {"model": None}
    found = best[1]
    model, second_look = _refine(task, tell, found)
    weak = _drop_weak(model)
    if model.num_reg_images() < 3:
        return {"model": None}
    others = [_names(other) for _, other in models if other is not found]
    folder = Path(task["output"])
    folder.mkdir(parents=True, exist_ok=True)
    model.transform(pycolmap.Sim3d(1.0, pycolmap.Rotation3d(_upright(model)), np.zeros(3)))
    model.write_binary(folder)
    others = [sorted(set(names) - set(_names(model))) for names in others]
    return {"model": _describe(model, best[0]), "others": others, "weak": weak, **second_look}


def _refine(task: dict[str, Any], tell: Any, model: Any) -> tuple[Any, dict[str, list[str]]]:
    """Look for photos in the wrong place, adjust all once more."""
    factor = _tolerance(task)
    tolerances = Tolerances(pose_px=6.0 * factor, loss_px=0.6 * factor)
    context = Context(task["database"], task["images"], str(_scratch(task, "refined")), tolerances, _settings(task))

    def rematch(pairs: list[tuple[str, str]]) -> None:
        _forget(task["database"], pairs)
        for start in range(0, len(pairs), PAIRS_PER_BATCH):
            tell(done=start, total=len(pairs), note="matching along epipolar lines")
            _match(task, pairs[start : start + PAIRS_PER_BATCH], guided=True)

    model, second_look = refine(model, context, rematch, lambda note: tell(done=0, total=0, note=note))
    align_features(
        model, task["database"], Path(task["images"]), lambda done, total: tell(done=done, total=total, note="aligning")
    )
    with context.refiner(model) as refiner:
        refiner.settle()
    return model, second_look


def _forget(database: str, pairs: list[tuple[str, str]]) -> None:
    """Delete matches; a start that is stopped before they are found anew finds them missing, and matches them."""
    with pycolmap.Database.open(database) as opened:
        image_ids = {image.name: image.image_id for image in opened.read_all_images()}
        for first, second in pairs:
            opened.delete_matches(image_ids[first], image_ids[second])
            opened.delete_two_view_geometry(image_ids[first], image_ids[second])


def _tolerance(task: dict[str, Any]) -> float:
    """By how much tolerances in pixels are smaller than COLMAP's, by the size of the largest photo."""
    with pycolmap.Database.open(task["database"]) as opened:
        side = max(max(camera.width, camera.height) for camera in opened.read_all_cameras())
    return min(1.0, max(MIN_TOLERANCE, side / FULL_SIDE_PX))


def _drop_weak(model: Any) -> dict[str, int]:
    """Take photos that see too little out of the model; how many points each saw, by name."""
    seen = _points_seen(model)
    images = [model.image(image_id) for image_id in sorted(model.reg_image_ids())]
    weak = {image.name: seen[image.frame_id] for image in images if seen[image.frame_id] < MIN_OBSERVATIONS}
    for frame_id in sorted({image.frame_id for image in images if image.name in weak}):
        model.deregister_frame(frame_id)
    return weak


def _points_seen(model: Any) -> dict[int, int]:
    """By frame: how many points a photo sees, or all views of a panorama, which have their pose together."""
    seen: dict[int, int] = defaultdict(int)
    for image in (model.image(image_id) for image_id in model.reg_image_ids()):
        seen[image.frame_id] += int(image.num_points3D)
    return seen


def _settings(task: dict[str, Any]) -> Any:
    options = pycolmap.IncrementalPipelineOptions()
    options.random_seed = options.mapper.random_seed = options.triangulation.random_seed = task["seed"]
    options.num_threads = options.mapper.num_threads = task["threads"]
    options.image_names = task["names"]
    options.min_model_size = min(10, max(3, len(task["names"]) // 2))
    options.ba_refine_focal_length = options.mapper.abs_pose_refine_focal_length = not task["fixed_focal"]
    options.ba_refine_extra_params = options.mapper.abs_pose_refine_extra_params = not task["fixed_lens"]
    # How views of a panorama are turned is exact, and so is their lens.
    options.ba_refine_sensor_from_rig = False
    options.mapper.constant_cameras = _cameras_of(task["database"], set(task["views"]))
    factor = _tolerance(task)
    options.mapper.init_max_error *= factor
    options.mapper.abs_pose_max_error *= factor
    options.mapper.filter_max_reproj_error *= factor
    options.triangulation.merge_max_reproj_error *= factor
    options.triangulation.complete_max_reproj_error *= factor
    return options


def _cameras_of(database: str, names: set[str]) -> set[int]:
    with pycolmap.Database.open(database) as opened:
        return {image.camera_id for image in opened.read_all_images() if image.name in names}


def _relaxed(options: Any) -> Any:
    """For photos that overlap little or were taken from nearly the same place."""
    options.min_num_matches = 10
    options.init_num_trials = 400
    options.mapper.init_min_num_inliers = 40
    options.mapper.init_min_tri_angle = 6.0
    options.mapper.abs_pose_min_num_inliers = 15
    options.mapper.abs_pose_min_inlier_ratio = 0.15
    options.mapper.max_reg_trials = 6
    options.mapper.filter_min_tri_angle = 0.75
    options.triangulation.min_angle = 0.75
    return options


def _incremental(task: dict[str, Any], tell: Any, kind: str, options: Any) -> list[tuple[str, Any]]:
    count, snapshots = 0, Path(task["snapshots"])
    shutil.rmtree(snapshots, ignore_errors=True)
    snapshots.mkdir()
    options.snapshot_path = str(snapshots)
    options.snapshot_frames_freq = max(FIRST_SNAPSHOT, len(task["names"]) // MOST_SNAPSHOTS)

    def registered() -> None:
        nonlocal count
        count += 1
        tell(done=min(count, len(task["names"])), total=len(task["names"]), note=kind)

    models = pycolmap.incremental_mapping(
        task["database"],
        task["images"],
        _scratch(task, kind),
        options=options,
        initial_image_pair_callback=registered,
        next_image_callback=registered,
    )
    shutil.rmtree(snapshots, ignore_errors=True)
    return [(kind, model) for model in models.values()]


def _global(task: dict[str, Any], tell: Any) -> list[tuple[str, Any]]:
    """All poses at once. Source: Pan et al. 2024, Global Structure-from-Motion Revisited (GLOMAP)."""
    tell(done=0, total=0, note="global")
    options = pycolmap.GlobalPipelineOptions()
    options.random_seed = options.mapper.random_seed = task["seed"]
    options.num_threads = options.mapper.num_threads = task["threads"]
    options.image_names = task["names"]
    # Here lenses cannot be held one by one: views of panoramas beside photos hold all.
    options.mapper.bundle_adjustment.refine_focal_length = not (task["fixed_focal"] or task["views"])
    options.mapper.bundle_adjustment.refine_extra_params = not (task["fixed_lens"] or task["views"])
    options.mapper.refine_sensor_from_rig = False
    models = pycolmap.global_mapping(task["database"], task["images"], _scratch(task, "global"), options=options)
    return [("global", model) for model in models.values()]


def _scratch(task: dict[str, Any], kind: str) -> Path:
    folder = Path(task["work"]) / kind
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _best(models: list[tuple[str, Any]]) -> tuple[str, Any] | None:
    """The model with most photos that see enough points; of equals the one with more points."""
    if not models:
        return None
    return max(models, key=lambda entry: (_support(entry), entry[1].num_points3D()))


def _support(entry: tuple[str, Any] | None) -> int:
    if entry is None:
        return 0
    seen = _points_seen(entry[1])
    images = (entry[1].image(image_id) for image_id in entry[1].reg_image_ids())
    return sum(seen[image.frame_id] >= MIN_OBSERVATIONS for image in images)


def _names(model: Any) -> list[str]:
    return [model.image(image_id).name for image_id in model.reg_image_ids()]


def _upright(model: Any) -> np.ndarray:
    """A rotation that turns the cameras' mean up axis to +z; structure from motion knows no up."""
    ups = [-model.image(i).cam_from_world().rotation.matrix()[1] for i in sorted(model.reg_image_ids())]
    up = np.mean(ups, axis=0)
    length = np.linalg.norm(up)
    if length < 0.2:
        return np.eye(3)  # held in all directions: there is no up to be found
    z = up / length
    x = np.cross(np.eye(3)[np.argmin(np.abs(z))], z)
    x /= np.linalg.norm(x)
    return np.stack([x, np.cross(z, x), z])


def _describe(model: Any, kind: str) -> dict[str, Any]:
    images = sorted((model.image(i) for i in model.reg_image_ids()), key=lambda image: image.name)
    seen = _points_seen(model)
    return {
        "kind": kind,
        "reprojection_error_px": model.compute_mean_reprojection_error(),
        "num_points": model.num_points3D(),
        "observations": {image.name: seen[image.frame_id] for image in images},
        "camera_ids": {image.name: image.camera_id for image in images},
    }


if __name__ == "__main__":
    main()
