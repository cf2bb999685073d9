"""OpenImageIO, another reader than the library that writes, finds the parts, the camera and the numbers."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from neural3d.cameras import Cameras
from neural3d.errors import InputError
from neural3d.render.exr import FAR, LAYERS, ExrFrame, ExrSettings, exr_fingerprint, write_exr
from neural3d.render.exr_files import require_openexr
from neural3d.render.splats import render_splats
from neural3d.scene import Similarity

from .scenes import CAPTURE_FROM_SCENE, cameras_around, disk, some_gaussians, straight_camera

pytest.importorskip("OpenEXR", reason="needs OpenEXR: pip install OpenEXR mmh3 tifffile")
oiio = pytest.importorskip("OpenImageIO", reason="needs OpenImageIO: pip install OpenImageIO")

WHERE = {"capture_from_scene": CAPTURE_FROM_SCENE}


def parts_of(path: Path) -> dict[str, tuple[Any, np.ndarray]]:
    """Specification and pixels of each part, by its name."""
    found, file = {}, oiio.ImageInput.open(str(path))
    assert file is not None, oiio.geterror()
    index = 0
    while file.seek_subimage(index, 0):
        spec = file.spec()
        pixels = file.read_image(index, 0, 0, spec.nchannels, oiio.FLOAT)
        found[spec.getattribute("name")] = (spec.copy(), np.asarray(pixels))
        index += 1
    file.close()
    return found


def test_parts_have_the_names_and_types_of_compositors(tmp_path: Path):
    write_exr(tmp_path / "a.exr", some_gaussians(), ExrFrame(cameras_around(1)), settings=ExrSettings(LAYERS), **WHERE)
    found = parts_of(tmp_path / "a.exr")
    assert {name: spec.channelnames for name, (spec, _) in found.items()} == {
        "rgba": ("R", "G", "B", "A"),
        "depth": ("depth.Z",),
        "normal": ("normal.X", "normal.Y", "normal.Z"),
        "position": ("position.X", "position.Y", "position.Z"),
        "forward": ("forward.u", "forward.v"),
    }
    kinds = {name: str(spec.format) for name, (spec, _) in found.items()}
    assert kinds == {"rgba": "half", "normal": "half", "depth": "float", "position": "float", "forward": "float"}
    assert all((spec.width, spec.height) == (70, 50) for spec, _ in found.values())


def test_a_disk_has_the_depth_normal_and_place_that_it_has(tmp_path: Path):
    """In the units of the capture, three times the scene's, moved by (1, -2, 0.5)."""
    write_exr(tmp_path / "a.exr", disk(radius=0.4), ExrFrame(straight_camera()), **WHERE)
    found = {name: pixels for name, (_, pixels) in parts_of(tmp_path / "a.exr").items()}
    there, nowhere = found["rgba"][..., 3] > 0.02, found["rgba"][..., 3] == 0
    assert there.sum() > 300 and nowhere.sum() > 300
    assert np.allclose(found["depth"][there], 12, atol=1e-3) and (found["depth"][nowhere] == np.float32(FAR)).all()
    assert np.allclose(found["normal"][there], [0, 0, -1], atol=2e-3) and (found["normal"][nowhere] == 0).all()
    assert np.allclose(found["position"][there][:, 2], 0.5, atol=1e-3) and (found["position"][nowhere] == 0).all()
    assert found["position"][25, 35] == pytest.approx([1 + 3 * 4 * 0.5 / 60, -2 + 3 * 4 * 0.5 / 60, 0.5], abs=1e-3)


def test_colours_are_premultiplied_light(tmp_path: Path):
    """Display 0.5 is 0.214 of light, whatever covers it."""
    model = disk(opacity=0.0, color=0.5, radius=2.0)
    write_exr(tmp_path / "a.exr", model, ExrFrame(straight_camera()), **WHERE)
    _, pixels = parts_of(tmp_path / "a.exr")["rgba"]
    alpha = pixels[25, 35, 3]
    assert 0.4 < alpha < 0.51
    assert pixels[..., :3] == pytest.approx(0.21404 * np.repeat(pixels[..., 3:], 3, axis=-1), abs=2e-4)


@pytest.mark.parametrize(("space", "name"), [("linear", "lin_rec709_scene"), ("acescg", "lin_ap1_scene")])
def test_the_header_says_what_the_colours_mean(tmp_path: Path, space, name: str):
    settings = ExrSettings(layers=("rgba",), space=space, precision="float")
    write_exr(tmp_path / "a.exr", disk(), ExrFrame(straight_camera()), settings=settings, **WHERE)
    spec, _ = parts_of(tmp_path / "a.exr")["rgba"]
    assert spec.getattribute("colorInteropID") == name and str(spec.format) == "float"
    red = spec.getattribute("chromaticities")[:2]
    assert red == pytest.approx((0.64, 0.33) if space == "linear" else (0.713, 0.293), abs=1e-6)


def test_the_header_has_the_camera(tmp_path: Path):
    """Its matrix brings the world's points before the camera, where the lens maps them to the pixel that shows them."""
    frame = ExrFrame(cameras_around(1), number=1042, fps=23.976, sensor_width_mm=24.0)
    write_exr(tmp_path / "a.exr", some_gaussians(), frame, **WHERE)
    found = parts_of(tmp_path / "a.exr")
    spec = found["rgba"][0]
    assert spec.getattribute("imageCounter") == 1042
    numerator, denominator = spec.getattribute("framesPerSecond")
    assert numerator / denominator == pytest.approx(23.976, abs=1e-3)
    assert spec.getattribute("effectiveFocalLength") == pytest.approx(60 / 70 * 24)
    matrix = np.array(spec.getattribute("worldToCamera")).reshape(4, 4)
    rows, columns = np.nonzero(found["rgba"][1][..., 3] > 0.5)
    points = found["position"][1][rows, columns]
    seen = np.c_[points, np.ones(len(points))] @ matrix
    depth = seen[:, 2]  # of a left-handed camera, as the standard has it
    assert np.allclose(depth, found["depth"][1][rows, columns, 0], rtol=1e-4)
    # A pixel's place from the standard attributes alone: the window at unit distance.
    width, (center_x, center_y) = spec.getattribute("screenWindowWidth"), spec.getattribute("screenWindowCenter")
    x = (seen[:, 0] / depth - center_x) / width * 70 + 35
    y = 25 - (seen[:, 1] / depth - center_y) / width * 70
    assert np.allclose(x, columns + 0.5, atol=0.01) and np.allclose(y, rows + 0.5, atol=0.01)


def test_overscan_is_around_the_picture(tmp_path: Path):
    gaussians, frame = some_gaussians(), ExrFrame(cameras_around(1))
    for over in (0, 16):
        settings = ExrSettings(precision="float", overscan_px=over)
        write_exr(tmp_path / f"{over}.exr", gaussians, frame, settings=settings, **WHERE)
    plain, wide = (parts_of(tmp_path / f"{over}.exr") for over in (0, 16))
    spec, pixels = wide["rgba"]
    assert (spec.x, spec.y, spec.width, spec.height) == (-16, -16, 102, 82)
    assert (spec.full_x, spec.full_y, spec.full_width, spec.full_height) == (0, 0, 70, 50)
    assert np.abs(pixels[16:-16, 16:-16] - plain["rgba"][1]).mean() < 2e-3
    both = (plain["rgba"][1][..., 3] > 0.5) & (pixels[16:-16, 16:-16, 3] > 0.5)
    assert np.abs(wide["position"][1][16:-16, 16:-16][both] - plain["position"][1][both]).mean() < 0.01


def test_motion_is_how_far_things_go_until_the_next_frame(tmp_path: Path):
    """The camera moves 0.2 to the right and 0.1 down: what is 4 away goes 3 pixels left and 1.5 up."""
    now = straight_camera()
    pose = now.camera_from_world.clone()
    pose[0, 0, 3], pose[0, 1, 3] = -0.2, -0.1
    frame = ExrFrame(now, replace(now, camera_from_world=pose))
    write_exr(tmp_path / "a.exr", disk(), frame, settings=ExrSettings(("rgba", "motion")), **WHERE)
    found = parts_of(tmp_path / "a.exr")
    there = found["rgba"][1][..., 3] > 0.02
    assert np.allclose(found["forward"][1][there], [-3, 1.5], atol=1e-3)
    write_exr(tmp_path / "b.exr", disk(), ExrFrame(now), settings=ExrSettings(("motion",)), **WHERE)
    assert (parts_of(tmp_path / "b.exr")["forward"][1] == 0).all()


def test_compositing_it_over_black_gives_the_render_again(tmp_path: Path):
    gaussians, camera = some_gaussians(), cameras_around(1)
    settings = ExrSettings(("rgba",), space="srgb", precision="float")
    write_exr(tmp_path / "a.exr", gaussians, ExrFrame(camera), settings=settings, **WHERE)
    expected = render_splats(gaussians, camera).colors[0].numpy()
    assert np.abs(parts_of(tmp_path / "a.exr")["rgba"][1][..., :3] - expected).max() < 1e-5


def test_light_that_half_cannot_hold_is_its_brightest(tmp_path: Path):
    write_exr(tmp_path / "a.exr", disk(color=300.0), ExrFrame(straight_camera()), **WHERE)
    pixels = parts_of(tmp_path / "a.exr")["rgba"][1]
    assert np.isfinite(pixels).all() and pixels.max() == 65504


def test_a_frame_is_known_by_its_fingerprint(tmp_path: Path):
    path = tmp_path / "a.exr"
    where = {"capture_from_scene": Similarity.identity()}
    write_exr(path, disk(), ExrFrame(straight_camera((8, 8))), fingerprint="abc", **where)
    assert exr_fingerprint(path) == "abc"
    whole = path.read_bytes()
    path.write_bytes(whole[:60])
    assert exr_fingerprint(path) is None
    assert b"lin_rec709" in whole
    path.write_bytes(whole.replace(b"lin_rec709", b"\xff\xfe\xe4_rec709"))  # a header that is no UTF-8
    assert exr_fingerprint(path) is None
    path.write_text("no picture")
    assert exr_fingerprint(path) is None


def test_a_frame_larger_than_a_tile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """The rasterizer is never asked for more than a tile."""
    asked = []
    from neural3d.render import layers

    rasterize = layers.rasterize

    def spy(means_px, conics, opacities, colors, bins, background):
        asked.append((bins.width, bins.height))
        return rasterize(means_px, conics, opacities, colors, bins, background)

    monkeypatch.setattr(layers, "rasterize", spy)
    camera: Cameras = cameras_around(1, (2100, 40))
    write_exr(tmp_path / "a.exr", disk(), ExrFrame(camera), settings=ExrSettings(("depth",)), **WHERE)
    assert asked == [(1024, 40), (1024, 40), (52, 40)]


def test_openexr_is_asked_for_by_name(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(__import__("sys").modules, "OpenEXR", None)
    with pytest.raises(InputError, match=r"a\.exr: EXR files need OpenEXR: pip install"):
        require_openexr(Path("a.exr"))
