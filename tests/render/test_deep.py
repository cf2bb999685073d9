"""Deep EXR: OpenImageIO finds sorted samples, and flattened they are the flat picture."""

from pathlib import Path

import numpy as np
import pytest
import torch

from neural3d.render.deep import deep_samples, write_deep_exr
from neural3d.render.exr import ExrFrame, ExrSettings, exr_fingerprint, write_exr
from neural3d.splats.gaussians import Gaussians

from .scenes import CAPTURE_FROM_SCENE, cameras_around, disk, some_gaussians, straight_camera

pytest.importorskip("OpenEXR", reason="needs OpenEXR: pip install OpenEXR mmh3 tifffile")
oiio = pytest.importorskip("OpenImageIO", reason="needs OpenImageIO: pip install OpenImageIO")

WHERE = {"capture_from_scene": CAPTURE_FROM_SCENE}


def two_disks(front: float, back: float) -> Gaussians:
    """A dark one and behind it a bright one, half opaque both."""
    near, far = disk(front, opacity=0.0, color=0.2, radius=2.0), disk(back, opacity=0.0, color=0.8, radius=2.0)
    return Gaussians(
        *(
            torch.cat([getattr(d, name) for d in (near, far)])
            for name in ("means_world", "log_scales", "quats_wxyz", "logit_opacities", "sh")
        )
    )


def flattened(path: Path) -> np.ndarray:
    """By OpenImageIO, H W 4: R, G, B, A."""
    deep = oiio.ImageBuf(str(path))
    assert deep.deep, oiio.geterror()
    return np.asarray(oiio.ImageBufAlgo.flatten(deep).get_pixels(oiio.FLOAT))[..., :4]


@pytest.mark.parametrize(("space", "max_samples"), [("linear", 256), ("linear", 4), ("acescg", 1), ("srgb", 16)])
def test_flattened_it_is_the_flat_picture(tmp_path: Path, space, max_samples: int):
    gaussians, frame = some_gaussians(), ExrFrame(cameras_around(1))
    settings = ExrSettings(layers=("rgba",), space=space, precision="float")
    write_exr(tmp_path / "flat.exr", gaussians, frame, settings=settings, **WHERE)
    write_deep_exr(tmp_path / "deep.exr", gaussians, frame, max_samples=max_samples, settings=settings, **WHERE)
    flat = np.asarray(oiio.ImageBuf(str(tmp_path / "flat.exr")).get_pixels(oiio.FLOAT))
    assert flat[..., 3].max() > 0.9 and np.abs(flattened(tmp_path / "deep.exr") - flat).max() < 2e-5


def test_half_is_precise_enough(tmp_path: Path):
    gaussians, frame = some_gaussians(), ExrFrame(cameras_around(1))
    write_exr(tmp_path / "flat.exr", gaussians, frame, settings=ExrSettings(("rgba",)), **WHERE)
    write_deep_exr(tmp_path / "deep.exr", gaussians, frame, max_samples=16, **WHERE)
    flat = np.asarray(oiio.ImageBuf(str(tmp_path / "flat.exr")).get_pixels(oiio.FLOAT))
    assert np.abs(flattened(tmp_path / "deep.exr") - flat).max() < 2e-3


def test_samples_are_sorted_and_few(tmp_path: Path):
    write_deep_exr(tmp_path / "a.exr", some_gaussians(), ExrFrame(cameras_around(1)), max_samples=5, **WHERE)
    data = oiio.ImageBuf(str(tmp_path / "a.exr")).deepdata()
    names = [data.channelname(c) for c in range(data.channels)]
    front, back = names.index("Z"), names.index("ZBack")
    counts = [data.samples(pixel) for pixel in range(data.pixels)]
    assert max(counts) == 5 and min(counts) == 0
    for pixel, count in enumerate(counts):
        ends = [data.deep_value(pixel, c, s) for s in range(count) for c in (front, back)]
        assert ends == sorted(ends) and (not ends or ends[0] > 0)


def test_what_lies_between_is_half_covered(tmp_path: Path):
    """Two disks, 4 and 5 units away, three times that in the capture: what stands at 13.5 is behind the first alone."""
    write_deep_exr(tmp_path / "a.exr", two_disks(0.0, 1.0), ExrFrame(straight_camera()), max_samples=8, **WHERE)
    buffer = oiio.ImageBuf(str(tmp_path / "a.exr"))
    data, spec = buffer.deepdata(), buffer.spec()
    names = [data.channelname(c) for c in range(data.channels)]
    pixel = 25 * spec.width + 35
    assert data.samples(pixel) == 2
    found = {name: [data.deep_value(pixel, names.index(name), s) for s in (0, 1)] for name in ("R", "A", "Z", "ZBack")}
    assert found["Z"] == pytest.approx([12, 15], abs=1e-3) and found["ZBack"] == found["Z"]
    assert found["A"] == pytest.approx([0.5, 0.5], abs=0.01)
    assert found["R"][1] > 5 * found["R"][0]


def test_the_header_is_that_of_a_flat_one(tmp_path: Path):
    frame, settings = ExrFrame(cameras_around(1), number=1042), ExrSettings(overscan_px=3)
    how = {"max_samples": 4, "settings": settings, "fingerprint": "abc"}
    write_deep_exr(tmp_path / "a.exr", some_gaussians(), frame, **how, **WHERE)
    spec = oiio.ImageBuf(str(tmp_path / "a.exr")).spec()
    assert (spec.x, spec.y, spec.width, spec.height, spec.full_width) == (-3, -3, 76, 56, 70)
    assert spec.getattribute("imageCounter") == 1042 and exr_fingerprint(tmp_path / "a.exr") == "abc"


def test_nothing_in_view_is_an_empty_picture(tmp_path: Path):
    write_deep_exr(tmp_path / "a.exr", disk(z=-50.0), ExrFrame(straight_camera()), max_samples=4, **WHERE)
    assert (flattened(tmp_path / "a.exr") == 0).all()


def test_a_number_of_samples_without_sense_is_refused():
    with pytest.raises(ValueError, match="max_samples: expected 1 to 256, got 0"):
        deep_samples(disk(), straight_camera(), "linear", 0)
