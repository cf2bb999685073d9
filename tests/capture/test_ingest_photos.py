"""How an ingest takes photos: upright, in sRGB, with masks of their size, under names of their own."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from neural3d.capture.ingest.pipeline import camera_groups
from neural3d.capture.ingest.prepare import prepare_photos
from neural3d.capture.ingest.settings import Settings
from neural3d.capture.ingest.sources import find_source, one_of_each
from neural3d.capture.ingest.state import State
from neural3d.capture.listing import BadFrame


def _prepared(tmp_path, folder: Path, state: State = State(Settings(), False)) -> State:
    for state in prepare_photos(tmp_path / "capture", find_source(folder), state, lambda *_: None):
        pass
    return state


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", [".jpg", ".png", ".tif", ".webp"])
def test_photos_are_turned_upright(tmp_path, orientation, suffix):
    """As Pillow's own exif_transpose turns them; the result says nothing of turning any more."""
    from PIL import ImageOps

    rng = np.random.default_rng(1)
    smooth = Image.fromarray(rng.integers(40, 220, (6, 9, 3), dtype=np.uint8)).resize(
        (144, 96), Image.Resampling.BICUBIC
    )
    exif = Image.Exif()
    exif[274] = orientation
    path = tmp_path / "photos" / f"a b{suffix}"
    path.parent.mkdir()
    smooth.save(path, exif=exif, **({"quality": 100, "subsampling": 0} if suffix in (".jpg", ".webp") else {}))
    photo = _prepared(tmp_path, path.parent).usable[0]
    result = Image.open(tmp_path / "capture/images" / photo.name)
    with Image.open(path) as original:
        expected = np.asarray(ImageOps.exif_transpose(original).convert("RGB")).astype(int)
    assert result.getexif().get(274, 1) == 1
    assert (photo.width, photo.height) == result.size
    assert photo.name == ("a_b.jpg" if suffix == ".jpg" else "a_b.png")
    assert np.abs(np.asarray(result.convert("RGB")).astype(int) - expected).max() <= (9 if suffix == ".jpg" else 0)


def test_equal_names_bad_photos_and_masks(tmp_path):
    folder = tmp_path / "photos"
    image = Image.fromarray(np.random.default_rng(2).integers(0, 255, (90, 120, 3), dtype=np.uint8))
    for name in ("a/1.jpg", "b/1.jpg", "b/1.tif", "b/1.png", "tiny.png", "._1.jpg"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        image.save(folder / name)
    image.resize((20, 15)).save(folder / "tiny.png")
    (folder / "cut.jpg").write_bytes((folder / "a/1.jpg").read_bytes()[:900])
    (folder / "masks/a").mkdir(parents=True)
    Image.new("L", (120, 90), 255).save(folder / "masks/a/1.png")
    state = _prepared(tmp_path, folder)
    assert [photo.name for photo in state.usable] == ["a/1.jpg", "b/1-tif-1.png", "b/1.jpg", "b/1.png"]
    assert {photo.name for photo in state.usable if photo.has_mask} == {"a/1.jpg"}
    assert (tmp_path / "capture/masks/a/1.jpg.png").is_file()
    faults = {photo.name: photo.fault for photo in state.photos if photo.fault}
    assert "cannot be decoded" in faults["cut.jpg"] and "too small" in faults["tiny.png"]
    assert (tmp_path / "capture/images/a/1.jpg").read_bytes() == (folder / "a/1.jpg").read_bytes()


@pytest.mark.parametrize("stored", [True, False])
def test_masks_follow_their_photo(tmp_path, stored):
    """A mask drawn on the stored pixels of a photo that EXIF turns is turned, too; one drawn upright is not."""
    folder = tmp_path / "photos"
    folder.mkdir()
    pixels = np.random.default_rng(3).integers(0, 255, (90, 120, 3), dtype=np.uint8)
    exif = Image.Exif()
    exif[274] = 6  # the first row of the file is the right side of the scene
    Image.fromarray(pixels).save(folder / "p.png", exif=exif)
    mask = np.zeros((90, 120), dtype=np.uint8)
    mask[:10] = 255
    turned = np.rot90(mask, -1)
    (folder / "masks").mkdir()
    Image.fromarray(mask if stored else turned.copy()).save(folder / "masks/p.png")
    _prepared(tmp_path, folder)
    result = np.asarray(Image.open(tmp_path / "capture/masks/p.png.png"))
    np.testing.assert_array_equal(result, turned)
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "capture/images/p.png")), np.rot90(pixels, -1))


def test_masks_are_as_large_as_their_photos(tmp_path):
    """COLMAP looks them up by the photo's pixels: a smaller one would hide most of the photo."""
    folder = tmp_path / "photos"
    (folder / "masks").mkdir(parents=True)
    Image.fromarray(np.random.default_rng(3).integers(0, 255, (90, 120, 3), dtype=np.uint8)).save(folder / "p.png")
    small = np.zeros((45, 60), dtype=np.uint8)
    small[:, 30:] = 255
    Image.fromarray(small).save(folder / "masks/p.png")
    _prepared(tmp_path, folder)
    result = np.asarray(Image.open(tmp_path / "capture/masks/p.png.png"))
    assert result.shape == (90, 120) and not result[:, :60].any() and (result[:, 60:] == 255).all()


def test_a_mask_that_is_taken_away_does_not_stay(tmp_path):
    folder = tmp_path / "photos"
    (folder / "masks").mkdir(parents=True)
    Image.fromarray(np.random.default_rng(3).integers(0, 255, (90, 120, 3), dtype=np.uint8)).save(folder / "p.png")
    Image.new("L", (120, 90)).save(folder / "masks/p.png")
    state, own = _prepared(tmp_path, folder), tmp_path / "capture/masks/p.png.png"
    assert own.is_file()
    (folder / "masks/p.png").unlink()
    for state in prepare_photos(tmp_path / "capture", find_source(folder), state, lambda *_: None):
        pass
    assert not own.exists() and not state.usable[0].has_mask


def test_a_photo_with_alpha_takes_no_name_that_another_has(tmp_path):
    """It becomes a PNG, as JPEG has no transparency; there is one of that name from an earlier folder."""
    first, second = tmp_path / "first", tmp_path / "second"
    first.mkdir()
    second.mkdir()
    Image.new("RGB", (90, 90), (200, 0, 0)).save(first / "a.png")
    Image.new("RGBA", (90, 90), (0, 0, 200, 128)).save(second / "a.jpg", format="PNG")
    Image.new("RGBA", (90, 90), (0, 200, 0, 128)).save(second / "b.jpg", format="PNG")
    state = _prepared(tmp_path, first)
    for state in prepare_photos(tmp_path / "capture", find_source(second), state, lambda *_: None):
        pass
    names = [photo.name for photo in state.usable]
    assert len(set(names)) == 3 and {"a.png", "b.png"} < set(names)
    with Image.open(tmp_path / "capture/images/a.png") as image:
        assert image.convert("RGB").getpixel((5, 5)) == (200, 0, 0)


def test_colours_of_another_profile_become_srgb(tmp_path):
    """A photo in a space whose red and green are swapped: only the profile tells."""
    from PIL import ImageCms

    folder = tmp_path / "photos"
    folder.mkdir()
    lab = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    swapped = bytearray(lab)
    red, green = swapped.find(b"rXYZ"), swapped.find(b"gXYZ")
    swapped[red : red + 4], swapped[green : green + 4] = b"gXYZ", b"rXYZ"
    swapped = bytes(swapped).replace(b"sRGB", b"mine").replace(b"s\0R\0G\0B", b"m\0i\0n\0e")
    Image.new("RGB", (80, 80), (200, 10, 10)).save(folder / "p.png", icc_profile=swapped)
    _prepared(tmp_path, folder)
    red, green, blue = Image.open(tmp_path / "capture/images/p.png").getpixel((40, 40))
    assert green > 190 and red < 40 and blue < 40


def test_a_profile_that_is_damaged_is_told(tmp_path):
    """Found by fuzzing: its colour space is no text."""
    from PIL import ImageCms

    from neural3d.capture.listing import BadFrame
    from neural3d.capture.photo_files import read_photo

    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    profile[16:20] = b"\xe2GB "
    Image.new("RGB", (8, 8)).save(tmp_path / "p.png", icc_profile=bytes(profile))
    with pytest.raises(BadFrame, match="its colour profile cannot be read .*; save it as sRGB"):
        read_photo(tmp_path / "p.png")


def test_focal_length_and_lens_from_exif(tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    for index, focal in enumerate((26, 26, 52)):
        exif = Image.Exif()
        exif[271], exif[272], exif[274] = "Maker", "Phone", 1
        exif.get_ifd(0x8769)[41989] = focal
        Image.new("RGB", (400, 300), (index, 2, 3)).save(folder / f"{index}.jpg", exif=exif)
    state = _prepared(tmp_path, folder)
    # 26 mm on a 43.27 mm diagonal, 500 pixels of diagonal
    assert [round(photo.focal_px, 1) for photo in state.usable] == [300.5, 300.5, 600.9]
    groups = camera_groups(state)
    assert [group["names"] for group in groups] == [["0.jpg", "1.jpg"], ["2.jpg"]]
    assert len(camera_groups(State(Settings(camera_per_photo=True), False, state.photos))) == 3


def test_positions_from_exif(tmp_path):
    exif = Image.Exif()
    exif[34853] = {1: "S", 2: (52.0, 30.0, 36.0), 3: "W", 4: (13.0, 15.0, 0.0), 5: b"\0", 6: 41.5}
    folder = tmp_path / "photos"
    folder.mkdir()
    Image.new("RGB", (100, 80)).save(folder / "p.jpg", exif=exif)
    assert _prepared(tmp_path, folder).usable[0].gps == pytest.approx((-52.51, -13.25, 41.5))


def _noise(path: Path, seed: int = 0, **how: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(seed).integers(0, 255, (90, 120, 3), dtype=np.uint8)).save(path, **how)


def test_zooms_of_one_lens_are_cameras_of_their_own(tmp_path):
    """Phones write the lens's focal length for every digital zoom; the one for 35 mm film tells them apart."""
    for index, film in enumerate((24, 24, 48)):
        exif = Image.Exif()
        exif[271], exif[272] = "Maker", "Phone"
        exif.get_ifd(0x8769)[37386], exif.get_ifd(0x8769)[41989] = 6.765, film
        _noise(tmp_path / f"photos/{index}.jpg", index, exif=exif)
    groups = camera_groups(_prepared(tmp_path, tmp_path / "photos"))
    assert [group["names"] for group in groups] == [["0.jpg", "1.jpg"], ["2.jpg"]]


def test_what_could_not_be_read_is_tried_again(tmp_path, monkeypatch):
    """A library has been installed since, or a permission given: the file itself is the same."""
    _noise(tmp_path / "photos/a.png")

    def refuse(path: Path):
        raise BadFrame("needs a library")

    with monkeypatch.context() as patch:
        patch.setattr("neural3d.capture.ingest.prepare.read_photo", refuse)
        state = _prepared(tmp_path, tmp_path / "photos")
    assert [photo.fault for photo in state.photos] == ["needs a library"]
    state = _prepared(tmp_path, tmp_path / "photos", state)
    assert [photo.fault for photo in state.photos] == [None]


def test_names_begin_no_remark(tmp_path):
    _noise(tmp_path / "photos/#1 kitchen/a.png")
    assert [photo.name for photo in _prepared(tmp_path, tmp_path / "photos").usable] == ["_1_kitchen/a.png"]


def test_what_is_hidden_is_no_photo(tmp_path):
    for name in ("a.png", ".thumbnails/a.png", "b/.Trash-1000/files/b.png", "@eaDir/a.png", "__MACOSX/a.png"):
        _noise(tmp_path / "photos" / name)
    assert [file.relative for file in find_source(tmp_path / "photos").files] == ["a.png"]


def test_of_raw_and_jpeg_one_is_taken(tmp_path):
    for name in ("1.JPG", "2.jpg", "sub/1.jpg"):
        _noise(tmp_path / "photos" / name, format="JPEG")
    for name in ("1.nef", "3.dng"):
        (tmp_path / "photos" / name).write_bytes(b"raw")
    source = find_source(tmp_path / "photos")
    assert [file.relative for file in one_of_each(source.files)] == ["1.JPG", "2.jpg", "3.dng", "sub/1.jpg"]
    chosen = one_of_each(source.files, prefers_raw=True)
    assert [file.relative for file in chosen] == ["1.nef", "2.jpg", "3.dng", "sub/1.jpg"]
    assert any("RAW, too" in note for note in source.notes)
    assert [photo.name for photo in _prepared(tmp_path, tmp_path / "photos").usable] == ["1.JPG", "2.jpg", "sub/1.jpg"]


def test_photos_that_are_deleted_are_forgotten_and_those_of_other_folders_not(tmp_path):
    for index in range(3):
        _noise(tmp_path / f"photos/{index}.png", index)
    _noise(tmp_path / "more/9.png", 9)
    state = _prepared(tmp_path, tmp_path / "more", _prepared(tmp_path, tmp_path / "photos"))
    (tmp_path / "photos/1.png").unlink()
    state = _prepared(tmp_path, tmp_path / "photos", state)
    assert [photo.name for photo in state.usable] == ["0.png", "2.png", "9.png"]


def test_a_folder_that_moves_is_the_same_photos(tmp_path):
    for index in range(3):
        _noise(tmp_path / f"photos/{index}.png", index)
    before = _prepared(tmp_path, tmp_path / "photos")
    (tmp_path / "photos").rename(tmp_path / "elsewhere")
    after = _prepared(tmp_path, tmp_path / "elsewhere", before)
    assert [(p.name, p.stamp) for p in after.photos] == [(p.name, p.stamp) for p in before.photos]
    assert all(Path(photo.source).is_file() for photo in after.photos)
