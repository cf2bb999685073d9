"""prior train, sample, inpaint: what is written, what is kept, what is refused in a line."""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from neural3d.cli import main
from neural3d.priors.files import load_prior, save_prior
from neural3d.priors.patches import PatchSource, Picture
from neural3d.priors.prior import PriorConfig
from neural3d.priors.records import Budget
from neural3d.priors.registry import ROWS, make_prior

from .captures import refused


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> Iterator[None]:
    """For networks so small two threads spend more time waiting for each other than computing."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def _write(path: Path, pixels: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return path


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("images") / "ünï photos"
    random = np.random.default_rng(0)
    for label, level in (("dark", 60), ("bright", 190)):
        _write(root / label / "deep" / "a.png", (level + random.integers(-40, 40, (40, 48, 3))).astype(np.uint8))
    (root / "dark" / "broken.jpg").write_bytes(b"no photo")
    return root


@pytest.fixture(scope="module")
def prior(images: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("priors") / "x0.prior"
    command = ["prior", "train", "--prior", "x0", "--images", str(images), "--output", str(path)]
    assert main([*command, "--steps", "12", "--size", "8", "--downscale", "2"]) == 0
    return path


@pytest.fixture(scope="module")
def photo(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A photo, and a mask of a hole that is not aligned to anything."""
    root = tmp_path_factory.mktemp("photo")
    pixels = np.random.default_rng(1).integers(0, 256, (21, 27, 3)).astype(np.uint8)
    mask = np.zeros((21, 27), np.uint8)
    mask[5:12, 9:20] = 255
    return _write(root / "photo.png", pixels), _write(root / "mask.png", mask)


def test_training_says_what_it_learnt_from(images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    output = tmp_path / "new" / "vae.prior"
    command = ["prior", "train", "--prior", "vae", "--images", str(images), "--output", str(output)]
    assert main([*command, "--steps", "2", "--size", "8", "--json"]) == 0
    told = capsys.readouterr()
    answer = json.loads(told.out)
    assert answer["name"] == "vae" and answer["num_images"] == 2 and answer["downscale"] == 40 / 32
    assert answer["stages"][0]["steps"] == 2 and answer["labels"] == []
    assert "skipped: broken.jpg" in told.err and "step 2" in told.err
    assert load_prior(output).config.size == 8


def test_the_same_seed_gives_the_same_file(images: Path, prior: Path, tmp_path: Path):
    again = tmp_path / "again.prior"
    command = ["prior", "train", "--prior", "x0", "--images", str(images), "--output", str(again)]
    assert main([*command, "--steps", "12", "--size", "8", "--downscale", "2"]) == 0
    assert again.read_bytes() == prior.read_bytes()


def test_a_sheet_of_samples(prior: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    sheets = [tmp_path / f"{i}.png" for i in range(3)]
    for sheet, seed in zip(sheets, (1, 1, 2), strict=True):
        command = ["prior", "sample", str(prior), "--output", str(sheet), "--label", "dark", "--count", "5"]
        assert main([*command, "--seed", str(seed), "--enlarge", "2"]) == 0
    with Image.open(sheets[0]) as image:
        assert image.size == (2 + 3 * 18, 2 + 2 * 18)
    assert sheets[0].read_bytes() == sheets[1].read_bytes() != sheets[2].read_bytes()


def test_known_pixels_never_change(prior: Path, photo: tuple[Path, Path], tmp_path: Path):
    image, mask = photo
    output = tmp_path / "filled.png"
    command = ["prior", "inpaint", str(prior), "--image", str(image), "--mask", str(mask)]
    assert main([*command, "--output", str(output)]) == 0
    before, hole, after = (np.array(Image.open(path)) for path in (image, mask, output))
    assert np.array_equal(after[hole == 0], before[hole == 0])
    assert not np.array_equal(after[hole > 0], before[hole > 0])


def test_what_lies_under_a_hole_is_not_read(prior: Path, photo: tuple[Path, Path], tmp_path: Path):
    image, mask = photo
    pixels, hole = np.array(Image.open(image)), np.array(Image.open(mask)) > 0
    other = _write(tmp_path / "other.png", np.where(hole[..., None], 255, pixels).astype(np.uint8))
    for path, name in ((image, "a.png"), (other, "b.png")):
        command = ["prior", "inpaint", str(prior), "--image", str(path), "--mask", str(mask)]
        assert main([*command, "--output", str(tmp_path / name)]) == 0
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_refined_it_is_made_of_the_images_own_colours(prior: Path, tmp_path: Path):
    """An image of two colours: an untrained prior's fill has many, the refined one these two, but for blending."""
    pixels = np.where((np.indices((36, 36)).sum(0) // 4 % 2)[..., None], (200, 40, 40), (40, 40, 200)).astype(np.uint8)
    mask = np.zeros((36, 36), np.uint8)
    mask[12:22, 14:26] = 255
    image, mask_path = _write(tmp_path / "image.png", pixels), _write(tmp_path / "mask.png", mask)
    far = {}
    for name, more in (("plain", []), ("refined", ["--refine"])):
        command = ["prior", "inpaint", str(prior), "--image", str(image), "--mask", str(mask_path), *more]
        assert main([*command, "--output", str(tmp_path / f"{name}.png")]) == 0
        filled = np.array(Image.open(tmp_path / f"{name}.png")).astype(int)
        assert np.array_equal(filled[mask == 0], pixels[mask == 0])
        distances = [np.abs(filled[mask > 0] - color).sum(1) for color in ((200, 40, 40), (40, 40, 200))]
        far[name] = np.minimum(*distances).mean()
    assert far["refined"] < 30 < far["plain"]


@pytest.mark.parametrize(
    "changed, said",
    [
        ({"--prior": "vea"}, "no prior is called 'vea'; there are ae-linear"),
        ({"--images": "NOWHERE"}, "no such folder"),
        ({"--images": "EMPTY"}, "holds no images"),
        ({"--output": "THERE"}, "is there already"),
        ({"--seconds": "0"}, "--seconds 0: expected more than 0"),
        ({"--steps": "0"}, "--steps 0: expected 1 to"),
        ({"--seed": "-1"}, "--seed -1: expected 0 to"),
        ({"--size": "33"}, "size 33: a prior's patches are 8, 16"),
        ({"--size": "128"}, "no image has 128 x 128 known pixels"),
        ({"--downscale": "0.5"}, "--downscale 0.5: expected 1 to 1000"),
    ],
)
def test_training_that_cannot_be(images: Path, tmp_path: Path, capsys, changed: dict[str, str], said: str):
    (tmp_path / "empty").mkdir()
    there = tmp_path / "there.prior"
    there.write_bytes(b"kept")
    names = {"NOWHERE": str(tmp_path / "nowhere"), "EMPTY": str(tmp_path / "empty"), "THERE": str(there)}
    options = {"--prior": "ae", "--images": str(images), "--output": str(tmp_path / "a.prior"), "--steps": "1"}
    options |= {name: names.get(value, value) for name, value in changed.items()}
    assert said in refused(capsys, "prior", "train", *(word for pair in options.items() for word in pair))
    assert there.read_bytes() == b"kept" and not (tmp_path / "a.prior").exists()


def test_labels_from_a_file_are_words_to_ask_for(images: Path, photo: tuple[Path, Path], tmp_path: Path):
    labels = tmp_path / "labels.csv"
    labels.write_text("dark,coal heap\nbright/deep/a.png,snow\n", encoding="utf-8")
    prior = tmp_path / "unclip.prior"
    command = ["prior", "train", "--prior", "unclip", "--images", str(images), "--output", str(prior)]
    assert main([*command, "--steps", "3", "--size", "8", "--labels", str(labels)]) == 0
    assert load_prior(prior).config.labels == ("coal heap", "snow")
    asked = {"text": ["--text", "dark coal"], "image": ["--image", str(photo[0])]}
    asked["both"] = asked["text"] + asked["image"]
    for name, words in asked.items():
        sheet = tmp_path / f"{name}.png"
        assert main(["prior", "sample", str(prior), "--output", str(sheet), "--count", "2", *words]) == 0
    assert len({(tmp_path / f"{name}.png").read_bytes() for name in asked}) == 3
    paths = ["--image", str(photo[0]), "--mask", str(photo[1]), "--output", str(tmp_path / "filled.png")]
    assert main(["prior", "inpaint", str(prior), "--text", "snow", *paths]) == 0


@pytest.mark.parametrize(
    "lines, said",
    [
        (None, "no such file; give a CSV file"),
        (b"dark,coal\n", "no line speaks of bright/deep/a.png; add one, or a line `.,LABEL`"),
        (b".,coal\ngold,x\n", "line 2: "),
        (b".,coal,more\n", "line 1: expected an image or a folder, a comma and its label"),
        (b".,\xff\n", "cannot be read as UTF-8 CSV"),
        (b'.,"coal\n', "cannot be read as UTF-8 CSV"),
    ],
)
def test_labels_that_cannot_be(images: Path, tmp_path: Path, capsys, lines: bytes | None, said: str):
    labels = tmp_path / "labels.csv"
    if lines is not None:
        labels.write_bytes(lines)
    options = ["--prior", "clip", "--images", str(images), "--output", str(tmp_path / "a.prior"), "--steps", "1"]
    assert said in refused(capsys, "prior", "train", *options, "--size", "8", "--labels", str(labels))


@pytest.mark.parametrize("name", list(ROWS))
def test_every_prior_answers_every_command(name: str, photo: tuple[Path, Path], tmp_path: Path, capsys):
    """Untrained, it draws and fills, or says in one line why it cannot."""
    file = tmp_path / "a.prior"
    labels = ("dark", "bright") if ROWS[name].labels in ("needed", "words") else ()
    prior = make_prior(PriorConfig(name, 8, labels))
    if name in ("patchnn", "quilt"):
        with Image.open(photo[0]) as image:
            prior.fit(PatchSource([Picture(np.array(image))], 8), Budget(None, 1))
    save_prior(file, prior, {})
    assert main(["prior", "sample", str(file), "--output", str(tmp_path / "sheet.png"), "--count", "1"]) == 0
    options = ["--image", str(photo[0]), "--mask", str(photo[1]), "--output", str(tmp_path / "filled.png")]
    if name == "clip":
        assert "clip tells which texts and images fit" in refused(capsys, "prior", "inpaint", str(file), *options)
    else:
        assert main(["prior", "inpaint", str(file), *options]) == 0


def test_a_map_says_where(images: Path, photo: tuple[Path, Path], tmp_path: Path, capsys):
    """Given maps of the images' paths; a sample is of its map's size, one image alone without a border."""
    maps = tmp_path / "maps"
    for name in ("dark", "bright"):
        _write(maps / name / "deep" / "a.png", np.zeros((40, 48), np.uint8))
    sizes = {"given": (27, 21), "x4": (4 * 27, 4 * 21)}
    for kind, folder in (("given", str(maps)), ("x4", "x4")):
        prior, sheet = tmp_path / f"{kind}.prior", tmp_path / f"{kind}.png"
        command = ["prior", "train", "--prior", "x0", "--images", str(images), "--output", str(prior)]
        assert main([*command, "--steps", "2", "--size", "8", "--downscale", "1", "--maps", folder]) == 0
        options = ["--count", "1", "--enlarge", "1", "--output", str(sheet)]
        assert main(["prior", "sample", str(prior), "--map", str(photo[0]), *options]) == 0
        with Image.open(sheet) as image:
            assert image.size == sizes[kind]
        paths = ["--image", str(photo[0]), "--mask", str(photo[1]), "--map", str(photo[0])]
        assert main(["prior", "inpaint", str(prior), *paths, "--output", str(tmp_path / f"{kind}-filled.png")]) == 0
    wide = _write(tmp_path / "wide.png", np.zeros((1100, 1000), np.uint8))
    command = ["prior", "sample", str(tmp_path / "x4.prior"), "--map", str(wide), "--output", str(tmp_path / "no.png")]
    assert "are more than 4,000,000 pixels" in refused(capsys, *command)
    (maps / "dark" / "deep" / "a.png").unlink()
    command = ["prior", "train", "--prior", "x0", "--images", str(images), "--output", str(tmp_path / "no.prior")]
    assert "no map for dark/deep/a.png" in refused(capsys, *command, "--size", "8", "--maps", str(maps))
    _write(maps / "dark" / "deep" / "a.png", np.zeros((40, 47), np.uint8))
    assert "the map is 47 x 40, its image 48 x 40" in refused(capsys, *command, "--size", "8", "--maps", str(maps))
    assert "--maps dreams: no such folder; give one, or edges or x4" in refused(capsys, *command, "--maps", "dreams")


@pytest.mark.parametrize(
    "changed, said",
    [
        ({"--map": "NOWHERE"}, "this prior was trained without maps; train one with --maps"),
        ({"--text": "dark"}, "--text: x0 reads no text; clip, vqgan-clip, unclip do"),
        ({"--image": "NOWHERE"}, "--image: x0 goes by no image; clip, unclip do"),
        ({"--label": "pink"}, "--label pink: not a label of this prior; it knows bright, dark"),
        ({"--count": "0"}, "--count 0: expected 1 to"),
        ({"--enlarge": "99"}, "--enlarge 99: expected 1 to"),
        ({"--output": "a.jpg"}, "written as .png"),
    ],
)
def test_sampling_that_cannot_be(prior: Path, tmp_path: Path, capsys, changed: dict[str, str], said: str):
    options = {"--output": "a.png"} | changed
    options["--output"] = str(tmp_path / options["--output"])
    assert said in refused(capsys, "prior", "sample", str(prior), *(word for pair in options.items() for word in pair))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "name, value, said",
    [
        ("mask", np.zeros((21, 27), np.uint8), "nothing is white, so there is nothing to fill"),
        ("mask", np.full((21, 27), 255, np.uint8), "all is white, nothing is known"),
        ("mask", np.zeros((20, 27), np.uint8), "the mask is 27 x 20, the image 27 x 21; they must be equal"),
        ("mask", b"no image", "cannot be decoded"),
        ("image", b"no image", "cannot be decoded"),
        ("image", None, "is missing"),
        ("file", b"\x80\x04K\x01.", "a pickle, which can run any program when it is opened, is refused"),
        ("file", b"no prior", "not a prior's file"),
        ("output", b"kept", "is there already"),
    ],
)
def test_inpainting_that_cannot_be(prior: Path, photo: tuple[Path, Path], tmp_path: Path, capsys, name, value, said):
    paths = {"file": prior, "image": photo[0], "mask": photo[1], "output": tmp_path / "filled.png"}
    paths[name] = tmp_path / f"{name}.png"
    if isinstance(value, np.ndarray):
        _write(paths[name], value)
    elif value is not None:
        paths[name].write_bytes(value)
    options = [word for key in ("image", "mask", "output") for word in (f"--{key}", str(paths[key]))]
    assert said in refused(capsys, "prior", "inpaint", str(paths["file"]), *options)
    assert name == "output" or not paths["output"].exists()
    assert name != "output" or paths["output"].read_bytes() == b"kept"
