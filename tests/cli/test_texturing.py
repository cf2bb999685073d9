"""texture: a run becomes another run; what was seen stays, what was not is there now; what cannot be is one line."""

import json
import signal
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from ball_capture import write_ball_capture, write_ball_run
from open3d_or_skip import open3d_or_skip
from PIL import Image
from surface_ball import color_of, directions

from neural3d.cli import main
from neural3d.cli.interrupts import Interrupts
from neural3d.cli.runs import load_trained
from neural3d.priors.files import save_prior
from neural3d.priors.prior import PriorConfig
from neural3d.priors.registry import make_prior
from neural3d.render.paths import look_at
from neural3d.render.splats import render_splats
from neural3d.run import Run

from .captures import refused

open3d_or_skip()
pytest.importorskip("xatlas")
pytest.importorskip("trimesh")
SMALL = "--texture 128 --triangles 800 --method quilt --fast".split()
WHOLE, OPEN = ["--reach", "0.4"], ["--reach", "0"]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ball")
    return write_ball_run(write_ball_capture(folder / "capture"), folder / "run")


@pytest.fixture(scope="module")
def completed(run: Path) -> Path:
    output = run.parent / "completed"
    assert main(["texture", "complete", str(run), "--output", str(output), *SMALL, *WHOLE]) == 0
    return output


def test_the_result_is_a_run_that_renders_what_no_photo_saw(run: Path, completed: Path):
    before, after = load_trained(run), load_trained(completed)
    new = ~torch.isin(after.gaussians.means_world[:, 0], before.gaussians.means_world[:, 0])
    assert after.run.status["state"] == "completed" and new.sum() > 50
    facts = json.loads((completed / "exports" / "texture.json").read_text())
    assert (
        facts["method"] == "quilt"
        and facts["status"] == "completed"
        and facts["completed_texels"] > 500
        and 0.1 < facts["unseen"] < 0.8
    )
    assert main(["render", str(completed), "--output", str(completed / "turn"), "--frames", "2"]) == 0


def test_the_views_of_the_photos_hardly_change(run: Path, completed: Path):
    before, after = load_trained(run), load_trained(completed)
    with torch.no_grad():
        pictures = [render_splats(t.gaussians, before.views.cameras[:6]).colors for t in (before, after)]
    assert (pictures[0] - pictures[1]).square().mean() < 3e-4


def test_new_splats_close_the_side_that_nobody_saw(run: Path, completed: Path):
    before, after = load_trained(run), load_trained(completed)
    new = ~torch.isin(after.gaussians.means_world[:, 0], before.gaussians.means_world[:, 0])
    camera = before.views.cameras[0]
    way = before.views.capture_from_scene.inverse()
    eye, middle = (way.apply(torch.tensor([place])) for place in ([0.3, 0.2, -3.5], [0.0, 0.0, 0.0]))
    below = replace(camera, camera_from_world=look_at(eye, middle, torch.tensor([0.0, 0, 1])).float())
    with torch.no_grad():
        alphas = render_splats(after.gaussians[new], below).alphas[0, ..., 0]
    assert new.sum() > 50 and alphas[24:40, 24:40].min() > 0.8


def test_what_masks_hold_is_completed_alone(run: Path, tmp_path: Path):
    """Of the ball the half with x > 0, which masks of the photos hold; photos show nothing else of it."""
    before = load_trained(run)
    way, gaussians = before.views.capture_from_scene, before.gaussians
    places = way.apply(gaussians.means_world.double())
    inside = places[:, 0] > 0
    marked = replace(gaussians, sh=(inside.float()[:, None, None] - 0.5).expand(-1, 1, 3) / 0.2820948)
    with torch.no_grad():
        pictures = render_splats(marked, before.views.cameras).colors[..., 0] > 0.5
    (tmp_path / "masks").mkdir()
    for name, picture in zip(before.views.names, pictures, strict=True):
        Image.fromarray(255 * picture.byte().numpy()).save(tmp_path / "masks" / f"{Path(name).stem}.png")
    words = ["texture", "complete", str(run), "--objects", str(tmp_path / "masks"), *SMALL, *OPEN]
    assert main([*words, "--output", str(tmp_path / "half")]) == 0
    half = load_trained(tmp_path / "half").gaussians
    means = way.apply(half.means_world.double())
    assert means[:, 0].min() > -0.1
    assert (means[:, 2] > 0.3).sum() > 0.8 * (inside & (places[:, 2] > 0.3)).sum() > 200


def test_a_signal_leaves_a_run_that_says_so(run: Path, tmp_path: Path, monkeypatch, capsys):
    """In the first window; what it had is kept, and nobody takes it for all that was to be done."""
    told, calls = Interrupts.requested, []

    def once(self: Interrupts) -> str:
        calls.append(1)
        if len(calls) == 2:
            signal.raise_signal(signal.SIGINT)
        return told(self)

    monkeypatch.setattr("neural3d.cli.texturing.Interrupts.requested", once)
    output = tmp_path / "stopped"
    assert main(["texture", "complete", str(run), "--output", str(output), *SMALL, *WHOLE, "--json"]) == 130
    facts = json.loads((output / "exports" / "texture.json").read_text())
    assert facts["status"] == "stopped" == json.loads(capsys.readouterr().out)["status"]
    assert facts["windows"] == 1 and facts["smooth_texels"] > 0
    status = load_trained(output).run.status
    assert status["state"] == "stopped" and status["reason"] == "stopped by a signal, 1 windows done"


def test_texture_and_mask_lie_beside_the_mesh(completed: Path):
    exports = completed / "exports"
    assert {"surface.glb", "surface.obj", "surface.png", "surface.mtl", "surface.unseen.png"} <= {
        path.name for path in exports.iterdir()
    }
    mask, picture = (np.array(Image.open(exports / f"surface{name}.png")) for name in (".unseen", ""))
    assert mask.shape == (128, 128) and set(np.unique(mask)) == {0, 255}
    assert picture[mask == 255].std() > 1
    with Image.open(completed / "renders" / "texture.png") as sheet:
        assert sheet.size == (3 * 512, 512)
    with Image.open(completed / "renders" / "turntable.png") as turned:
        assert turned.size == (4 * 256, 2 * 256)
        views = [
            np.asarray(turned.crop((x, y, x + 256, y + 256)))[60:196, 60:196]
            for y in (0, 256)
            for x in range(0, 1024, 256)
        ]
    assert all(view.std() > 8 for view in views), "the ball is on all of them"


def test_a_texture_is_made_of_the_photos(run: Path, tmp_path: Path):
    import trimesh

    path = tmp_path / "ball.obj"
    words = ["export", str(run), "--output", str(path), *"--texture 128 --triangles 800 --texture-from photos".split()]
    assert main(words) == 0
    mesh = trimesh.load(path, force="mesh", process=False)
    vertices = torch.from_numpy(np.asarray(mesh.vertices)).float()
    seen = vertices[:, 2] > 0.3
    colors = torch.from_numpy(mesh.visual.to_color().vertex_colors[:, :3] / 255.0).float()
    error = (colors - color_of(torch.nn.functional.normalize(vertices, dim=1)))[seen].abs()
    assert error.mean() < 0.05 and (tmp_path / "ball.unseen.png").exists()


def test_an_edit_changes_the_box_alone(run: Path, tmp_path: Path):
    Image.fromarray(np.full((40, 40, 3), (0, 255, 0), dtype=np.uint8)).save(tmp_path / "green.png")
    box = "-0.5 -0.5 0.5 0.5 0.5 2".split()
    words = ["texture", "edit", str(run), "--output", str(tmp_path / "edited"), "--box", *box, *SMALL, *OPEN]
    assert main([*words, "--source", str(tmp_path / "green.png")]) == 0
    before, after = load_trained(run), load_trained(tmp_path / "edited")
    way = before.views.capture_from_scene
    means = way.apply(after.gaussians.means_world)
    top = (means[:, :2].norm(dim=1) < 0.3) & (means[:, 2] > 0.8)
    dc = after.gaussians.sh[top, 0] * 0.2820948 + 0.5
    assert dc[:, 1].min() > 0.9 and dc[:, 0].max() < 0.1
    side = (means[:, 2] > 0) & (means[:, 2] < 0.4)
    outward = torch.nn.functional.normalize(means[side].float(), dim=1)
    assert (after.gaussians.sh[side, 0] * 0.2820948 + 0.5 - color_of(outward)).abs().median() < 0.02


def test_a_tile(tmp_path: Path):
    colors = (color_of(directions(64 * 48)).reshape(48, 64, 3) * 255).byte().numpy()
    Image.fromarray(colors).save(tmp_path / "patch.png")
    assert main(["texture", "tile", str(tmp_path / "patch.png"), "--output", str(tmp_path / "tile.png")]) == 0
    with Image.open(tmp_path / "tile.png") as made:
        assert made.size == (64, 48)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("complete {run} --output {tmp}/a --method brush", "--method brush: there is no such method; choose auto"),
        ("complete {run} --output {tmp}/a --texture 8", "--texture 8: expected 64 to 8192"),
        ("complete {run} --output {tmp}/a --seconds 0", "--seconds 0: expected 1 to"),
        ("complete {run} --output {tmp}/a --reach nan", "--reach nan: expected 0 to 1"),
        ("complete {run} --output {run}", "this is the run that is read"),
        ("complete {run} --output {run}/..", "is not empty"),
        ("complete {run} --output {tmp}/a --objects {tmp}/none", "none: expected a folder of masks, or of folders"),
        ("complete {tmp} --output {tmp}/a", "there is no run in this folder"),
        ("edit {run} --output {tmp}/a --box 8 8 8 9 9 9 --texture 64 --triangles 300 --reach 0", "--box: no part"),
        ("edit {run} --output {tmp}/a --box 0 0 0 1 1 1 --source {tmp}/none.png", "none.png"),
        ("restyle {run} --output {tmp}/a --style {tmp}/bad.png", "bad.png"),
        ("tile {tmp}/bad.png --output {tmp}/tile.png", "bad.png"),
        ("tile {tmp}/bad.png --output {tmp}/tile.jpg", "written as .png"),
    ],
)
def test_what_cannot_be_is_one_line(run: Path, tmp_path: Path, capsys, monkeypatch, words: str, message: str):
    monkeypatch.setattr("neural3d.cli.texturing.say", lambda line: None)
    monkeypatch.setattr("neural3d.cli.surfaces.say", lambda line: None)
    (tmp_path / "bad.png").write_bytes(b"no picture")
    told = refused(capsys, "texture", *(word.format(run=run, tmp=tmp_path) for word in words.split()))
    assert message in told


@pytest.fixture(scope="module")
def nerf(run: Path) -> Path:
    """A field of the same capture, after two steps."""
    words = "--steps 2 --field hashgrid --preset fast".split()
    capture, output = str(run.parent / "capture"), run.parent / "nerf"
    assert main(["train", "nerf", "--capture", capture, "--output", str(output), *words]) == 0
    return output


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("complete {run} --method cgan", "--method cgan: it learns classes, and a scene has none"),
        ("complete {run} --method clip", "--method clip: clip tells which texts and images fit"),
        ("complete {run} --method {tmp}/clip.prior", "clip.prior: clip tells which texts"),
        ("complete {run} --method {tmp}/bad.png", "bad.png: not a prior's file, or cut short"),
        ("restyle {run} --style {tmp}/thin.png", "thin.png: it is 40 x 2, expected at least 3 x 3"),
        ("edit {run} --box 0 0 0 1 1 1 --source {tmp}/flat.png", "is 40 x 5, expected at least 7 x 7"),
        ("complete {nerf}", "the run holds a radiance field"),
    ],
)
def test_what_cannot_be_is_told_before_anything_is_computed_or_replaced(
    run: Path, nerf: Path, tmp_path: Path, capsys, monkeypatch, words: str, message: str
):
    monkeypatch.setattr("neural3d.cli.texturing.whole_surface", lambda *_, **__: pytest.fail("the surface was sought"))
    (tmp_path / "bad.png").write_bytes(b"no picture")
    for name, rows in (("thin", 2), ("flat", 5)):
        Image.fromarray(np.zeros((rows, 40, 3), dtype=np.uint8)).save(tmp_path / f"{name}.png")
    save_prior(tmp_path / "clip.prior", make_prior(PriorConfig("clip", 8, ("a", "b"))), {})
    with Run.create(tmp_path / "old", {}) as old:
        old.write_json("exports/texture.json", {"mine": 1})
        old.set_status("completed")
    words = words.format(run=run, nerf=nerf, tmp=tmp_path).split()
    assert message in refused(capsys, "texture", *words, "--output", str(tmp_path / "old"), "--overwrite")
    assert old.status["state"] == "completed" and old.read_json("exports/texture.json") == {"mine": 1}
