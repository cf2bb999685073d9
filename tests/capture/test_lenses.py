"""Lenses: each model's projection against its formula, and undistorted photos against the pinhole."""

import json
import math
import subprocess
import sys

import numpy as np
import pytest
import torch

from neural3d.capture.camera_models import SUPPORTED_MODELS
from neural3d.capture.lenses import Lens, distort, largest_radius, lens_from_colmap
from neural3d.capture.resample import develop

WIDTH, HEIGHT = 160, 120
F, CX, CY = 100.0, 83.0, 57.0
PARAMS = {
    "SIMPLE_PINHOLE": (F, CX, CY),
    "PINHOLE": (F, 104.0, CX, CY),
    "SIMPLE_RADIAL": (F, CX, CY, -0.12),
    "RADIAL": (F, CX, CY, 0.08, -0.03),
    "OPENCV": (F, 104.0, CX, CY, -0.1, 0.03, 0.004, -0.006),
    "FULL_OPENCV": (F, 104.0, CX, CY, 0.2, 0.03, 0.004, -0.006, 0.01, 0.25, 0.02, 0.01),
    "OPENCV_FISHEYE": (F, 104.0, CX, CY, 0.05, -0.02, 0.004, -0.001),
    "SIMPLE_RADIAL_FISHEYE": (F, CX, CY, 0.04),
    "RADIAL_FISHEYE": (F, CX, CY, 0.04, -0.01),
    "SIMPLE_FISHEYE": (F, CX, CY),
    "FISHEYE": (F, 104.0, CX, CY),
    "THIN_PRISM_FISHEYE": (F, 104.0, CX, CY, 0.03, -0.01, 0.004, -0.003, 0.002, -0.001, 0.005, -0.004),
    "RAD_TAN_THIN_PRISM_FISHEYE": (
        *(F, 104.0, CX, CY, 0.03, -0.01, 0.002, -0.001, 0.0005, -0.0002),
        *(0.004, -0.003, 0.005, -0.002, 0.003, 0.001),
    ),
    "FOV": (F, 104.0, CX, CY, 0.8),
    "SIMPLE_DIVISION": (F, CX, CY, -0.1),
    "DIVISION": (F, 104.0, CX, CY, -0.15),
    "EUCM": (F, 104.0, CX, CY, 0.6, 1.1),
}


def formula(model: str, x: float, y: float) -> tuple[float, float]:
    """The pixel of a normalised point, as the documentation of COLMAP and OpenCV writes each model."""
    p = PARAMS[model]
    r2 = x * x + y * y
    r = math.sqrt(r2)
    match model:
        case "SIMPLE_PINHOLE":
            return p[0] * x + p[1], p[0] * y + p[2]
        case "PINHOLE":
            return p[0] * x + p[2], p[1] * y + p[3]
        case "SIMPLE_RADIAL":
            return p[0] * x * (1 + p[3] * r2) + p[1], p[0] * y * (1 + p[3] * r2) + p[2]
        case "RADIAL":
            factor = 1 + p[3] * r2 + p[4] * r2**2
            return p[0] * x * factor + p[1], p[0] * y * factor + p[2]
        case "OPENCV" | "FULL_OPENCV":
            fx, fy, cx, cy, k1, k2, p1, p2, *rest = p
            k3, k4, k5, k6 = rest or (0, 0, 0, 0)
            factor = (1 + k1 * r2 + k2 * r2**2 + k3 * r2**3) / (1 + k4 * r2 + k5 * r2**2 + k6 * r2**3)
            u = x * factor + 2 * p1 * x * y + p2 * (r2 + 2 * x * x)
            v = y * factor + p1 * (r2 + 2 * y * y) + 2 * p2 * x * y
            return fx * u + cx, fy * v + cy
        case "FOV":
            ratio = math.atan(2 * r * math.tan(p[4] / 2)) / (p[4] * r) if r else 2 * math.tan(p[4] / 2) / p[4]
            return p[0] * x * ratio + p[2], p[1] * y * ratio + p[3]
        case "SIMPLE_DIVISION" | "DIVISION":
            fx, fy, cx, cy, k = (p[0], *p) if model == "SIMPLE_DIVISION" else p
            ratio = (1 - math.sqrt(1 - 4 * k * r2)) / (2 * k * r2) if r else 1.0
            return fx * x * ratio + cx, fy * y * ratio + cy
        case "EUCM":
            depth = p[4] * math.sqrt(p[5] * r2 + 1) + 1 - p[4]
            return p[0] * x / depth + p[2], p[1] * y / depth + p[3]
        case "THIN_PRISM_FISHEYE" | "RAD_TAN_THIN_PRISM_FISHEYE":
            return prism_formula(model, x, y)
        case "OPENCV_FISHEYE" | "FISHEYE":
            fx, fy, cx, cy, *k = p
        case _:
            fx, cx, cy, *k = p
            fy = fx
    theta = math.atan(r)
    ratio = theta * (1 + sum(c * theta ** (2 * i + 2) for i, c in enumerate(k))) / r if r else 1.0
    return fx * x * ratio + cx, fy * y * ratio + cy


def prism_formula(model: str, x: float, y: float) -> tuple[float, float]:
    """COLMAP's two models with a thin prism."""
    fx, fy, cx, cy, *rest = PARAMS[model]
    r = math.hypot(x, y)
    theta = math.atan(r)
    u, v = (theta * x / r, theta * y / r) if r else (0.0, 0.0)
    if model == "THIN_PRISM_FISHEYE":
        k1, k2, p1, p2, k3, k4, sx, sy = rest
        radial = k1 * theta**2 + k2 * theta**4 + k3 * theta**6 + k4 * theta**8
        du = u * radial + 2 * p1 * u * v + p2 * (theta**2 + 2 * u * u) + sx * theta**2
        dv = v * radial + 2 * p2 * u * v + p1 * (theta**2 + 2 * v * v) + sy * theta**2
        return fx * (u + du) + cx, fy * (v + dv) + cy
    k, (p0, p1), (s0, s1, s2, s3) = rest[:6], rest[6:8], rest[8:]
    radial = 1 + sum(c * theta ** (2 * i + 2) for i, c in enumerate(k))
    u, v = u * radial, v * radial
    q = u * u + v * v
    du = (2 * u * u + q) * p0 + 2 * u * v * p1 + s0 * q + s1 * q * q
    dv = (2 * v * v + q) * p1 + 2 * u * v * p0 + s2 * q + s3 * q * q
    return fx * (u + du) + cx, fy * (v + dv) + cy


def test_every_model_is_what_colmap_itself_makes_of_it():
    pytest.importorskip("pycolmap", reason="pycolmap is not installed")
    program = """
import json, sys, numpy as np, pycolmap
given = json.load(sys.stdin)
for model, params in given["params"].items():
    camera = pycolmap.Camera.create_from_model_name(1, model, 100.0, 160, 120)
    camera.params = params
    print(json.dumps([model, [camera.img_from_cam(np.array([*p, 1.0])).tolist() for p in given["points"]]]))
"""
    points = (torch.rand(50, 2, dtype=torch.float64) * 1.6 - 0.8).tolist()
    given = json.dumps({"params": PARAMS, "points": points})
    # In a process of its own: pycolmap's libraries clash with Pillow's.
    said = subprocess.run(
        [sys.executable, "-c", program], input=given, capture_output=True, text=True, check=True
    ).stdout
    answers = dict(json.loads(line) for line in said.splitlines())
    assert answers.keys() == PARAMS.keys()
    for model, pixels in answers.items():
        lens = lens_from_colmap(model, WIDTH, HEIGHT, PARAMS[model])
        found = distort(lens, torch.tensor(points, dtype=torch.float64))
        torch.testing.assert_close(found, torch.tensor(pixels, dtype=torch.float64), rtol=0, atol=1e-6, msg=model)


@pytest.mark.parametrize("k", [0.17, 0.5, -0.1])
def test_the_inverse_polynomial_is_one(k):
    """VisualSFM's model leads from the photo to the ray: going there and back changes nothing."""
    lens = Lens("NVM", WIDTH, HEIGHT, (F, F), (CX, CY), curve="inverse", shape=(k,))
    seen = torch.rand(100, 2, dtype=torch.float64) * 1.2 - 0.6
    rays = seen * (1 + k * seen.square().sum(-1, keepdim=True))
    torch.testing.assert_close((distort(lens, rays) - torch.tensor([CX, CY])) / F, seen, rtol=0, atol=1e-9)


def test_the_inverse_polynomial_ends_where_it_folds():
    lens = Lens("NVM", WIDTH, HEIGHT, (F, F), (CX, CY), curve="inverse", shape=(-0.3,))
    highest = 2 / 3 / math.sqrt(0.9)  # r = d - 0.3 d^3 is largest where 1 = 0.9 d^2
    assert largest_radius(lens, 2.0) == pytest.approx(highest, abs=2e-3)


def test_every_supported_model_is_tested():
    assert set(PARAMS) == set(SUPPORTED_MODELS)


@pytest.mark.parametrize("model", PARAMS)
def test_projection_follows_the_formula(model):
    lens = lens_from_colmap(model, WIDTH, HEIGHT, PARAMS[model])
    points = torch.rand(200, 2, dtype=torch.float64) * 1.6 - 0.8
    points[0] = 0.0
    expected = torch.tensor([formula(model, *point) for point in points.tolist()], dtype=torch.float64)
    torch.testing.assert_close(distort(lens, points), expected, rtol=0, atol=1e-9)


@pytest.mark.parametrize("downscale", [1, 4, 1.6])
@pytest.mark.parametrize("model", PARAMS)
def test_undistorted_photos_show_what_the_lens_put_there(model, downscale):
    """Each pixel of a photo says where it is; after undistortion it must say where the formula looks."""
    lens = lens_from_colmap(model, WIDTH, HEIGHT, PARAMS[model])
    width, height = round(WIDTH / downscale), round(HEIGHT / downscale)
    pinhole = lens.scaled(width, height)
    developed = develop(_map_of_itself(), None, lens, width, height)
    errors = []
    for row in range(0, height, 3):
        for column in range(0, width, 3):
            if developed.valid is None or developed.valid[row, column]:
                x = (column + 0.5 - pinhole.principal_px[0]) / pinhole.focal_px[0]
                y = (row + 0.5 - pinhole.principal_px[1]) / pinhole.focal_px[1]
                found = developed.pixels[row, column, :2].numpy() / SCALE
                errors.append(found - formula(model, x, y))
    assert len(errors) > 0.7 * (height // 3) * (width // 3)
    # Bytes are rounded twice, by up to half a step each, which is nearly gone from the mean.
    assert np.abs(errors).max() < 1.2 / SCALE
    assert np.abs(np.mean(errors, axis=0)).max() < 0.1 / SCALE


SCALE = 1.5
"""Byte steps per pixel."""


def _map_of_itself() -> np.ndarray:
    """A photo whose red is the column and whose green is the row, pixel centres at +0.5."""
    y, x = np.mgrid[:HEIGHT, :WIDTH] + 0.5
    return np.round(np.stack([SCALE * x, SCALE * y, 0 * x], axis=-1)).astype(np.uint8)


def test_pixels_the_lens_did_not_see_are_not_valid():
    outward = lens_from_colmap("SIMPLE_RADIAL", WIDTH, HEIGHT, (F, WIDTH / 2, HEIGHT / 2, 0.2))
    white = np.full((HEIGHT, WIDTH, 3), 255, dtype=np.uint8)
    valid = develop(white, None, outward, WIDTH, HEIGHT).valid
    expected = np.zeros((HEIGHT, WIDTH), dtype=bool)
    for row in range(HEIGHT):
        for column in range(WIDTH):
            x, y = (column + 0.5 - WIDTH / 2) / F, (row + 0.5 - HEIGHT / 2) / F
            factor = F * (1 + 0.2 * (x * x + y * y))
            expected[row, column] = abs(x * factor) <= WIDTH / 2 and abs(y * factor) <= HEIGHT / 2
    assert not expected.all()
    np.testing.assert_array_equal(valid.numpy(), expected)


def test_a_lens_that_sees_everything_has_no_mask():
    inward = lens_from_colmap("SIMPLE_RADIAL", WIDTH, HEIGHT, (F, WIDTH / 2, HEIGHT / 2, -0.05))
    white = np.full((HEIGHT, WIDTH, 3), 255, dtype=np.uint8)
    developed = develop(white, None, inward, WIDTH // 2, HEIGHT // 2)
    assert developed.valid is None
    assert (developed.pixels == 255).all()


def test_a_polynomial_that_folds_back_shows_nothing_twice():
    """R (1 - 0.5 r^2) has its summit at r = sqrt(2/3); beyond, pixels would repeat what lies within."""
    lens = lens_from_colmap("SIMPLE_RADIAL", WIDTH, HEIGHT, (60.0, WIDTH / 2, HEIGHT / 2, -0.5))
    assert largest_radius(lens, 2.0) == pytest.approx(math.sqrt(2 / 3), abs=1e-3)
    valid = develop(np.full((HEIGHT, WIDTH, 3), 255, dtype=np.uint8), None, lens, WIDTH, HEIGHT).valid.numpy()
    y, x = (np.mgrid[:HEIGHT, :WIDTH] + 0.5 - [[[HEIGHT / 2]], [[WIDTH / 2]]]) / 60.0
    np.testing.assert_array_equal(valid, np.hypot(x, y) <= largest_radius(lens, 2.0))
    assert not valid.all()
