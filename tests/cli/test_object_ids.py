"""render --layers object: masks beside photos become a Cryptomatte."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from neural3d.cli import main
from neural3d.cli.object_ids import named_objects
from neural3d.cli.options import Render
from neural3d.cli.runs import Trained
from neural3d.errors import InputError
from neural3d.render.cryptomatte import float_of, object_id
from neural3d.render.images import write_png

from .captures import NUM_VIEWS, SIZE, refused

OpenEXR = pytest.importorskip("OpenEXR", reason="needs OpenEXR: pip install OpenEXR mmh3 tifffile")
pytest.importorskip("mmh3", reason="needs mmh3: pip install OpenEXR mmh3 tifffile")
OBJECT = ("--layers", "rgba", "object", "--cameras", "photos")


def render(run: Path, output: Path, *options: str) -> int:
    return main(["render", str(run), "--output", str(output), "--format", "exr", *OBJECT, *options])


def write_masks(folder: Path, columns: slice) -> None:
    """White in these columns of every photo."""
    mask = torch.zeros(SIZE[1], SIZE[0], 1)
    mask[:, columns] = 1
    for index in range(NUM_VIEWS):
        write_png(folder / f"{index:03d}.png", mask)


def shares(path: Path, name: str) -> np.ndarray:
    """How much of each pixel an object covers."""
    with OpenEXR.File(str(path), separate_channels=True) as file:
        channels = {key: value.pixels for part in file.parts for key, value in part.channels.items()}
    found = np.zeros(next(iter(channels.values())).shape)
    for key in (key for key in channels if key.startswith("CryptoObject") and key[-1] in "RB"):
        value = key[:-1] + ("G" if key[-1] == "R" else "A")
        found += np.where(channels[key] == np.float32(float_of(object_id(name))), channels[value], 0)
    return found


def test_folders_of_masks_become_objects(trained: Path, tmp_path: Path, capsys):
    """One that is everything, one that is nothing; other masks are rendered anew, the same ones are not."""
    write_masks(tmp_path / "objects" / "all", slice(0, SIZE[0]))
    write_masks(tmp_path / "objects" / "nothing", slice(0, 0))
    capsys.readouterr()
    assert render(trained, tmp_path / "out", "--objects", str(tmp_path / "objects")) == 0
    assert "nothing 0; of none 0" in capsys.readouterr().err
    with OpenEXR.File(str(tmp_path / "out" / "00000-000.exr"), separate_channels=True) as file:
        alpha = next(part.channels["A"].pixels for part in file.parts if "A" in part.channels)
    assert np.abs(shares(tmp_path / "out" / "00000-000.exr", "all") - alpha).max() < 1e-3 and alpha.max() > 0.5
    assert shares(tmp_path / "out" / "00000-000.exr", "nothing").max() == 0
    assert render(trained, tmp_path / "out", "--objects", str(tmp_path / "objects")) == 0
    assert "10 of 10 frames are finished already" in capsys.readouterr().err
    write_masks(tmp_path / "objects" / "all", slice(0, 0))
    assert render(trained, tmp_path / "out", "--objects", str(tmp_path / "objects")) == 0
    assert "finished" not in capsys.readouterr().err, "other masks are other pictures"
    assert shares(tmp_path / "out" / "00000-000.exr", "all").max() == 0


def test_the_captures_own_masks_are_one_object(capture: Path, tmp_path: Path):
    folder = tmp_path / "capture"
    shutil.copytree(capture, folder)
    write_masks(folder / "masks", slice(0, SIZE[0] // 2))
    run = tmp_path / "run"
    assert main(["train", "splat", "--capture", str(folder), "--output", str(run), "--steps", "2"]) == 0
    assert render(run, tmp_path / "out") == 0
    assert shares(tmp_path / "out" / "00000-000.exr", "object").max() > 0.1


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ((), "its photos have no masks; make them with neural3d masks, or name their folder with --objects"),
        (("--objects", "MISSING"), "expected a folder of masks, or of folders of masks"),
        (("--objects", "EMPTY"), "0 folders of masks, expected 1 to 64"),
        (("--objects", "OTHERS"), "its photos have no masks"),
        (("--objects", "SHAPE"), "its mask is 5 x 40 pixels, its photo 48 x 32; give masks of their photos' shape"),
        (("--objects", "BROKEN"), "000.png cannot be decoded"),
        (("--objects", "EMPTY", "--layers", "rgba"), "these go into the layer object; add it to --layers"),
    ],
)
def test_what_cannot_be_named_is_said(trained: Path, tmp_path: Path, capsys, options, expected: str):
    (tmp_path / "EMPTY").mkdir()
    write_png(tmp_path / "OTHERS" / "elsewhere.png", torch.ones(32, 48, 1))
    write_png(tmp_path / "SHAPE" / "000.png", torch.ones(40, 5, 1))
    (tmp_path / "BROKEN").mkdir()
    (tmp_path / "BROKEN" / "000.png").write_bytes(b"no picture")
    named = [str(tmp_path / option) if option.isupper() else option for option in options]
    arguments = ["render", str(trained), "--output", str(tmp_path / "o"), "--format", "exr", *OBJECT, *named]
    assert expected in refused(capsys, *arguments)
    assert not (tmp_path / "o").exists()


def test_a_field_has_no_objects(tmp_path: Path):
    field = object.__new__(Trained)
    object.__setattr__(field, "model", None)
    with pytest.raises(InputError, match="is a radiance field, which has no parts that could be named"):
        named_objects(Render(tmp_path, tmp_path / "o", layers=("object",)), field)
