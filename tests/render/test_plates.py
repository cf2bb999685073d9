"""Pictures bent as lenses bend them: maps that lead there and back, renders that fit the plate."""

from pathlib import Path

import numpy as np
import pytest
import torch

from neural3d.capture.lens_inverse import undistort
from neural3d.capture.lenses import Lens, distort, lens_from_colmap
from neural3d.render.exr import FAR, ExrFrame, ExrSettings, write_exr
from neural3d.render.plates import bent, overscan_px, plate_pixels, straight_pixels, write_st_maps
from neural3d.scene import Similarity

from .scenes import some_gaussians, straight_camera
from .test_exr import parts_of

SIZE = (90, 60)
LENSES = {
    "barrel": lens_from_colmap("OPENCV", *SIZE, (70.0, 72.0, 46.0, 29.0, -0.2, 0.03, 0.002, -0.001)),
    "pincushion": lens_from_colmap("SIMPLE_RADIAL", *SIZE, (70.0, 45.0, 30.0, 0.15)),
    "fisheye": lens_from_colmap("OPENCV_FISHEYE", *SIZE, (50.0, 50.0, 45.0, 30.0, 0.02, -0.01, 0.0, 0.0)),
    "division": lens_from_colmap("SIMPLE_DIVISION", *SIZE, (70.0, 45.0, 30.0, -0.2)),
    "prism": lens_from_colmap(
        "THIN_PRISM_FISHEYE", *SIZE, (60.0, 60.0, 45.0, 30.0, 0.02, -0.01, 0.001, -0.001, 0.0, 0.0, 0.001, -0.001)
    ),
}


@pytest.mark.parametrize("name", LENSES)
def test_undistort_is_the_inverse(name: str):
    pixels = plate_centers(LENSES[name])
    points = undistort(LENSES[name], pixels)
    assert points.isfinite().all()
    assert torch.allclose(distort(LENSES[name], points), pixels, atol=1e-4)


def test_what_no_ray_reaches_is_not_made_up():
    """A polynomial that folds back shows nothing in the corners."""
    folding = lens_from_colmap("SIMPLE_RADIAL", *SIZE, (60.0, 45.0, 30.0, -0.6))
    points = undistort(folding, plate_centers(folding))
    assert points[30, 45].isfinite().all() and not points[0, 0].isfinite().any()


def plate_centers(lens: Lens) -> torch.Tensor:
    x, y = torch.arange(lens.width).double() + 0.5, torch.arange(lens.height).double() + 0.5
    return torch.stack(torch.meshgrid(x, y, indexing="xy"), dim=-1)


def test_maps_lead_there_and_back(tmp_path: Path):
    """A plate that shows the slope of each ray becomes straight by one map, and itself again by the other."""
    lens = LENSES["pincushion"]
    assert write_st_maps(tmp_path, lens) == overscan_px(lens)
    undo, redo = (parts_of(tmp_path / f"{name}.exr")["rgba"][1] for name in ("undistort", "redistort"))
    plate = undistort(lens, plate_centers(lens)).float().numpy()
    straight = looked_up(plate, undo)
    expected = ((plate_centers(lens) - torch.tensor(lens.principal_px)) / torch.tensor(lens.focal_px)).numpy()
    assert 0.5 < (undo[..., 3] == 1).mean() < 1
    assert np.abs(straight - expected)[within(undo)].max() < 2e-3
    again = looked_up(expected.astype(np.float32), redo)
    assert np.abs(again - plate)[within(redo)].max() < 2e-3


def within(st_map: np.ndarray) -> np.ndarray:
    """Where all four pixels that are blended are there."""
    return (st_map[..., 3] == 1) & (st_map[..., :2] > 0.03).all(-1) & (st_map[..., :2] < 0.97).all(-1)


def looked_up(source: np.ndarray, st_map: np.ndarray) -> np.ndarray:
    """As Nuke's STMap does it: red from the left, green from the bottom."""
    height, width = source.shape[:2]
    channels = {str(k): source[..., k] for k in range(source.shape[2])}
    pixels = np.stack([st_map[..., 0] * width, (1 - st_map[..., 1]) * height], axis=-1)
    found = bent("rgba", channels, torch.from_numpy(pixels.astype(np.float64)), 0)
    return np.stack(list(found.values()), axis=-1)


def test_a_barrel_needs_overscan_and_a_pinhole_none():
    pixels = plate_pixels(LENSES["barrel"])
    over = overscan_px(LENSES["barrel"])
    assert over >= 1 and float(pixels.min()) > -over and float(pixels[..., 0].max()) < SIZE[0] + over
    straight = lens_from_colmap("PINHOLE", *SIZE, (70.0, 70.0, 45.0, 30.0))
    assert overscan_px(straight) == 0
    assert torch.allclose(plate_pixels(straight), plate_centers(straight))
    assert straight_pixels(straight)[1].all()


@pytest.mark.parametrize("name", ["barrel", "pincushion", "fisheye"])
def test_a_render_for_the_plate_shows_each_point_where_the_lens_puts_it(tmp_path: Path, name: str):
    pytest.importorskip("OpenEXR", reason="needs OpenEXR: pip install OpenEXR mmh3 tifffile")
    lens = LENSES[name]
    camera = straight_camera(SIZE, back=2.5)
    camera.focal_px[0], camera.principal_px[0] = torch.tensor(lens.focal_px), torch.tensor(lens.principal_px)
    where = {"capture_from_scene": Similarity.identity(), "settings": ExrSettings(("rgba", "depth", "position"))}
    write_exr(tmp_path / "a.exr", some_gaussians(), ExrFrame(camera, lens=lens), **where)
    found = {part: (spec, pixels) for part, (spec, pixels) in parts_of(tmp_path / "a.exr").items()}
    spec, colors = found["rgba"]
    assert (spec.width, spec.height, spec.x, spec.y) == (*SIZE, 0, 0)
    there = colors[..., 3] > 0.5
    points = torch.from_numpy(found["position"][1][there]).double() + torch.tensor([0.0, 0, 2.5])
    shown = distort(lens, points[:, :2] / points[:, 2:])
    off = (shown - plate_centers(lens)[torch.from_numpy(there)]).abs()
    assert there.sum() > 300 and float(off.max()) < 1.0, "within the nearest pixel of the straight picture"
    depth = found["depth"][1][..., 0]
    assert (depth[colors[..., 3] == 0] >= 1).all() and set(np.unique(depth[depth > 100])) <= {np.float32(FAR)}
