"""Writers of what photogrammetry programs and apps write, made from their documentation and not from our readers."""

import csv
import json
import math
from pathlib import Path

import numpy as np

from .writers import FOCAL, HEIGHT, POINTS, WIDTH, View, quat_wxyz, write_photos

FLIP = np.diag([1.0, -1.0, -1.0])
"""Between OpenCV's and OpenGL's camera axes."""


def parts(view: View) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rotation and translation of camera_from_world, and the centre."""
    matrix = view.camera_from_world
    return matrix[:3, :3], matrix[:3, 3], view.center


def axis_angle(rotation: np.ndarray) -> np.ndarray:
    """By the eigenvector of the rotation, its sense by the skew part."""
    values, vectors = np.linalg.eig(rotation)
    axis = np.real(vectors[:, np.argmin(np.abs(values - 1))])
    skew = np.array([rotation[2, 1] - rotation[1, 2], rotation[0, 2] - rotation[2, 0], rotation[1, 0] - rotation[0, 1]])
    angle = math.atan2(float(axis @ skew) / 2, (np.trace(rotation) - 1) / 2)
    return axis * angle


def turned(axis: int, angle: float) -> np.ndarray:
    i, j = [other for other in range(3) if other != axis]
    matrix = np.eye(3)
    matrix[[i, i, j, j], [i, j, i, j]] = np.cos(angle), -np.sin(angle), np.sin(angle), np.cos(angle)
    return matrix


RIG = ((np.eye(3), np.zeros(3)), (turned(1, 0.7) @ turned(0, 0.2), np.array([0.3, -0.1, 0.05])))
"""Of a rig's two cameras: rotations from the rig's axes to theirs, and where they stand on it."""


def write_nvm(root: Path, views: list[View]) -> None:
    lines = ["NVM_V3 ", "", str(len(views))]
    for view in views:
        rotation, _, center = parts(view)
        numbers = [FOCAL, *quat_wxyz(rotation), *center, 0.05, 0]
        lines.append(f"images/{view.name}\t" + " ".join(f"{number:.12g}" for number in numbers))
    lines += ["", str(len(POINTS))]
    lines += [" ".join(map(str, (*xyz, *rgb, 2, 0, 1, 0.5, 0.5, 1, 2, 0.5, 0.5))) for xyz, rgb in POINTS]
    (root / "model.nvm").write_text("\n".join([*lines, "", "0", ""]))


def write_bundler(root: Path, views: list[View]) -> None:
    lines = ["# Bundle file v0.3", f"{len(views)} {len(POINTS)}"]
    for view in views:
        rotation, translation, _ = parts(view)
        rows = np.vstack([[FOCAL, 0.01, -0.002], FLIP @ rotation, FLIP @ translation])
        lines += [" ".join(f"{number:.12g}" for number in row) for row in rows]
    for xyz, rgb in POINTS:
        lines += [" ".join(map(str, xyz)), " ".join(map(str, rgb)), "1 0 5 1.5 2.5"]
    (root / "bundle.out").write_text("\n".join(lines) + "\n")
    (root / "list.txt").write_text("".join(f"./{view.name} 0 {FOCAL}\n" for view in views))


def write_opensfm(root: Path, views: list[View]) -> None:
    camera = {"projection_type": "brown", "width": WIDTH, "height": HEIGHT}
    camera |= {"focal_x": FOCAL / WIDTH, "focal_y": FOCAL / WIDTH, "c_x": 0.01, "c_y": -0.02}
    camera |= {"k1": 0.1, "k2": 0.01, "k3": 0.001, "p1": 0.002, "p2": 0.003}
    shots = {}
    for view in views:
        rotation, translation, _ = parts(view)
        shots[view.name] = {
            "camera": "phone",
            "rotation": axis_angle(rotation).tolist(),
            "translation": translation.tolist(),
        }
    points = {str(i): {"coordinates": xyz, "color": rgb} for i, (xyz, rgb) in enumerate(POINTS)}
    small = {"cameras": {}, "shots": {views[0].name: {}}, "points": {}}
    (root / "reconstruction.json").write_text(
        json.dumps([small, {"cameras": {"phone": camera}, "shots": shots, "points": points}])
    )


def write_meshroom(root: Path, views: list[View], *, version=("1", "2", "3"), point=(0.5, -1.0)) -> None:
    intrinsic = {"intrinsicId": "7", "width": str(WIDTH), "height": str(HEIGHT), "type": "radial3"}
    intrinsic |= {
        "sensorWidth": "36",
        "focalLength": str(FOCAL * 36 / WIDTH),
        "principalPoint": [str(v) for v in point],
    }
    intrinsic |= {"distortionParams": ["0.1", "0.02", "0.003"]}
    photos, poses = [], []
    for index, view in enumerate(views):
        rotation, _, center = parts(view)
        photos.append(
            {"viewId": str(index), "poseId": str(index), "intrinsicId": "7", "path": f"C:/shots/images/{view.name}"}
        )
        transform = {"rotation": [str(v) for v in rotation.T.ravel()], "center": [str(v) for v in center]}
        poses.append({"poseId": str(index), "pose": {"transform": transform, "locked": "0"}})
    structure = [
        {"landmarkId": str(i), "X": [str(v) for v in xyz], "color": [str(v) for v in rgb]}
        for i, (xyz, rgb) in enumerate(POINTS)
    ]
    content = {
        "version": list(version),
        "views": photos,
        "intrinsics": [intrinsic],
        "poses": poses,
        "structure": structure,
    }
    (root / "cameras.sfm").write_text(json.dumps(content))


def write_metashape(root: Path, views: list[View]) -> None:
    """In a chunk that is turned, moved and three times as large."""
    turn = np.array([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]])
    scale, shift = 3.0, np.array([1.0, -2.0, 0.5])
    cameras = []
    for index, view in enumerate(views):
        placed = np.eye(4)
        placed[:3, :3] = turn.T @ view.camera_from_world[:3, :3].T
        placed[:3, 3] = turn.T @ (view.center - shift) / scale
        numbers = " ".join(f"{number:.15g}" for number in placed.ravel())
        label = Path(view.name).stem
        cameras.append(f'<camera id="{index}" sensor_id="0" label="{label}"><transform>{numbers}</transform></camera>')
    cameras.append('<camera id="99" sensor_id="0" label="lost"/>')
    values = {
        "f": FOCAL,
        "cx": 0.5,
        "cy": -1.0,
        "b1": 2.0,
        "k1": 0.1,
        "k2": 0.02,
        "k3": 0.003,
        "p1": 0.004,
        "p2": 0.005,
    }
    calibration = "".join(f"<{key}>{value}</{key}>" for key, value in values.items())
    transform = (
        f"<rotation>{' '.join(map(str, turn.ravel()))}</rotation><translation>{' '.join(map(str, shift))}</translation>"
    )
    (root / "cameras.xml").write_text(
        '<?xml version="1.0" encoding="UTF-8"?><document version="2.0.0"><chunk label="Chunk 1" enabled="true">'
        f'<sensors><sensor id="0" label="phone" type="frame"><resolution width="{WIDTH}" height="{HEIGHT}"/>'
        f'<calibration type="frame" class="adjusted">{calibration}</calibration></sensor></sensors>'
        f"<cameras>{''.join(cameras)}</cameras><transform>{transform}<scale>{scale}</scale></transform></chunk></document>"
    )


def write_realitycapture(root: Path, views: list[View]) -> None:
    """Angles found from the rotation: R = Rz(-heading) Rx(pitch) Ry(roll), world from camera, OpenGL axes."""
    columns = (
        "#name",
        "x",
        "y",
        "alt",
        "heading",
        "pitch",
        "roll",
        "f",
        "px",
        "py",
        "k1",
        "k2",
        "k3",
        "k4",
        "t1",
        "t2",
    )
    with (root / "registration.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        for view in views:
            matrix = view.camera_from_world[:3, :3].T @ FLIP
            pitch = math.asin(matrix[2, 1])
            roll = math.atan2(-matrix[2, 0], matrix[2, 2])
            heading = -math.atan2(-matrix[0, 1], matrix[1, 1])
            angles = [math.degrees(angle) for angle in (heading, pitch, roll)]
            intrinsics = [FOCAL * 36 / WIDTH, 0.01, -0.02, 0.1, 0.02, 0.003, 0.0, 0.004, 0.005]
            writer.writerow([view.name, *(repr(float(v)) for v in (*view.center, *angles, *intrinsics))])


def write_polycam(root: Path, views: list[View]) -> None:
    folder = root / "keyframes" / "corrected_cameras"
    folder.mkdir(parents=True)
    write_photos(root / "keyframes" / "corrected_images", views)
    for view in views:
        matrix = np.column_stack([view.camera_from_world[:3, :3].T @ FLIP, view.center])
        record = {f"t_{row}{column}": matrix[row, column] for row in range(3) for column in range(4)}
        record |= {"fx": FOCAL, "fy": FOCAL, "cx": WIDTH / 2, "cy": HEIGHT / 2, "width": WIDTH, "height": HEIGHT}
        (folder / f"{Path(view.name).stem}.json").write_text(json.dumps({**record, "blur_score": 70.0}))


def write_record3d(root: Path, views: list[View]) -> None:
    poses = []
    for view in views:
        w, x, y, z = quat_wxyz(view.camera_from_world[:3, :3].T @ FLIP)
        poses.append([x, y, z, w, *view.center])
    k = np.array([[FOCAL, 0, WIDTH / 2], [0, FOCAL, HEIGHT / 2], [0, 0, 1]])
    (root / "metadata.json").write_text(
        json.dumps({"w": WIDTH, "h": HEIGHT, "K": k.T.ravel().tolist(), "poses": poses})
    )


def write_llff(root: Path, views: list[View]) -> None:
    rows = []
    for view in views:
        right, down, forward = view.camera_from_world[:3, :3]
        matrix = np.column_stack([down, right, -forward, view.center, [HEIGHT, WIDTH, FOCAL]])
        rows.append([*matrix.ravel(), 1.0, 9.0])
    np.save(root / "poses_bounds.npy", np.array(rows))


def write_krt(root: Path, views: list[View]) -> None:
    k = np.array([[FOCAL, 0, WIDTH / 2 - 0.5], [0, FOCAL, HEIGHT / 2 - 0.5], [0, 0, 1]])
    lines = [str(len(views))]
    for view in views:
        rotation, translation, _ = parts(view)
        lines.append(" ".join([view.name, *(repr(float(v)) for v in (*k.ravel(), *rotation.ravel(), *translation))]))
    (root / "scene_par.txt").write_text("\n".join(lines) + "\n")


def open3d_intrinsic() -> dict:
    k = [FOCAL, 0, 0, 0, FOCAL, 0, WIDTH / 2 - 0.5, HEIGHT / 2 - 0.5, 1]
    return {"width": WIDTH, "height": HEIGHT, "intrinsic_matrix": k}


def write_open3d_json(root: Path, views: list[View]) -> None:
    cameras = [{"extrinsic": v.camera_from_world.T.ravel().tolist(), "intrinsic": open3d_intrinsic()} for v in views]
    content = {"class_name": "PinholeCameraTrajectory", "parameters": cameras}
    (root / "trajectory.json").write_text(json.dumps(content))


def write_open3d_log(root: Path, views: list[View]) -> None:
    lines = []
    for index, view in enumerate(views):
        rows = np.linalg.inv(view.camera_from_world)
        lines += [f"{index}\t{index}\t{index + 1}", *(" ".join(f"{v:.15g}" for v in row) for row in rows)]
    (root / "trajectory.log").write_text("\n".join(lines) + "\n")
    (root / "camera_intrinsic.json").write_text(json.dumps(open3d_intrinsic()))
