"""Writing the capture: photos, transforms.json, a sparse cloud of points, depth and normals."""

import json
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float, UInt8
from PIL import Image

from studio.views import FOCAL_OVER_WIDTH, View

DEPTH_STEP = 1e-4
"""World units for one count of a 16-bit depth image; 0 means nothing there."""

Depths = dict[str, Float[np.ndarray, "H W"]]


def write_photo(path: Path, photo: UInt8[np.ndarray, "H W 4"]) -> None:
    """A lossless WebP of the slightly rounded photo (47 dB); lossy WebP halves the chroma, which costs 32 dB here."""
    rounded = _round_where_busy(photo)
    rounded[photo[..., 3] == 0] = 0
    Image.fromarray(rounded).save(path, "WEBP", lossless=True, quality=100, method=6, exact=True)


def _round_where_busy(photo: UInt8[np.ndarray, "H W 4"], step: int = 4) -> UInt8[np.ndarray, "H W 4"]:
    """Round colours to multiples of `step` except where the neighbours are nearer than that: gradients stay."""
    color = photo[..., :3].astype(int)
    moves = ((0, 1), (0, -1), (1, 0), (-1, 0))
    smooth = np.all([np.abs(np.roll(color, move, (0, 1)) - color) < step for move in moves], axis=(0, 3))
    coarse = ((color + step // 2) // step * step).clip(0, 255)
    return np.dstack([np.where(smooth[..., None], color, coarse), photo[..., 3]]).astype(np.uint8)


def write_transforms(path: Path, views: list[View], size_px: int) -> None:
    """The poses in nerfstudio's dialect, with the split named in so many words."""
    test = [f"images/{v.name}.webp" for v in views if v.is_test]
    focal = FOCAL_OVER_WIDTH * size_px
    capture = {
        "camera_model": "PINHOLE",
        "w": size_px,
        "h": size_px,
        "fl_x": focal,
        "fl_y": focal,
        "cx": size_px / 2,
        "cy": size_px / 2,
        "ply_file_path": "points.ply",
        "train_filenames": [f"images/{v.name}.webp" for v in views if not v.is_test],
        "val_filenames": test,
        "test_filenames": test,
        "frames": [
            {"file_path": f"images/{v.name}.webp", "transform_matrix": v.world_from_camera.round(9).tolist()}
            for v in views
        ],
    }
    text = json.dumps(capture, indent=1)
    path.write_text(text + "\n")


def write_truth(folder: Path, name: str, depth: Float[np.ndarray, "H W 4"], normal: Float[np.ndarray, "H W 4"]) -> None:
    """Depth as 16-bit grey, normals as 8-bit RGB; both lossless."""
    counts = np.where(depth[..., 3] > 0.5, depth[..., 0] / DEPTH_STEP, 0).round()
    Image.fromarray(counts.astype(np.uint16)).save(folder / f"{name}_depth.png", optimize=True)
    coded = np.where(normal[..., 3:] > 0.5, 127.5 * (normal[..., :3] + 1), 0).round()
    Image.fromarray(coded.astype(np.uint8)).save(folder / f"{name}_normal.png", optimize=True)


def sample_points(
    views: list[View], photos: dict[str, np.ndarray], depths: Depths, count: int, seed: int
) -> tuple[Float[np.ndarray, "P 3"], UInt8[np.ndarray, "P 3"]]:
    """Surface points as structure from motion would find them: seen by three training views, mostly on texture."""
    rng, train = np.random.default_rng(seed), [v for v in views if not v.is_test]
    means, colors = [], []
    for view in train:
        rows, columns = _textured_pixels(photos[view.name], depths[view.name], 2 * count // len(train), rng)
        means.append(_lift(view, rows, columns, depths[view.name]))
        colors.append(photos[view.name][rows, columns, :3])
    cloud, tints = np.concatenate(means), np.concatenate(colors)
    seen = sum(_is_seen(cloud, view, depths[view.name]).astype(int) for view in train)
    kept = rng.permutation(np.flatnonzero(seen >= 3))[:count]
    return cloud[kept], tints[kept]


def _textured_pixels(
    photo: UInt8[np.ndarray, "H W 4"], depth: Float[np.ndarray, "H W"], count: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Pick whole pixels inside the object by contrast, away from jumps in depth."""
    grey = photo[..., :3].astype(float).mean(axis=2)
    contrast = np.hypot(*np.gradient(grey)) + 3.0
    solid = (photo[..., 3] == 255) & (depth > 0) & (np.hypot(*np.gradient(depth)) < 0.02)
    weight = np.where(solid, contrast, 0).ravel()
    return np.unravel_index(rng.choice(weight.size, count, replace=False, p=weight / weight.sum()), depth.shape)


def _lift(
    view: View, rows: np.ndarray, columns: np.ndarray, depth: Float[np.ndarray, "H W"]
) -> Float[np.ndarray, "P 3"]:
    """Pixel centres and their depth to points in the world."""
    z, width = depth[rows, columns].astype(float), depth.shape[1]
    focal = FOCAL_OVER_WIDTH * width
    x, y = (columns + 0.5 - width / 2) / focal, (rows + 0.5 - depth.shape[0] / 2) / focal
    points = np.stack([x * z, -y * z, -z], axis=1)
    return points @ view.world_from_camera[:3, :3].T + view.world_from_camera[:3, 3]


def _is_seen(points: Float[np.ndarray, "P 3"], view: View, depth: Float[np.ndarray, "H W"]) -> Bool[np.ndarray, "P"]:
    """Whether each point is the first thing this view meets at its pixel."""
    height, width = depth.shape
    local = (points - view.world_from_camera[:3, 3]) @ view.world_from_camera[:3, :3]
    z, focal = -local[:, 2], FOCAL_OVER_WIDTH * width
    column = np.floor(focal * local[:, 0] / z + width / 2).astype(int)
    row = np.floor(-focal * local[:, 1] / z + height / 2).astype(int)
    inside = (z > 0) & (column >= 0) & (column < width) & (row >= 0) & (row < height)
    met = depth[row.clip(0, height - 1), column.clip(0, width - 1)]
    return inside & (np.abs(met - z) < 0.012)


def write_points(path: Path, points: Float[np.ndarray, "P 3"], colors: UInt8[np.ndarray, "P 3"]) -> None:
    """A binary PLY of float positions and 8-bit colours."""
    layout = [("x", "<f4"), ("y", "<f4"), ("z", "<f4"), ("red", "u1"), ("green", "u1"), ("blue", "u1")]
    rows = np.empty(len(points), dtype=layout)
    for k, (name, _) in enumerate(layout):
        rows[name] = points[:, k] if k < 3 else colors[:, k - 3]
    kinds = {"<f4": "float", "u1": "uchar"}
    properties = "\n".join(f"property {kinds[kind]} {name}" for name, kind in layout)
    header = f"ply\nformat binary_little_endian 1.0\nelement vertex {len(points)}\n{properties}\nend_header\n"
    path.write_bytes(header.encode() + rows.tobytes())
