"""Photos that Pillow does not read: HEIC and RAW; what EXIF says; how photos are measured."""

import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFilter

from neural3d.capture.listing import BadFrame
from neural3d.capture.photo_files import CameraFacts, camera_facts, read_photo
from neural3d.capture.photo_quality import fingerprint_distance, measure_photo

HEIC = Path(__file__).parent / "photos" / "gradient.heic"
"""96x72: red 40 + 2 x, green 30 + 2 y, blue 120; then turned as for EXIF orientation 6, in a field of HEIF's own."""
TEATIME = Path(__file__).parents[2] / "scenes" / "teatime" / "images"


def test_heic_has_its_pixels_and_its_camera():
    """Turned once, by HEIF's own field, which the decoder follows; EXIF says the same and is not applied again."""
    pytest.importorskip("pi_heif", reason="pi-heif is not installed")
    photo = read_photo(HEIC)
    rows, columns = np.mgrid[0:72, 0:96]
    truth = np.stack([40 + 2 * columns, 30 + 2 * rows, np.full_like(rows, 120)], axis=-1).clip(0, 255)
    assert photo.pixels.shape == (96, 72, 3)
    assert np.abs(photo.pixels - np.rot90(truth, -1)).mean() < 2
    assert (photo.facts.make, photo.facts.model, photo.facts.focal_35mm) == ("Maker", "Phone", 26)
    assert not photo.stored_upright


@pytest.mark.parametrize("name", ["broken.heic", "broken.dng"])
def test_damaged_photos_are_named(tmp_path, name):
    pytest.importorskip("pi_heif" if name.endswith("heic") else "rawpy", reason="the decoder is not installed")
    path = tmp_path / name
    path.write_bytes(HEIC.read_bytes()[:300])
    with pytest.raises(BadFrame, match=f"{name} cannot be decoded"):
        read_photo(path)


@pytest.mark.parametrize(("name", "package"), [("a.heic", "pi_heif"), ("a.dng", "rawpy")])
def test_a_missing_decoder_is_named_with_the_remedy(tmp_path, monkeypatch, name, package):
    import sys

    monkeypatch.setitem(sys.modules, package, None)
    (tmp_path / name).write_bytes(b"x")
    with pytest.raises(BadFrame, match=r"pip install (pi-heif|rawpy)"):
        read_photo(tmp_path / name)


def write_dng(path: Path, mosaic: np.ndarray, orientation: int) -> None:
    """A linear 16-bit Bayer DNG (RGGB) with the colours of sRGB. Source: Adobe DNG 1.4, chapter 4."""
    height, width = mosaic.shape
    # XYZ (D50 would need more tags; D65 as in sRGB) to camera, row by row.
    matrix = [3.2404542, -1.5371385, -0.4985314, -0.969266, 1.8760108, 0.041556, 0.0556434, -0.2040259, 1.0572252]
    rationals = b"".join(struct.pack("<ii", round(value * 10000), 10000) for value in matrix)
    entries = [
        (254, 4, 1, 0),
        (256, 4, 1, width),
        (257, 4, 1, height),
        (258, 3, 1, 16),
        (259, 3, 1, 1),
        (262, 3, 1, 32803),
        (271, 2, 5, b"Test\0"),
        (272, 2, 5, b"Mini\0"),
        (273, 4, 1, "pixels"),
        (274, 3, 1, orientation),
        (277, 3, 1, 1),
        (278, 4, 1, height),
        (279, 4, 1, 2 * height * width),
        (33421, 3, 2, struct.pack("<HH", 2, 2)),
        (33422, 1, 4, bytes([0, 1, 1, 2])),
        (50706, 1, 4, bytes([1, 4, 0, 0])),
        (50708, 2, 10, b"Test Mini\0"),
        (50717, 4, 1, 65535),
        (50721, 10, 9, rationals),
        (50728, 5, 3, struct.pack("<6I", 1, 1, 1, 1, 1, 1)),
        (50778, 3, 1, 21),
    ]
    table_end = 8 + 2 + 12 * len(entries) + 4
    extra, rows = b"", b""
    sizes = sum(len(value) + len(value) % 2 for *_, value in entries if isinstance(value, bytes) and len(value) > 4)
    for tag, kind, count, value in entries:
        if value == "pixels":
            value = table_end + sizes
        if isinstance(value, int):
            field = struct.pack("<HH" if kind == 3 else "<I", *((value, 0) if kind == 3 else (value,)))
        elif len(value) <= 4:
            field = value.ljust(4, b"\0")
        else:
            field = struct.pack("<I", table_end + len(extra))
            extra += value + b"\0" * (len(value) % 2)
        rows += struct.pack("<HHI", tag, kind, count) + field
    head = b"II*\0" + struct.pack("<IH", 8, len(entries)) + rows + struct.pack("<I", 0)
    path.write_bytes(head + extra + mosaic.astype("<u2").tobytes())


@pytest.mark.parametrize("orientation", [1, 6])
def test_raw_is_developed_to_srgb_and_turned(tmp_path, orientation):
    """A grey of 0.4 in linear light, the left quarter 0.1: no automatic brightness, upright, sRGB's curve."""
    pytest.importorskip("rawpy", reason="rawpy is not installed")
    linear = np.full((128, 192), 0.4)
    linear[:, :48] = 0.1
    path = tmp_path / "a.dng"
    write_dng(path, np.round(linear * 65535), orientation)
    photo = read_photo(path)
    upright = np.rot90(photo.pixels, 1) if orientation == 6 else photo.pixels
    assert upright.shape[1] > upright.shape[0]
    expected = [255 * (1.055 * value ** (1 / 2.4) - 0.055) for value in (0.1, 0.4)]
    height, width = upright.shape[:2]
    found = [upright[height // 2, width // 8].mean(), upright[height // 2, width // 2].mean()]
    np.testing.assert_allclose(found, expected, atol=3)
    assert (photo.facts.make, photo.facts.model) == ("Test", "Mini")


@pytest.mark.parametrize("value", [0, -3.0, float("nan"), "wide", (1, 0)])
def test_exif_that_makes_no_sense_counts_as_missing(value):
    exif = Image.Exif()
    exif.get_ifd(0x8769)[41989] = value
    exif.get_ifd(0x8825)[2] = value
    assert camera_facts(exif) == CameraFacts()


def test_the_focal_length_of_a_phone():
    assert CameraFacts(focal_35mm=26.0).focal_px(4032, 3024) == pytest.approx(26 / 43.2666 * 5040, rel=1e-4)
    assert CameraFacts(focal_35mm=3.0).focal_px(4032, 3024) is None
    assert CameraFacts().focal_px(4032, 3024) is None


@pytest.mark.parametrize("radius", [1, 2, 4, 8])
def test_blur_lowers_sharpness(radius):
    photo = Image.open(TEATIME / "012.webp").convert("RGB")
    sharp, blurred = (
        measure_photo(np.asarray(p)).sharpness for p in (photo, photo.filter(ImageFilter.GaussianBlur(radius)))
    )
    assert blurred < 0.4 * sharp


def test_brightness_does_not_change_sharpness():
    photo = Image.open(TEATIME / "012.webp").convert("RGB")
    darker = photo.point(lambda value: value // 2)
    first, second = measure_photo(np.asarray(photo)), measure_photo(np.asarray(darker))
    assert second.sharpness == pytest.approx(first.sharpness, rel=0.1)
    assert second.brightness == pytest.approx(first.brightness / 2, rel=0.05)


def test_twins_have_the_same_fingerprint():
    first, second = (Image.open(TEATIME / name).convert("RGB") for name in ("012.webp", "013.webp"))
    twin = first.resize((300, 300)).point(lambda value: min(255, value + 8))
    prints = [measure_photo(np.asarray(photo)).fingerprint for photo in (first, twin, second)]
    assert fingerprint_distance(prints[0], prints[1]) <= 12 < 40 < fingerprint_distance(prints[0], prints[2])


@pytest.mark.parametrize("size", [(1, 1), (2, 3), (17, 5), (64, 64)])
def test_any_size_can_be_measured(size):
    quality = measure_photo(np.zeros((*size, 3), dtype=np.uint8))
    assert np.isfinite([quality.sharpness, quality.brightness, quality.clipped, quality.contrast]).all()
