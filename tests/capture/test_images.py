"""Photos in every pixel format and orientation; masks; files that are none."""

import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from neural3d.capture import load_capture
from neural3d.capture.images import MAX_PIXELS, read_header, read_mask, read_pixels
from neural3d.capture.listing import BadFrame
from neural3d.errors import InputError

from .writers import (
    HEIGHT,
    WIDTH,
    ColmapCamera,
    assert_paired,
    colmap_capture,
    ring,
    transforms_capture,
    write_colmap,
    write_photo,
)

GREY = np.arange(256, dtype=np.uint8).reshape(8, 32)
COLOR = np.stack([GREY, GREY[::-1], 255 - GREY], axis=-1)
ALPHA = np.roll(GREY, 5, axis=1)
EXIF_ORIENTATION = 0x0112


def rgba(color, alpha) -> np.ndarray:
    return np.concatenate([color, alpha[..., None]], axis=-1)


def grey_rgb(grey) -> np.ndarray:
    return np.repeat(grey[..., None], 3, axis=-1)


def palette_image(alpha: bool) -> Image.Image:
    """The first 64 colours of the ramp, as palette entries; some of them transparent."""
    image = Image.fromarray(GREY // 4, "L").convert("P")
    image.putpalette([value for i in range(64) for value in (4 * i, 255 - 4 * i, i)])
    if alpha:
        image.info["transparency"] = bytes(255 - 3 * i for i in range(64))
    return image


def palette_truth(alpha: bool) -> np.ndarray:
    index = (GREY // 4).astype(int)
    color = np.stack([4 * index, 255 - 4 * index, index], axis=-1)
    return (rgba(color, 255 - 3 * index) if alpha else color).astype(np.uint8)


CASES = {
    "grey 8": (lambda p: Image.fromarray(GREY).save(p), ".png", grey_rgb(GREY)),
    "grey 8 bmp": (lambda p: Image.fromarray(GREY).save(p), ".bmp", grey_rgb(GREY)),
    "grey alpha": (
        lambda p: Image.merge("LA", [Image.fromarray(GREY), Image.fromarray(ALPHA)]).save(p),
        ".png",
        rgba(grey_rgb(GREY), ALPHA),
    ),
    "grey 16": (lambda p: Image.fromarray(GREY.astype(np.uint16) * 257).save(p), ".png", grey_rgb(GREY)),
    "grey 16 tiff": (lambda p: Image.fromarray(GREY.astype(np.uint16) * 257).save(p), ".tif", grey_rgb(GREY)),
    "rgb": (lambda p: Image.fromarray(COLOR).save(p), ".png", COLOR),
    "rgb webp": (lambda p: Image.fromarray(COLOR).save(p, lossless=True), ".webp", COLOR),
    "rgb tiff": (lambda p: Image.fromarray(COLOR).save(p, compression="tiff_lzw"), ".tif", COLOR),
    "rgb ppm": (lambda p: Image.fromarray(COLOR).save(p), ".ppm", COLOR),
    "rgb 16": (lambda p: write_png_16(p, COLOR), ".png", COLOR),
    "rgba": (lambda p: Image.fromarray(rgba(COLOR, ALPHA)).save(p), ".png", rgba(COLOR, ALPHA)),
    "cmyk tiff": (lambda p: Image.fromarray(255 - rgba(COLOR, 255 + 0 * GREY)).save(p), ".tif", None),
    "palette": (lambda p: palette_image(False).save(p), ".png", palette_truth(False)),
    "palette alpha": (lambda p: palette_image(True).save(p), ".png", palette_truth(True)),
    "one bit": (lambda p: Image.fromarray(GREY > 99).save(p), ".png", grey_rgb(np.where(GREY > 99, 255, 0))),
    "colour key": (
        lambda p: Image.fromarray(COLOR).save(p, transparency=tuple(COLOR[2, 3].tolist())),
        ".png",
        rgba(COLOR, np.where((COLOR == COLOR[2, 3]).all(-1), 0, 255).astype(np.uint8)),
    ),
}
CASES["cmyk tiff"] = (
    lambda p: Image.merge("CMYK", [Image.fromarray(c) for c in (*(255 - COLOR).transpose(2, 0, 1), 0 * GREY)]).save(p),
    ".tif",
    COLOR,
)


def write_png_16(path, color: np.ndarray) -> None:
    """RGB with 16 bits a channel, which Pillow reads but does not write."""
    height, width = color.shape[:2]
    rows = b"".join(b"\0" + (row.astype(">u2") * 257).astype(">u2").tobytes() for row in color)
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", width, height, 16, 2, 0, 0, 0)), (b"IDAT", zlib.compress(rows))]
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(png_chunk(*chunk) for chunk in [*chunks, (b"IEND", b"")]))


def png_chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


@pytest.mark.parametrize("case", CASES)
def test_every_pixel_format_is_read_right(tmp_path, case):
    write, suffix, truth = CASES[case]
    path = tmp_path / f"photo{suffix}"
    write(path)
    pixels = read_pixels(path, turned=False)
    header = read_header(path)
    assert pixels.shape == truth.shape and pixels.dtype == np.uint8
    assert np.abs(pixels.astype(int) - truth).max() <= 1
    assert (header.width, header.height, header.has_alpha) == (32, 8, truth.shape[2] == 4)


@pytest.mark.parametrize("case", CASES)
def test_photos_are_read_the_same_in_parts(tmp_path, monkeypatch, case):
    write, suffix, _ = CASES[case]
    path = tmp_path / f"photo{suffix}"
    write(path)
    whole = read_pixels(path, turned=False)
    monkeypatch.setattr("neural3d.capture.images._ROWS", 3)
    np.testing.assert_array_equal(read_pixels(path, turned=False), whole)


def test_cmyk_jpeg(tmp_path):
    """Photoshop's CMYK JPEGs hold inverted inks; a flat colour survives compression."""
    Image.new("CMYK", (32, 16), (200, 40, 90, 0)).save(tmp_path / "a.jpg", quality=100)
    pixels = read_pixels(tmp_path / "a.jpg", turned=False)
    assert np.abs(pixels.astype(int) - [55, 215, 165]).max() <= 2


def test_floats_are_refused_by_name(tmp_path):
    Image.fromarray(np.linspace(0, 1, 64, dtype=np.float32).reshape(8, 8)).save(tmp_path / "a.tif")
    with pytest.raises(BadFrame, match="a.tif has pixels of type F"):
        read_header(tmp_path / "a.tif")


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".tif", ".webp"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientations(tmp_path, orientation, suffix):
    """Stored pixels and turned pixels, whatever the decoder itself does."""
    upright = np.zeros((16, 24, 3), dtype=np.uint8)
    upright[:8, :8] = (250, 0, 0)
    upright[8:, 16:] = (0, 0, 250)
    stored = np.ascontiguousarray(stored_from_upright(upright, orientation))
    exif = Image.Exif()
    exif[EXIF_ORIENTATION] = orientation
    lossless = {".jpg": {"quality": 100, "subsampling": 0}, ".webp": {"lossless": True}}.get(suffix, {})
    path = tmp_path / f"a{suffix}"
    Image.fromarray(stored).save(path, exif=exif, **lossless)
    header = read_header(path)
    assert (header.height, header.width, header.orientation) == (*stored.shape[:2], orientation)
    assert header.turned_size == (24, 16)
    assert np.abs(read_pixels(path, turned=False).astype(int) - stored).max() < 20
    assert np.abs(read_pixels(path, turned=True).astype(int) - upright).max() < 20


def stored_from_upright(upright: np.ndarray, orientation: int) -> np.ndarray:
    """By the EXIF standard: where row 0 and column 0 of the stored pixels are in the upright picture."""
    match orientation:
        case 1:
            return upright
        case 2:
            return upright[:, ::-1]
        case 3:
            return upright[::-1, ::-1]
        case 4:
            return upright[::-1]
        case 5:
            return upright.transpose(1, 0, 2)
        case 6:
            return upright.transpose(1, 0, 2)[::-1]
        case 7:
            return upright.transpose(1, 0, 2)[::-1, ::-1]
        case _:
            return upright.transpose(1, 0, 2)[:, ::-1]


@pytest.mark.parametrize("maker", ["colmap", "transforms"])
@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("camera_sees", ["stored", "upright"])
def test_the_camera_decides_which_way_up(tmp_path, maker, orientation, camera_sees):
    """A photo stored sideways: its camera says whether it is meant as stored or as turned."""
    views = ring(3, suffix=".png")
    (colmap_capture if maker == "colmap" else transforms_capture)(tmp_path, views)
    upright = np.zeros((HEIGHT, WIDTH, 3), dtype=np.uint8)
    upright[: HEIGHT // 2, : WIDTH // 2] = (250, 0, 0)
    sideways = orientation >= 5
    stored = stored_from_upright(upright, orientation) if camera_sees == "upright" else upright
    exif = Image.Exif()
    exif[EXIF_ORIENTATION] = orientation
    Image.fromarray(np.ascontiguousarray(stored)).save(tmp_path / "images/v001.png", exif=exif)
    scene = load_capture(tmp_path)
    assert [p.name.removeprefix("images/") for p in scene.photos] == ["v000.png", "v001.png", "v002.png"]
    # Where both fit, photos are taken as stored; only a size that does not fit turns them.
    expected = upright if camera_sees == "upright" and sideways else stored
    np.testing.assert_array_equal(scene.photos[1].pixels.numpy(), expected)
    undecided = orientation in (2, 3, 4)
    assert any("EXIF orientation" in warning for warning in scene.warnings) == undecided


def test_square_photos_are_taken_as_stored(tmp_path):
    views = ring(3)
    pixels = np.arange(32 * 32 * 3, dtype=np.uint32).reshape(32, 32, 3).astype(np.uint8)
    exif = Image.Exif()
    exif[EXIF_ORIENTATION] = 6
    camera = ColmapCamera(1, "PINHOLE", 32, 32, (40.0, 40.0, 16.0, 16.0))
    write_colmap(tmp_path / "sparse/0", views, cameras=(camera,))
    for view in views:
        write_photo(tmp_path / "images" / view.name, view.color)
        Image.fromarray(pixels).save(tmp_path / "images" / view.name, exif=exif)
    scene = load_capture(tmp_path)
    np.testing.assert_array_equal(scene.photos[0].pixels.numpy(), pixels)
    assert scene.warnings[0].startswith("3 photos have an EXIF orientation that their camera's size does not decide")


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".tif"])
def test_photos_that_are_cut_off_are_skipped_by_name(tmp_path, suffix):
    views = ring(4, suffix=suffix)
    colmap_capture(tmp_path, views)
    noise = np.random.default_rng(0).integers(0, 255, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    path = tmp_path / f"images/v001{suffix}"
    Image.fromarray(noise).save(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 6 // 10])
    scene = load_capture(tmp_path)
    assert [photo.name for photo in scene.photos] == [views[0].name, views[2].name, views[3].name]
    assert scene.warnings[0] == "1 of 4 frames were skipped"
    assert scene.warnings[1].startswith(f"skipped v001{suffix}: v001{suffix} cannot be decoded")


@pytest.mark.parametrize(
    "content", [b"", b"not an image", b"GIF89a" + b"\0" * 64, b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff\xe0" + b"\0" * 40]
)
def test_files_that_are_no_photos_are_skipped_by_name(tmp_path, content):
    views = colmap_capture(tmp_path, ring(4))
    (tmp_path / "images/v002.png").write_bytes(content)
    scene = load_capture(tmp_path)
    assert_paired(scene, views, ["v000.png", "v001.png", "v003.png"])
    assert scene.warnings[1].startswith("skipped v002.png: v002.png cannot be decoded")


def test_a_header_that_claims_more_than_memory_is_not_decoded(tmp_path):
    header = struct.pack(">IIBBBBB", 60000, 60000, 8, 2, 0, 0, 0)
    path = tmp_path / "bomb.png"
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", header) + png_chunk(b"IEND", b""))
    assert 60000 * 60000 > MAX_PIXELS
    with pytest.raises(BadFrame, match="bomb.png"):
        read_header(path)


def test_no_photo_left_is_an_error_that_names_some(tmp_path):
    colmap_capture(tmp_path, ring(5))
    for path in (tmp_path / "images").iterdir():
        path.write_bytes(b"nothing")
    with pytest.raises(InputError, match=r"none of its 5 frames can be used: v000.png: .*\(and 2 more\)"):
        load_capture(tmp_path)


HALF = np.zeros((HEIGHT, WIDTH), dtype=bool)
HALF[:, : WIDTH // 2] = True
MASKS = {
    "uint8": lambda p: Image.fromarray(np.where(HALF, 255, 0).astype(np.uint8)).save(p),
    "0 and 1": lambda p: Image.fromarray(HALF.astype(np.uint8)).save(p),
    "one bit": lambda p: Image.fromarray(HALF).save(p),
    "rgb": lambda p: Image.fromarray(grey_rgb(np.where(HALF, 255, 0).astype(np.uint8))).save(p),
    "rgba": lambda p: Image.fromarray(
        rgba(grey_rgb(np.where(HALF, 255, 0).astype(np.uint8)), np.full(HALF.shape, 255, np.uint8))
    ).save(p),
    "alpha only": lambda p: Image.fromarray(
        rgba(np.zeros((*HALF.shape, 3), np.uint8), np.where(HALF, 255, 0).astype(np.uint8))
    ).save(p),
    "16 bit": lambda p: Image.fromarray(np.where(HALF, 65535, 0).astype(np.uint16)).save(p),
    "half the size": lambda p: Image.fromarray(HALF[::2, ::2]).save(p),
    "twice the size": lambda p: Image.fromarray(HALF.repeat(2, 0).repeat(2, 1)).save(p),
}


@pytest.mark.parametrize("kind", MASKS)
def test_masks_of_every_kind(tmp_path, kind):
    colmap_capture(tmp_path, ring(3))
    (tmp_path / "masks").mkdir()
    MASKS[kind](tmp_path / "masks/v001.png")
    scene = load_capture(tmp_path)
    np.testing.assert_array_equal(scene.photos[1].valid.numpy(), HALF)
    assert scene.photos[0].valid is None
    assert scene.warnings == ("2 photos have no mask and are used whole: v000.png, v002.png",)
    assert load_capture(tmp_path, downscale=2).photos[1].valid.sum() == HALF.sum() / 4


@pytest.mark.parametrize("mask_name", ["a/v001.jpg.png", "a/v001.png", "a/v001.jpg"])
def test_names_of_masks(tmp_path, mask_name):
    views = [type(v)(f"a/{v.name}", v.color, v.camera_from_world) for v in ring(3, suffix=".jpg")]
    colmap_capture(tmp_path, views)
    write_photo(tmp_path / "masks" / mask_name, 255, mode="L")
    Image.fromarray(np.where(HALF, 255, 0).astype(np.uint8)).save(tmp_path / "masks" / mask_name)
    valid = load_capture(tmp_path).photos[1].valid
    assert valid is not None and abs(int(valid.sum()) - int(HALF.sum())) <= HEIGHT


def test_a_mask_that_leaves_nothing_costs_its_frame(tmp_path):
    views = colmap_capture(tmp_path, ring(3))
    write_photo(tmp_path / "masks/v001.png", 0, mode="L")
    scene = load_capture(tmp_path)
    assert_paired(scene, views, ["v000.png", "v002.png"])
    assert "skipped v001.png: its mask is black everywhere" in scene.warnings


def test_a_mask_of_another_shape_is_not_used(tmp_path):
    colmap_capture(tmp_path, ring(3))
    write_photo(tmp_path / "masks/v001.png", 0, size=(HEIGHT, WIDTH), mode="L")
    scene = load_capture(tmp_path)
    assert scene.photos[1].valid is None
    assert "v001.png: its mask is 32 x 48 pixels, its photo 48 x 32; not used" in scene.warnings


def test_a_broken_mask_costs_its_frame(tmp_path):
    views = colmap_capture(tmp_path, ring(3))
    (tmp_path / "masks").mkdir()
    (tmp_path / "masks/v001.png").write_bytes(b"nothing")
    assert_paired(load_capture(tmp_path), views, ["v000.png", "v002.png"])


def test_a_mask_of_grey_noise_is_thresholded(tmp_path):
    values = np.random.default_rng(0).integers(0, 256, (8, 8), dtype=np.uint8)
    Image.fromarray(values).save(tmp_path / "m.png")
    np.testing.assert_array_equal(read_mask(tmp_path / "m.png"), values >= 128)
