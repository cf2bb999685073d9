"""Every format gives back what it was given, within the steps that it has; nothing depends on how it was written."""

import dataclasses
import importlib.util
import re
from pathlib import Path

import pytest
import torch

from neural3d.errors import InputError
from neural3d.export import rows
from neural3d.export.formats import FORMATS, format_of, read_splats, space_of_file, write_splats
from neural3d.export.frames import gaussians_in_frame
from neural3d.splats.gaussians import Gaussians

from .splats import IDENTITY, Distance, distance, like_a_scene, matched, turned_and_moved

EXACT = Distance(mean=0, log_scale=0, angle_rad=1e-6, opacity=1e-7, color=0, harmonic=0)
BYTE = 0.51 / 255
BOUNDS = {
    "a.ply": EXACT,
    # means: half of one of 1023 steps over a box of 256 neighbours; harmonics: half of 8/256
    "a.compressed.ply": Distance(0.0035, 0.003, 0.004, BYTE, 0.01, 1 / 64 + 1e-6),
    "a.splat": Distance(0, 1e-6, 0.02, BYTE, 0.51 / 255, 0),
    # log scales: half of 1/16; colours: half a byte over 3.3 each way
    "a.spz": Distance(2**-13, 1 / 32 + 1e-5, 0.004, BYTE, 0.0039, 1 / 256 + 1e-6),
    # codebooks are finest where most values lie
    "a.sog": Distance(5e-4, 0.06, 0.02, BYTE, 0.01, 0.06),
    "a.glb": dataclasses.replace(EXACT, log_scale=1e-6, opacity=1e-6),
    "a.usda": dataclasses.replace(EXACT, log_scale=1e-6, opacity=1e-6),
    "a.usdc": dataclasses.replace(EXACT, log_scale=1e-6, opacity=1e-6),
    "a.usdz": dataclasses.replace(EXACT, log_scale=1e-6, opacity=1e-6),
}
KEEP_HARMONICS = [name for name in BOUNDS if name != "a.splat"]


def needs(name: str) -> str:
    """The name again; skips where its library is missing."""
    if ".usd" in name and importlib.util.find_spec("pxr") is None:
        pytest.skip("usd-core is not installed: pip install usd-core")
    return name


def in_display_range(gaussians: Gaussians) -> Gaussians:
    """Colours as screens show them, which .splat is limited to."""
    return dataclasses.replace(gaussians, sh=torch.cat([gaussians.sh[:, :1].clamp(-1.7, 1.7), gaussians.sh[:, 1:]], 1))


def within(found: Distance, bound: Distance) -> bool:
    return all(getattr(found, f.name) <= getattr(bound, f.name) for f in dataclasses.fields(Distance))


@pytest.mark.parametrize("name", BOUNDS)
@pytest.mark.parametrize("degree", [0, 1, 2, 3])
def test_round_trip(tmp_path: Path, name: str, degree: int):
    gaussians = in_display_range(like_a_scene(degree=degree))
    written = write_splats(tmp_path / needs(name), gaussians, capture_from_scene=IDENTITY)
    assert (written.num_gaussians, written.num_dropped) == (len(gaussians), 0)
    found = read_splats(tmp_path / name)
    assert found.sh_degree == (0 if name == "a.splat" else degree)
    kept = gaussians if found.sh_degree else dataclasses.replace(gaussians, sh=gaussians.sh[:, :1])
    apart = distance(found, matched(found, kept))
    assert within(apart, BOUNDS[name]), apart


@pytest.mark.parametrize("name", BOUNDS)
def test_files_lie_in_the_frame_of_the_capture_harmonics_turned_with_it(tmp_path: Path, name: str):
    gaussians, capture_from_scene = in_display_range(like_a_scene()), turned_and_moved()
    write_splats(tmp_path / needs(name), gaussians, capture_from_scene=capture_from_scene)
    write_splats(tmp_path / f"b{name}", gaussians_in_frame(gaussians, capture_from_scene), capture_from_scene=IDENTITY)
    found, expected = read_splats(tmp_path / name), read_splats(tmp_path / f"b{name}")
    assert (found.means_world - expected.means_world).abs().max() < 1e-5
    assert distance(found, expected).harmonic < (0.04 if name == "a.sog" else 1e-5)


@pytest.mark.parametrize("name", KEEP_HARMONICS)
@pytest.mark.parametrize("antialiased", [False, True])
def test_how_it_was_trained_travels(tmp_path: Path, name: str, antialiased: bool):
    gaussians = like_a_scene(20, antialiased=antialiased)
    assert not write_splats(tmp_path / needs(name), gaussians, capture_from_scene=IDENTITY).warnings
    assert read_splats(tmp_path / name).antialiased is antialiased


def test_what_a_splat_file_cannot_hold_is_said(tmp_path: Path):
    written = write_splats(tmp_path / "a.splat", like_a_scene(20, antialiased=True), capture_from_scene=IDENTITY)
    assert len(written.warnings) == 2 and "direction" in written.warnings[0] and "antialiased" in written.warnings[1]
    plain = like_a_scene(20, degree=0)
    assert not write_splats(tmp_path / "a.splat", plain, capture_from_scene=IDENTITY).warnings


@pytest.mark.parametrize(
    ("away", "message"),
    [
        (900.0, None),
        (1e5, "means are rounded to 0.0156 units, as some lie 1e\\+05 units out; leave far splats out by --crop"),
        (1e7, "1 Gaussians lie farther out than SPZ can say .* and were moved in"),
    ],
)
def test_spz_says_what_a_far_splat_costs_all_others(tmp_path: Path, away: float, message: str | None):
    """24 bits reach from the farthest mean to the step between two places."""
    gaussians = like_a_scene(100)
    gaussians.means_world[7, 1] = away
    warnings = write_splats(tmp_path / "a.spz", gaussians, capture_from_scene=IDENTITY).warnings
    if message is None:
        assert warnings == ()
    else:
        assert any(re.match(message, line) for line in warnings), warnings


@pytest.mark.parametrize("name", BOUNDS)
def test_blocks_and_repetition_change_no_byte(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch):
    gaussians = like_a_scene(1200)
    write_splats(tmp_path / needs(name), gaussians, capture_from_scene=IDENTITY)
    whole = (tmp_path / name).read_bytes()
    monkeypatch.setattr(rows, "BLOCK", 256)
    write_splats(tmp_path / name, gaussians, capture_from_scene=IDENTITY)
    assert (tmp_path / name).read_bytes() == whole or name == "a.usdz"  # its packages hold the time
    in_blocks = read_splats(tmp_path / name)
    monkeypatch.undo()
    for key, tensor in read_splats(tmp_path / name).tensors().items():
        assert torch.equal(in_blocks.tensors()[key], tensor), key


@pytest.mark.parametrize("name", BOUNDS)
def test_only_chosen_and_finite_rows_are_written(tmp_path: Path, name: str):
    gaussians = like_a_scene(300)
    gaussians.means_world[7, 1], gaussians.sh[9, 0, 2] = float("nan"), float("inf")
    options = {"capture_from_scene": IDENTITY, "indices": torch.arange(0, 20)}
    written = write_splats(tmp_path / needs(name), gaussians, **options)
    assert (written.num_gaussians, written.num_dropped) == (18, 2)
    found = read_splats(tmp_path / name)
    expected = torch.cdist(found.means_world, gaussians.means_world.nan_to_num()).argmin(1).sort().values
    assert expected.tolist() == [i for i in range(20) if i not in (7, 9)]


@pytest.mark.parametrize("name", BOUNDS)
def test_a_model_without_a_finite_row_is_refused(tmp_path: Path, name: str):
    gaussians = like_a_scene(3).map(lambda tensor: tensor * float("nan"))
    with pytest.raises(InputError, match="no Gaussian is left to write"):
        write_splats(tmp_path / needs(name), gaussians, capture_from_scene=IDENTITY)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", BOUNDS)
@pytest.mark.parametrize("count", [1, 255, 257])
def test_any_number_of_rows(tmp_path: Path, name: str, count: int):
    write_splats(tmp_path / needs(name), like_a_scene(count, degree=1), capture_from_scene=IDENTITY)
    assert len(read_splats(tmp_path / name)) == count


@pytest.mark.parametrize("name", BOUNDS)
def test_equal_means_and_scales_have_ranges_of_nothing(tmp_path: Path, name: str):
    one = like_a_scene(1, degree=1)
    same = one[torch.zeros(300, dtype=torch.int64)]
    write_splats(tmp_path / needs(name), same, capture_from_scene=IDENTITY)
    found = read_splats(tmp_path / name)
    assert (found.means_world - same.means_world).abs().max() < 2e-4
    assert (found.log_scales - same.log_scales).abs().max() < 0.04


def test_the_suffix_decides_unless_a_format_is_named():
    cases = {"a.ply": "ply", "A.Compressed.PLY": "compressed-ply", "a.b.SPZ": "spz", "a.usdz": "usd", "x/a.glb": "glb"}
    assert {name: format_of(name).name for name in cases} == cases
    assert format_of("a.ply", "compressed-ply").name == "compressed-ply"
    with pytest.raises(InputError, match=r"a\.ply: expected a file that ends in \.sog"):
        format_of("a.ply", "sog")
    with pytest.raises(InputError, match=r"ends in \.ply.*\.splat.*\.usdz"):
        format_of("a.obj")
    assert {entry.name for entry in FORMATS.values()} == set(FORMATS)


def test_what_a_file_begins_with_counts_more_than_its_name(tmp_path: Path):
    gaussians = like_a_scene(20)
    for name in ("a.ply", "a.compressed.ply", "a.spz", "a.glb"):
        write_splats(tmp_path / name, gaussians, capture_from_scene=IDENTITY)
        (tmp_path / name).rename(tmp_path / "x.splat")
        assert read_splats(tmp_path / "x.splat").sh_degree == 3, name
        space = space_of_file(tmp_path / "x.splat")
        assert space.up_world == (0, 1 if name == "a.glb" else -1, 0) and space.metres_per_unit == 1, name


@pytest.mark.parametrize("suffix", ["usda", "usdc", "usdz"])
def test_usd_says_what_is_up_and_what_its_unit_is(tmp_path: Path, suffix: str):
    path = tmp_path / needs(f"a.{suffix}")
    write_splats(path, like_a_scene(20), capture_from_scene=IDENTITY, up_axis="Z", metres_per_unit=0.25)
    space = space_of_file(path)
    assert space.up_world == (0, 0, 1) and space.metres_per_unit == 0.25


@pytest.mark.parametrize("says", ['upAxis = "X"', "metersPerUnit = 0", "metersPerUnit = nan", "upAxis = 3"])
def test_usd_that_says_what_cannot_be_is_refused(tmp_path: Path, says: str):
    path = tmp_path / needs("a.usda")
    path.write_text(f"#usda 1.0\n(\n {says}\n)\n")
    with pytest.raises(InputError, match=r"a\.usda: (the stage has upAxis|USD cannot read it)"):
        space_of_file(path)


def test_usd_that_says_nothing_is_in_centimetres_with_y_up(tmp_path: Path):
    path = tmp_path / needs("a.usda")
    path.write_text("#usda 1.0\n")
    assert space_of_file(path).up_world == (0, 1, 0) and space_of_file(path).metres_per_unit == 0.01
