"""One program's files by its versions and its projects' kinds: rigs, georeferenced chunks, renamed columns."""

import json
from pathlib import Path

import pytest

from neural3d.capture.detect import list_capture
from neural3d.errors import InputError

from . import format_writers as writers
from .writers import FOCAL, ring, write_photos

# Meshroom.


def _meshroom(root: Path, version: str, **intrinsic):
    """Four views; the intrinsic's fields are replaced, those that are None taken away."""
    views = ring(4)
    write_photos(root / "images", views)
    writers.write_meshroom(root, views, version=tuple(version.split(".")))
    path = root / "cameras.sfm"
    content = json.loads(path.read_text())
    record = {**content["intrinsics"][0], **intrinsic}
    content["intrinsics"] = [{key: value for key, value in record.items() if value is not None}]
    path.write_text(json.dumps(content))
    return views


@pytest.mark.parametrize(
    ("kind", "params", "expected"),
    [
        ("none", [], {"radial": ()}),
        ("none", "", {"radial": ()}),
        ("radialk1", ["0.1"], {"radial": (0.1,)}),
        ("radialk3", ["0.1", "0.02", "0.003"], {"radial": (0.1, 0.02, 0.003)}),
        (
            "brown",
            ["0.1", "0.02", "0.003", "0.004", "0.005"],
            {"radial": (0.1, 0.02, 0.003), "tangential": (0.004, 0.005)},
        ),
        ("fisheye", ["0.1", "0.02", "0.003", "0.0004"], {"radial": (0.1, 0.02, 0.003, 0.0004), "fisheye": True}),
    ],
)
def test_meshrooms_distortion_has_a_field_of_its_own(tmp_path, kind, params, expected):
    """Since 1.2.8 the type says pinhole of every lens that is no fisheye's projection."""
    _meshroom(tmp_path, "1.2.8", type="pinhole", distortionType=kind, distortionParams=params, undistortionType="none")
    lens = list_capture(tmp_path).frames[0].lens
    assert {name: getattr(lens, name) for name in expected} == expected
    assert lens.fisheye == (kind == "fisheye")


def test_meshrooms_equidistant_projection(tmp_path):
    """Its own model counts the radius in parts of another: without coefficients there is nothing to count."""
    fields = {"type": "equidistant", "distortionType": "radialk3pt", "distortionParams": ["0", "0", "0"]}
    _meshroom(tmp_path, "1.2.12", **fields)
    lens = list_capture(tmp_path).frames[0].lens
    assert (lens.fisheye, lens.radial) == (True, ())


@pytest.mark.parametrize(
    ("version", "fields", "message"),
    [
        ("1.2.8", {"type": "pinhole", "distortionType": "3declassicld"}, "distortionType '3declassicld' is not"),
        ("1.2.8", {"type": "radial3"}, "camera type 'radial3' is not supported; supported are pinhole, equidistant;"),
        ("1.2.9", {"type": "pinhole", "undistortionType": "3deanamorphic4"}, "undistortionType '3deanamorphic4' is"),
        ("1.2.8", {"type": "pinhole"}, "distortionParams has 3 numbers, its model 'none' reads 0; undistort"),
        ("1.2.7", {"type": "pinhole"}, "distortionParams has 3 numbers, its model 'none' reads 0; undistort"),
        ("1.2.7", {"type": "radial1"}, "distortionParams has 3 numbers, its model 'radialk1' reads 1"),
        ("1.2.8", {"type": "equidistant", "distortionType": "radialk3pt"}, "its model 'radialk3pt' reads 0"),
        ("1.2.8", {"type": "pinhole", "distortionParams": {"k": 1}}, "distortionParams is {'k': 1}, expected 0"),
    ],
)
def test_meshrooms_distortion_that_is_not_read_is_refused(tmp_path, version, fields, message):
    _meshroom(tmp_path, version, **fields)
    with pytest.raises(InputError, match=message) as caught:
        list_capture(tmp_path)
    assert "cameras.sfm" in str(caught.value)


@pytest.mark.parametrize(
    ("version", "expected"),
    [
        ("1.2.3", (FOCAL, FOCAL / 2)),
        ("1.2.5", (FOCAL, FOCAL * 2)),
        ("1.2.10", (FOCAL, FOCAL * 2)),
        ("1.2.11", (FOCAL / 2, FOCAL)),
    ],
)
def test_meshrooms_pixel_ratio_by_version(tmp_path, version, expected):
    _meshroom(tmp_path, version, type="pinhole", distortionParams=None, pixelRatio="2")
    assert list_capture(tmp_path).frames[0].lens.focal_px == pytest.approx(expected)
