"""Another program reads every splat file of ours as we mean it, and we read every one of its."""

import subprocess
from pathlib import Path

import pytest
import torch

from neural3d.export.formats import read_splats, write_splats
from neural3d.export.frames import gaussians_in_frame
from neural3d.export.ply import read_ply
from neural3d.export.up_axis import upright
from neural3d.scene import Similarity
from neural3d.splats.gaussians import Gaussians

from . import splat_transform
from .test_splat_transform import CAPTURE_FROM_SCENE, POSITION, TARGET, ours, psnr, scene_gaussians

HALF_TURN_Z = Similarity(1.0, torch.diag(torch.tensor([-1.0, -1, 1])).double(), torch.zeros(3).double())
"""What the client does to what it writes as glTF."""


def converted(source: Path, target: Path, *options: str) -> Path:
    """A file in another format, by the client."""
    called = [*splat_transform.command(), *options, str(source), str(target)]
    done = subprocess.run(called, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return target


def same(found: Gaussians, expected: Gaussians, tolerance: dict[str, float]) -> None:
    """Each Gaussian is the nearest of the others, and like it."""
    nearest = torch.cdist(found.means_world.double(), expected.means_world.double()).argmin(1)
    assert len(nearest.unique()) == len(expected)
    for name, bound in tolerance.items():
        a, b = found.tensors()[name], expected.tensors()[name][nearest]
        if name == "quats_wxyz":
            a, b = (q / q.norm(dim=1, keepdim=True) for q in (a, b))
            b = b * (a * b).sum(1, keepdim=True).sign()
        if name == "logit_opacities":
            a, b = torch.sigmoid(a), torch.sigmoid(b)
        assert (a - b).abs().max() <= bound, (name, (a - b).abs().max())


BYTE = 0.51 / 255
TOLERANCES = {
    "a.compressed.ply": {
        "means_world": 4e-3,
        "log_scales": 2e-3,
        "quats_wxyz": 2e-3,
        "logit_opacities": BYTE,
        "sh": 0.02,
    },
    "a.spz": {"means_world": 2e-4, "log_scales": 0.04, "quats_wxyz": 2e-3, "logit_opacities": BYTE, "sh": 0.02},
    "a.sog": {"means_world": 1e-3, "log_scales": 0.06, "quats_wxyz": 0.01, "logit_opacities": BYTE, "sh": 0.08},
}


def bounded(gaussians: Gaussians) -> Gaussians:
    """Harmonics that SPZ can hold, and .splat colours."""
    sh = torch.cat([gaussians.sh[:, :1].clamp(-1.7, 1.7), gaussians.sh[:, 1:].clamp(-0.9, 0.9)], dim=1)
    return Gaussians(**{**gaussians.tensors(), "sh": sh})


@pytest.mark.parametrize("name", [*TOLERANCES, "b.spz", "a.splat"])
def test_it_reads_what_we_write(tmp_path: Path, name: str):
    gaussians = bounded(scene_gaussians())
    options = {"version": 4} if name == "b.spz" else {}
    write_splats(tmp_path / name, gaussians, capture_from_scene=CAPTURE_FROM_SCENE, **options)
    found = read_ply(converted(tmp_path / name, tmp_path / "theirs.ply"))
    expected = gaussians_in_frame(gaussians, CAPTURE_FROM_SCENE)
    if name == "a.splat":
        expected = Gaussians(**{**expected.tensors(), "sh": expected.sh[:, :1]})
        same(found, expected, {"means_world": 1e-6, "log_scales": 1e-5, "quats_wxyz": 0.02, "sh": 0.01})
    else:
        same(found, expected, TOLERANCES["a.spz" if name == "b.spz" else name])


@pytest.mark.parametrize(
    ("name", "options"),
    [("a.compressed.ply", []), ("a.spz", ["--spz-version", "3"]), ("b.spz", []), ("a.sog", ["-g", "cpu"])],
)
def test_we_read_what_it_writes(tmp_path: Path, name: str, options: list[str]):
    gaussians = bounded(scene_gaussians())
    write_splats(tmp_path / "ours.ply", gaussians, capture_from_scene=CAPTURE_FROM_SCENE)
    found = read_splats(converted(tmp_path / "ours.ply", tmp_path / name, *options))
    bounds = TOLERANCES["a.spz" if name == "b.spz" else name]
    if name == "a.sog":
        bounds = {**bounds, "logit_opacities": 2 * BYTE, "sh": 2.0}  # it rounds down; its palette is small
    if name.endswith(".spz"):
        bounds = {**bounds, "sh": 0.07}  # four bits of a harmonic
    same(found, gaussians_in_frame(gaussians, CAPTURE_FROM_SCENE), bounds)


def test_its_gltf_is_what_ours_is_upright(tmp_path: Path):
    """It turns a PLY by half a turn about z to get from y-down to y-up."""
    gaussians = scene_gaussians()
    write_splats(tmp_path / "ours.ply", gaussians, capture_from_scene=CAPTURE_FROM_SCENE)
    found = read_splats(converted(tmp_path / "ours.ply", tmp_path / "a.glb"))
    in_file = gaussians_in_frame(gaussians, CAPTURE_FROM_SCENE)
    exact = {"means_world": 1e-5, "log_scales": 1e-5, "quats_wxyz": 1e-5, "logit_opacities": 1e-5, "sh": 1e-5}
    same(found, gaussians_in_frame(in_file, HALF_TURN_Z), exact)
    turned = upright("y", torch.tensor([0.0, -1, 0]))
    write_splats(tmp_path / "b.glb", in_file, capture_from_scene=turned)
    assert torch.allclose(read_splats(tmp_path / "b.glb").means_world[:, 1], -in_file.means_world[:, 1])


@pytest.mark.parametrize("name", ["a.ply", "a.compressed.ply", "a.spz", "b.spz", "a.sog"])
def test_antialiasing_arrives_there(tmp_path: Path, name: str):
    gaussians = Gaussians(**scene_gaussians().tensors(), antialiased=True)
    options = {"version": 4} if name == "b.spz" else {}
    write_splats(tmp_path / name, gaussians, capture_from_scene=CAPTURE_FROM_SCENE, **options)
    assert splat_transform.info(tmp_path / name)["model"] == "antialiased"


@pytest.mark.long
@pytest.mark.parametrize(("name", "decibels"), [("a.compressed.ply", 38), ("a.spz", 38), ("b.spz", 38), ("a.sog", 38)])
def test_it_shows_what_we_show(tmp_path: Path, name: str, decibels: float):
    """Its picture of our packed file beside our picture of the model itself."""
    gaussians = scene_gaussians()
    options = {"version": 4} if name == "b.spz" else {}
    write_splats(tmp_path / name, gaussians, capture_from_scene=CAPTURE_FROM_SCENE, **options)
    theirs = splat_transform.render(tmp_path / name, POSITION, TARGET)
    in_file = gaussians_in_frame(gaussians, CAPTURE_FROM_SCENE)
    assert psnr(ours(in_file, POSITION, TARGET), theirs) >= decibels


def test_files_of_others(data_dir: Path):
    """The same model packed twice by SuperSplat: its SPZ lies y-up, its PLY y-down."""
    folder = data_dir / "splats" / "playcanvas"
    compressed, spz = read_splats(folder / "biker.compressed.ply"), read_splats(folder / "biker.spz")
    assert len(compressed) == len(spz) == 152_746
    flip = torch.tensor([1.0, -1, -1])
    for statistic in (torch.Tensor.mean, torch.Tensor.std):
        assert torch.allclose(
            statistic(compressed.means_world, 0),
            statistic(spz.means_world, 0) * flip.abs()
            if statistic is torch.Tensor.std
            else statistic(spz.means_world, 0) * flip,
            atol=2e-3,
        )
    sog = read_splats(folder / "playbot" / "3_0" / "meta.json")
    assert sog.sh_degree == 2 and bool(sog.means_world.isfinite().all())


def test_files_of_others_in_gltf(data_dir: Path):
    """Each form of number that the extension allows, of one Gaussian."""
    found = read_splats(data_dir / "splats" / "khr_gltf" / "khr_conformance_matrix.glb")
    assert len(found) == 15 and torch.equal(found.means_world, torch.tensor([[1.0, 2, 3]]).expand(15, 3))
    assert torch.allclose(found.quats_wxyz[:3], torch.tensor([0.0, 1, 0, 0]).expand(3, 4), atol=1e-2)
    assert torch.allclose(torch.sigmoid(found.logit_opacities[8:11]), torch.tensor(0.25), atol=3e-3)
    again = read_splats(data_dir / "splats" / "khr_gltf" / "khr_conformance_matrix.gltf")
    assert all(torch.equal(a, b) for a, b in zip(found.tensors().values(), again.tensors().values(), strict=True))


def test_usd_finds_nothing_to_complain_about(tmp_path: Path):
    pytest.importorskip("pxr", reason="usd-core is not installed: pip install usd-core")
    from pxr import Usd, UsdGeom, UsdValidation

    write_splats(tmp_path / "a.usdc", scene_gaussians(), capture_from_scene=CAPTURE_FROM_SCENE, up_axis="Z")
    stage = Usd.Stage.Open(str(tmp_path / "a.usdc"))
    validators = UsdValidation.ValidationRegistry().GetOrLoadAllValidators()
    assert len(validators) > 5
    assert [e.GetMessage() for e in UsdValidation.ValidationContext(validators).Validate(stage)] == []
    assert UsdGeom.GetStageUpAxis(stage) == "Z"
    prim = stage.GetDefaultPrim().GetChild("splats")
    low, high = prim.GetAttribute("extent").Get()
    assert all(a < b for a, b in zip(low, high, strict=True))
    assert len(prim.GetAttribute("radiance:sphericalHarmonicsCoefficients").Get()) == 240 * 16
