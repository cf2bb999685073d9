"""Where patches come from: never from what is unknown, evenly from the rest; folders as people have them."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from neural3d.errors import InputError
from neural3d.priors import folders
from neural3d.priors.fitting import seeded
from neural3d.priors.folders import read_folder
from neural3d.priors.inpainting import fill_box, fill_windows, starts, unknown_cells
from neural3d.priors.patches import PatchSource, Picture, to_bytes, to_signed
from neural3d.priors.sheets import contact_sheet

from .textures import flat, waves


def test_unknown_pixels_are_never_drawn():
    pixels, known = flat(20, 200), np.zeros((20, 20), bool)
    known[5:15, 3:17] = True
    pixels[~known] = 0
    pixels[known] = 255
    batch = PatchSource([Picture(pixels, known)], 8).draw(200, seeded(0))
    assert (batch.images == 1).all() and batch.labels is None


def test_every_place_is_drawn_equally_often():
    """Two images of 1 and 3 places: a quarter from the first."""
    pictures = [Picture(np.full((4, 4, 3), 0, np.uint8), None, 0), Picture(np.full((4, 6, 3), 255, np.uint8), None, 1)]
    batch = PatchSource(pictures, 4, ("a", "b")).draw(2000, seeded(1))
    assert abs(float((batch.labels == 0).float().mean()) - 0.25) < 0.04
    assert torch.equal(batch.images[:, 0, 0, 0], 2.0 * batch.labels - 1)


def test_images_that_are_too_small():
    with pytest.raises(InputError, match="no image has 32 x 32 known pixels"):
        PatchSource([Picture(flat(20, 9))], 32)


def test_bytes_survive():
    pixels = torch.arange(256, dtype=torch.uint8).view(1, 16, 16, 1).repeat(1, 1, 1, 3)
    assert torch.equal(to_bytes(to_signed(pixels)), pixels)


def _write(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def test_subfolders_are_labels_and_bad_files_are_told(tmp_path: Path):
    _write(tmp_path / "bark" / "deep" / "a.png", waves(64, 8, 0))
    _write(tmp_path / "moss" / "b.PNG", waves(64, 8, 1))
    _write(tmp_path / "moss" / ".hidden" / "c.png", waves(64, 8, 1))
    (tmp_path / "moss" / "broken.jpg").write_bytes(b"no photo")
    folder = read_folder(tmp_path, 8)
    assert folder.labels == ("bark", "moss") and [picture.label for picture in folder.pictures] == [0, 1]
    assert folder.downscale == 2 and folder.pictures[0].pixels.shape == (32, 32, 3)
    assert len(folder.skipped) == 1 and "broken.jpg" in folder.skipped[0] and folder.num_left_out == 0
    assert read_folder(tmp_path, 8, 1.0).pictures[0].pixels.shape == (64, 64, 3)
    _write(tmp_path / "loose.png", waves(64, 8, 2))
    assert read_folder(tmp_path, 8).labels == ()


def test_what_memory_cannot_hold_is_left_out_evenly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Of three classes, two of them of larger images, some of each; not the first ones by name."""
    for label, side in (("bark", 64), ("moss", 64), ("rust", 32)):
        for i in range(6):
            _write(tmp_path / label / f"{i}.png", waves(side, 8, 0))
    monkeypatch.setattr(folders, "MAX_TOTAL_PIXELS", 9 * 32 * 32)
    folder = read_folder(tmp_path, 8, 2.0)
    assert folder.labels == ("bark", "moss", "rust") and {p.label for p in folder.pictures} == {0, 1, 2}
    assert sum(picture.pixels.size // 3 for picture in folder.pictures) <= 9 * 32 * 32
    assert len(folder.pictures) > 10 and folder.num_left_out == 18 - len(folder.pictures)
    monkeypatch.setattr(folders, "MAX_TOTAL_PIXELS", 1)
    one = read_folder(tmp_path, 8, 2.0)
    assert len(one.pictures) == 1 and one.labels == ("bark",), "a label without a picture can be learnt from nothing"


def test_transparent_pixels_are_unknown(tmp_path: Path):
    pixels = np.dstack([flat(32, 100), np.full((32, 32), 255, np.uint8)])
    pixels[:8, :, 3] = 254
    _write(tmp_path / "a.png", pixels)
    (picture,) = read_folder(tmp_path, 8, 2.0).pictures
    assert picture.known[:4].sum() == 0 and picture.known[4:].all()


def test_folders_without_images(tmp_path: Path):
    with pytest.raises(InputError, match="no such folder"):
        read_folder(tmp_path / "nowhere", 8)
    with pytest.raises(InputError, match="holds no images"):
        read_folder(tmp_path, 8)
    (tmp_path / "broken.jpg").write_bytes(b"no photo")
    with pytest.raises(InputError, match="no image can be read .*broken.jpg cannot be decoded"):
        read_folder(tmp_path, 8)


def test_windows_cover_a_side():
    assert starts(8, 8) == [0] and starts(9, 8) == [0, 1] and starts(20, 8) == [0, 4, 8, 12]


def test_windows_see_what_was_filled_before():
    """A hole three windows wide: each window copies its known mean, so one value walks through all of it."""
    images = torch.full((1, 3, 8, 40), 0.5)
    unknown = torch.zeros(1, 1, 8, 40, dtype=torch.bool)
    unknown[..., 8:] = True
    images = images.masked_fill(unknown, -1.0)

    def fill(window, hole):
        known = (~hole).float()
        assert known.sum() > 0, "a window was filled with nothing known in it"
        return ((window * known).sum((2, 3), keepdim=True) / known.sum()).expand_as(window)

    assert torch.allclose(fill_windows(images, unknown, 8, fill), torch.full_like(images, 0.5))


def test_a_box_holds_all_holes_and_a_margin():
    images, unknown = torch.zeros(2, 3, 30, 40), torch.zeros(2, 1, 30, 40, dtype=torch.bool)
    unknown[0, :, 10:12, 3:5] = True
    unknown[1, :, 15, 20] = True
    seen = []

    def fill(box, hole):
        seen.append((box.shape, int(hole.sum())))
        return torch.ones_like(box)

    filled = fill_box(images, unknown, 6, fill)
    assert seen == [((2, 3, 18, 27), 5)] and images.sum() == 0
    assert filled.sum() == 2 * 3 * 18 * 27 and (filled[..., 4:22, 0:27] == 1).all()


def test_cells_next_to_a_hole_count_as_unknown():
    unknown = torch.zeros(1, 1, 16, 16, dtype=torch.bool)
    unknown[..., 5, 5] = True
    assert unknown_cells(unknown, 1).sum() == 1
    assert unknown_cells(unknown, 4)[0].nonzero().tolist() == [[r, c] for r in range(3) for c in range(3)]


def test_a_sheet_holds_every_image():
    images = torch.stack([torch.full((3, 4, 4), value) for value in (-1.0, 0.0, 1.0)])
    sheet = contact_sheet(images, 2)
    assert sheet.shape == (22, 22, 3)
    assert sheet[3, 3, 0] == 0 and sheet[3, 13, 0] == 0.5 and sheet[13, 3, 0] == 1
