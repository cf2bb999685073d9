"""Frame ranges and file names as film people write them; pictures that are known again."""

from pathlib import Path

import numpy as np
import pytest
import torch

from neural3d.errors import InputError
from neural3d.render.images import png_fingerprint, write_png
from neural3d.render.sequences import fingerprint, is_pattern, model_digest, parse_frames, sequence_name
from neural3d.render.tiff import tiff_fingerprint, write_tiff

from .scenes import cameras_around, some_gaussians


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("1001-1006x2", [1001, 1003, 1005]),
        ("1001-1003", [1001, 1002, 1003]),
        ("7", [7]),
        ("-2-1", [-2, -1, 0, 1]),
        (" 5-5 ", [5]),
    ],
)
def test_ranges(text: str, numbers: list[int]):
    assert list(parse_frames(text).numbers) == numbers and len(parse_frames(text)) == len(numbers)


@pytest.mark.parametrize("text", ["", "a", "1-", "5-1", "1-9x0", "1-9x", "1.5", "0-999999999", "1..9"])
def test_other_ranges_are_refused(text: str):
    with pytest.raises(InputError, match="--frames"):
        parse_frames(text)


@pytest.mark.parametrize(
    ("output", "name"),
    [
        ("shots/tea.%04d.exr", "shots/tea.0042.exr"),
        ("tea_####.exr", "tea_0042.exr"),
        ("tea%d.exr", "tea42.exr"),
        ("tea.%08d.exr", "tea.00000042.exr"),
        ("shots", "shots/00042.exr"),
    ],
)
def test_names(output: str, name: str):
    assert sequence_name(Path(output), ".exr").path(42) == Path(name)
    assert is_pattern(Path(output)) == (output != "shots")


def test_negative_frames_and_labels():
    names = sequence_name(Path("a.####.png"), ".png")
    assert names.path(-7).name == "a.-007.png" and names.path(3, "IMG").name == "a.0003-IMG.png"
    with pytest.raises(InputError, match="two places"):
        sequence_name(Path("a.%04d.%04d.exr"), ".exr")


def test_a_fingerprint_changes_with_whatever_the_picture_depends_on():
    model, cameras = model_digest(some_gaussians().tensors()), cameras_around(2)
    changed = model_digest(some_gaussians().map(lambda t: t + 1e-6).tensors())
    marks = [
        fingerprint(model, [cameras[0]], "a"),
        fingerprint(changed, [cameras[0]], "a"),
        fingerprint(model, [cameras[1]], "a"),
        fingerprint(model, [cameras[0], cameras[1]], "a"),
        fingerprint(model, [cameras[0]], "b"),
    ]
    assert len(set(marks)) == 5 and marks[0] == fingerprint(model, [cameras_around(2)[0]], "a")


@pytest.mark.parametrize("bits", [8, 16])
def test_png_is_known_again(tmp_path: Path, bits: int):
    path = tmp_path / "a.png"
    write_png(path, torch.rand(4, 5, 3), bits=bits, fingerprint="0123abc")
    assert png_fingerprint(path) == "0123abc"
    write_png(path, torch.rand(4, 5, 3), bits=bits)
    assert png_fingerprint(path) is None
    path.write_text("x")
    assert png_fingerprint(path) is None
    write_png(path, torch.rand(4, 5, 3), bits=bits, fingerprint="0123abc")
    whole = path.read_bytes()
    for length in range(whole.index(b"0123abc") + 6):
        path.write_bytes(whole[:length])
        assert png_fingerprint(path) != "0123abc", length


def test_a_picture_too_large_for_others_is_known_again(tmp_path: Path):
    """Its pixels are never decoded; Pillow refuses so many of them."""
    write_png(tmp_path / "a.png", torch.rand(1, 1, 3), fingerprint="0123abc")
    content = bytearray((tmp_path / "a.png").read_bytes())
    content[16:24] = (16384).to_bytes(4, "big") + (16384).to_bytes(4, "big")
    (tmp_path / "a.png").write_bytes(content)
    assert png_fingerprint(tmp_path / "a.png") == "0123abc"


@pytest.mark.parametrize("channels", [3, 4])
def test_tiff_of_16_bits_is_exact(tmp_path: Path, channels: int):
    """Decoded by OpenImageIO, not by the library that writes."""
    pytest.importorskip("tifffile", reason="needs tifffile: pip install OpenEXR mmh3 tifffile")
    oiio = pytest.importorskip("OpenImageIO", reason="needs OpenImageIO: pip install OpenImageIO")
    image = torch.rand(6, 7, channels, dtype=torch.float64)
    write_tiff(tmp_path / "a.tif", image, fingerprint="beef")
    file = oiio.ImageInput.open(str(tmp_path / "a.tif"))
    spec = file.spec()
    assert str(spec.format) == "uint16" and spec.nchannels == channels
    assert channels == 3 or (spec.alpha_channel == 3 and spec.getattribute("tiff:UnassociatedAlpha") == 1)
    # OpenImageIO multiplies by alpha on reading; the file's own numbers are asked for.
    config = oiio.ImageSpec()
    config["oiio:UnassociatedAlpha"] = 1
    found = oiio.ImageInput.open(str(tmp_path / "a.tif"), config).read_image(oiio.UINT16)
    assert np.abs(found / 65535 - image.numpy()).max() <= 0.5 / 65535 + 1e-12
    assert tiff_fingerprint(tmp_path / "a.tif") == "beef"
    whole = (tmp_path / "a.tif").read_bytes()
    for length in (0, 2, 5, 20):
        (tmp_path / "a.tif").write_bytes(whole[:length])
        assert tiff_fingerprint(tmp_path / "a.tif") is None, length


def test_other_tiffs_are_refused(tmp_path: Path):
    with pytest.raises(ValueError, match="expected 3 or 4"):
        write_tiff(tmp_path / "a.tif", torch.rand(2, 2, 1))
    assert list(tmp_path.iterdir()) == []
