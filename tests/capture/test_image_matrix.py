"""Fourteen pixel formats x eight EXIF orientations x two sources of poses: right, or refused by name; never silent."""

import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from neural3d.capture import load_capture
from neural3d.scene import Scene

from .writers import ColmapCamera, ring, transforms_meta, write_colmap, write_json

WIDTH, HEIGHT, FOCAL = 32, 16, 30.0
COLORS = np.random.default_rng(3).integers(10, 245, (HEIGHT // 8, WIDTH // 8, 3), dtype=np.uint8)
CHART = COLORS.repeat(8, axis=0).repeat(8, axis=1)
"""Blocks of 8 pixels, so that JPEG has nothing to lose; no two turns of it are alike."""
GREY = CHART[..., 1]
ALPHA = (255 - GREY // 2).astype(np.uint8)
EXIF_TURN: dict[int, Callable[[np.ndarray], np.ndarray]] = {
    1: lambda pixels: pixels,
    2: lambda pixels: pixels[:, ::-1],
    3: lambda pixels: pixels[::-1, ::-1],
    4: lambda pixels: pixels[::-1],
    5: lambda pixels: pixels.swapaxes(0, 1),
    6: lambda pixels: np.rot90(pixels, -1),
    7: lambda pixels: np.rot90(pixels, 2).swapaxes(0, 1),
    8: lambda pixels: np.rot90(pixels),
}
"""What a viewer does with stored pixels. Source: Exif 2.32, tag 274."""


@dataclass(frozen=True)
class PixelFormat:
    suffix: str
    write: Callable[[Path, bytes], None]
    truth: np.ndarray | None
    """H W 3 or, with alpha, H W 4; None where the format is refused."""
    tolerance: int = 0


def exif_bytes(orientation: int) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif.tobytes()


def _save(image: Callable[[], Image.Image], **options) -> Callable[[Path, bytes], None]:
    return lambda path, exif: image().save(path, exif=exif, **options)


def _png_16_bit_rgb(path: Path, exif: bytes) -> None:
    """By hand: Pillow writes no PNG of 16 bits in three channels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = b"".join(b"\0" + row.tobytes() for row in (CHART.astype(">u2") * 257))
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", WIDTH, HEIGHT, 16, 2, 0, 0, 0))
    turned = chunk(b"eXIf", exif.removeprefix(b"Exif\0\0"))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + head + turned + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b""))


def _palette() -> Image.Image:
    return Image.fromarray(CHART).quantize(8, dither=Image.Dither.NONE)


def _palette_with_alpha() -> Image.Image:
    image = _palette()
    image.info["transparency"] = bytes(255 - 20 * index for index in range(8))
    return image


def _grey_rgb(grey: np.ndarray) -> np.ndarray:
    return np.repeat(grey[..., None], 3, axis=2)


def _palette_truth() -> np.ndarray:
    index = np.asarray(_palette())
    return np.concatenate([CHART, (255 - 20 * index.astype(int)).astype(np.uint8)[..., None]], axis=2)


WITH_ALPHA = np.concatenate([CHART, ALPHA[..., None]], axis=2)
BITS = np.where(GREY > 127, 255, 0).astype(np.uint8)
FORMATS = {
    "png-rgb": PixelFormat(".png", _save(lambda: Image.fromarray(CHART)), CHART),
    "png-rgba": PixelFormat(".png", _save(lambda: Image.fromarray(WITH_ALPHA)), WITH_ALPHA),
    "png-grey": PixelFormat(".png", _save(lambda: Image.fromarray(GREY)), _grey_rgb(GREY)),
    "png-grey-alpha": PixelFormat(
        ".png",
        _save(lambda: Image.merge("LA", [Image.fromarray(GREY), Image.fromarray(ALPHA)])),
        np.concatenate([_grey_rgb(GREY), ALPHA[..., None]], axis=2),
    ),
    "png-1-bit": PixelFormat(".png", _save(lambda: Image.fromarray(BITS).convert("1")), _grey_rgb(BITS)),
    "png-palette": PixelFormat(".png", _save(_palette), CHART),
    "png-palette-alpha": PixelFormat(".png", _save(_palette_with_alpha), _palette_truth()),
    "png-grey-16": PixelFormat(".png", _save(lambda: Image.fromarray(GREY.astype(np.uint16) * 257)), _grey_rgb(GREY)),
    "png-rgb-16": PixelFormat(".png", _png_16_bit_rgb, CHART),
    "jpeg-rgb": PixelFormat(".jpg", _save(lambda: Image.fromarray(CHART), quality=100, subsampling=0), CHART, 2),
    "jpeg-grey": PixelFormat(".jpg", _save(lambda: Image.fromarray(GREY), quality=100), _grey_rgb(GREY), 1),
    "jpeg-cmyk": PixelFormat(".jpg", _save(lambda: Image.fromarray(CHART).convert("CMYK"), quality=100), CHART, 3),
    "webp-rgba": PixelFormat(".webp", _save(lambda: Image.fromarray(WITH_ALPHA), lossless=True), WITH_ALPHA),
    "tiff-float": PixelFormat(".tif", _save(lambda: Image.fromarray(GREY.astype(np.float32))), None),
}
CASES = [(name, orientation) for name in FORMATS for orientation in EXIF_TURN]


@pytest.fixture(scope="module", params=["COLMAP", "transforms.json"])
def loaded(request, tmp_path_factory) -> tuple[str, Scene]:
    """All 112 photos in one capture: COLMAP's camera fits stored pixels, those of transforms.json turned ones."""
    root = tmp_path_factory.mktemp("matrix")
    (root / "images").mkdir()
    names = [f"{name}-{orientation}{FORMATS[name].suffix}" for name, orientation in CASES]
    views = [
        type(view)(name, view.color, view.camera_from_world, 1)
        for view, name in zip(ring(len(CASES)), names, strict=True)
    ]
    for (name, orientation), view in zip(CASES, views, strict=True):
        FORMATS[name].write(root / "images" / view.name, exif_bytes(orientation))
    if request.param == "COLMAP":
        camera = ColmapCamera(1, "PINHOLE", WIDTH, HEIGHT, (FOCAL, FOCAL, WIDTH / 2, HEIGHT / 2))
        write_colmap(root / "sparse/0", views, cameras=(camera,))
    else:
        meta = transforms_meta(views, w=None, h=None, fl_x=FOCAL, fl_y=FOCAL, cx=None, cy=None)
        for (_, orientation), frame in zip(CASES, meta["frames"], strict=True):
            width, height = (HEIGHT, WIDTH) if orientation >= 5 else (WIDTH, HEIGHT)
            frame |= {"w": width, "h": height, "cx": width / 2, "cy": height / 2}
        write_json(root / "transforms.json", meta)
    return request.param, load_capture(root)


def test_no_photo_is_read_wrong_in_silence(loaded):
    source, scene = loaded
    photos = {Path(photo.name).name: photo for photo in scene.photos}
    for name, orientation in CASES:
        file, format = f"{name}-{orientation}{FORMATS[name].suffix}", FORMATS[name]
        if format.truth is None:
            assert file not in photos
            assert any(file in warning and "pixels of type" in warning for warning in scene.warnings), file
            continue
        # Where both ways fit the camera the photo is used as stored, as structure from motion does, and that is said.
        truth = EXIF_TURN[orientation](format.truth) if source != "COLMAP" and orientation >= 5 else format.truth
        photo = photos[file]
        error = np.abs(photo.pixels.numpy().astype(int) - truth[..., :3].astype(int))
        assert error.max() <= format.tolerance, (file, int(error.max()))
        expected = truth[..., 3] if truth.shape[2] == 4 else np.full(truth.shape[:2], 255)
        assert photo.alpha is not None
        np.testing.assert_array_equal(photo.alpha.numpy(), expected, err_msg=file)
    assert len(photos) == len(CASES) - len(EXIF_TURN)


def test_orientations_that_the_camera_does_not_decide_are_told(loaded):
    _, scene = loaded
    told = [
        warning for warning in scene.warnings if "EXIF orientation that their camera's size does not decide" in warning
    ]
    assert len(told) == 1 and told[0].startswith("39 photos")  # three turns of thirteen formats that are read
