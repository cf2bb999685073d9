"""Training fields: they improve, resume to the same bytes, at any number of threads, and refuse what cannot be."""

import json
import math
from dataclasses import asdict, replace

import numpy as np
import pytest
import torch

from neural3d.errors import InputError, NumericError
from neural3d.fields.hashgrid import HashGridPlace
from neural3d.fields.mlp import layers_of
from neural3d.fields.nerf import answers, rendered, samples_at
from neural3d.fields.pieces import map_pieces
from neural3d.fields.possible import PossibleCells
from neural3d.fields.rays import image_rays
from neural3d.fields.sampling import stratified
from neural3d.fields.space import Ball, Ndc, Shell
from neural3d.render.fields import render_field
from neural3d.run import Run
from neural3d.train.field_space import field_space
from neural3d.train.fields import field_config_from_json, field_of, train_field
from neural3d.train.mlp import MlpLearner, compared, gradient_of
from neural3d.train.mlp_config import TINY_MLP, MlpConfig
from neural3d.train.mlp_place import mlp_cells
from neural3d.train.photos import background_kind

from .field_runs import SMALL_HASHGRID, SMALL_POINTS, field_psnr, trained, trained_in_parts
from .field_runs import SMALL_MLP as SMALL
from .small_scenes import Watcher, make_scene, ring, same, truth

KINDS = {
    "mlp, float32": (replace(SMALL, precision="float32", rays=200), {"has_alpha": True}),
    "mlp, bfloat16": (replace(SMALL, precision="bfloat16", rays=200), {"has_alpha": True}),
    "mlp, asked everywhere": (replace(SMALL, precision="float32", rays=200, occupancy_cells=0), {"has_alpha": True}),
    "hashgrid": (SMALL_HASHGRID, {"has_alpha": True}),
    "hashgrid, without bounds": (SMALL_HASHGRID, {}),
    "hashgrid, refined cameras": (replace(SMALL_HASHGRID, refine_cameras=True), {"has_alpha": True}),
    "hashgrid, refined cameras without bounds": (replace(SMALL_HASHGRID, refine_cameras=True), {}),
    "points": (SMALL_POINTS, {"has_alpha": True, "points": 200}),
    "points, without bounds": (SMALL_POINTS, {"points": 200}),
}


@pytest.mark.parametrize("kind", KINDS)
def test_neither_threads_nor_stops_change_a_byte(kind, tmp_path):
    """One thread from beginning to end, and three threads in three parts."""
    config, photos = KINDS[kind]
    scene = make_scene(**photos)
    torch.set_num_threads(1)
    expected = trained(tmp_path / "one", config, scene).tensors
    torch.set_num_threads(3)
    found = trained_in_parts(tmp_path / "parts", config, scene, (1, config.steps // 2)).tensors
    assert same(found, expected) and torch.get_num_threads() == 3


def test_another_seed_is_another_run(tmp_path):
    one, other = (trained(tmp_path / str(seed), replace(SMALL, seed=seed)).tensors for seed in (0, 1))
    assert not same(one, other)


@pytest.mark.parametrize("kind", ["one network", "coarse and fine", "without alpha"])
def test_a_fit_improves(kind):
    """Photos of blobs, from a network that knows nothing to one that shows them."""
    scene = make_scene(has_alpha=kind != "without alpha")
    config = replace(
        TINY_MLP,
        steps=80,
        max_seconds=None,
        rays=256,
        coarse_samples=24,
        width=32,
        position_frequencies=4,
        precision="float32",
    )
    if kind == "coarse and fine":
        config = replace(config, fine_samples=16, direction_frequencies=1)
    watcher = Watcher()
    result = train_field(scene, config, observers=[watcher])
    first = train_field(scene, replace(config, steps=1)).field
    assert field_psnr(result.field, scene) > max(12.0, field_psnr(first, scene) + 3)
    progress, snapshot = watcher.told[-1]
    assert progress.num_gaussians is None and progress.num_parameters == result.field.num_parameters
    assert torch.equal(snapshot.networks.coarse, result.field.networks.coarse)


def test_rows_that_pull_at_nothing_can_be_left_out():
    """The sparse backward pass against autograd through everything."""
    scene = make_scene(has_alpha=True)
    learner = MlpLearner(scene, replace(SMALL, precision="float32"))
    learner.begin()
    batch = learner.pixels.batch(64, "random", 0, 0, central=False)
    vector = learner.networks["coarse"].clone().requires_grad_()
    with torch.no_grad():
        bias = layers_of(vector, learner.shape)["density"][1]
        bias -= 0.1  # so that many samples are empty
    samples = samples_at(
        stratified(torch.rand(64, 8)), learner.space.place(batch.rays), learner.space, SMALL.shape, torch.float32
    )
    layers = layers_of(vector, SMALL.shape)

    seen = rendered(*_differentiable(layers, samples), samples.lengths)
    error = (seen.colors + (1 - seen.alphas)[:, None] * batch.backgrounds - batch.colors).square().sum()
    (expected,) = torch.autograd.grad(0.5 * error, vector)

    with torch.no_grad():
        plain = layers_of(vector.detach(), SMALL.shape)
        _, by_hand, pulls = compared(answers(plain, SMALL.shape, samples), samples, None, batch)
        empty = float((pulls[0] == 0).float().mean())
        found = gradient_of(plain, SMALL.shape, samples, *pulls, scale=0.5)
    assert 0.1 < empty < 0.95 and by_hand.item() == pytest.approx(error.item(), rel=1e-5)
    assert torch.allclose(found, expected, atol=1e-5 * float(expected.abs().max()))


def test_cells_that_hold_everything_change_no_step():
    """Rays and samples that are left out would have pulled at nothing."""
    config = replace(SMALL, precision="float32", density_noise=0.0)
    taken = []
    for possible in (None, PossibleCells(HashGridPlace((0.0, 0.0, 0.0), 1.0), torch.ones(4, 4, 4, dtype=torch.bool))):
        learner = MlpLearner(make_scene(has_alpha=True), config)
        learner.begin()
        learner.possible = possible
        taken.append(([float(learner.take_step(step, 0.5).loss) for step in range(3)], learner.networks))
    assert taken[0][0] == pytest.approx(taken[1][0], rel=1e-5)
    for name, network in taken[0][1].items():
        torch.testing.assert_close(taken[1][1][name], network, rtol=0, atol=1e-5)


def test_what_rays_that_meet_nothing_should_have_seen_counts_as_error():
    learner = MlpLearner(make_scene(has_alpha=True), replace(SMALL, precision="float32"))
    learner.begin()
    learner.possible = replace(learner.possible, possible=torch.zeros_like(learner.possible.possible))
    before = {name: network.clone() for name, network in learner.networks.items()}
    outcome = learner.take_step(0, 0.5)
    batch = learner.pixels.batch(SMALL.rays, learner.background, SMALL.seed, 0, central=False)
    expected = float((batch.colors - batch.backgrounds).square().mean())
    assert float(outcome.squared_error) == pytest.approx(expected, rel=1e-5) and expected > 0.01
    assert float(outcome.loss) == pytest.approx(2 * expected, rel=1e-5)
    assert same(learner.networks, before) and not learner.snapshot().shade(batch.rays).alphas.any()


def test_photos_with_alpha_say_where_the_networks_are_asked():
    """In cells that hold all blobs, and in few others; everywhere where photos have no alpha."""
    blobs = truth(3)
    scene = make_scene(has_alpha=True, gaussians=blobs)
    space, possible = mlp_cells(scene, replace(SMALL, occupancy_cells=64))
    assert possible is not None
    random = torch.Generator().manual_seed(0)
    around = blobs.means_world[:, None] + 0.05 * torch.randn(3, 40, 3, generator=random)
    anywhere = torch.randn(2000, 3, generator=random)
    anywhere = torch.tensor(space.center) + space.radius * anywhere / anywhere.norm(dim=1, keepdim=True).clamp(min=1)
    held = [
        float(possible.hold(space.from_scene(places)).float().mean()) for places in (around.flatten(0, 1), anywhere)
    ]
    assert held[0] > 0.98 and held[1] < 0.4
    assert mlp_cells(scene, replace(SMALL, occupancy_cells=0)) == (space, None)
    assert mlp_cells(make_scene(), SMALL)[1] is None


@pytest.mark.parametrize("background", ["random", "white"])
def test_what_is_empty_comes_back(background):
    """A ReLU alone has no slope there: where most rays miss the object, nothing was left after a few dozen steps."""
    config = replace(SMALL, precision="float32", background=background, rate_start=5e-3)
    learner = MlpLearner(make_scene(has_alpha=True), config)
    learner.begin()
    rays = image_rays(learner.scene.cameras, 0)
    biases = [layers_of(network, learner.shape)["density"][1] for network in learner.networks.values()]
    while learner.snapshot().shade(rays).alphas.max() > 0:
        for bias in biases:
            bias -= 0.1
    for bias in biases:
        bias -= 0.2  # between the places that were looked at, too
    for step in range(60):
        learner.take_step(step, 0.5)
    assert learner.snapshot().shade(rays).alphas.max() > 0.1


def _differentiable(layers, samples):
    """What `ask` says, by operations that autograd follows."""
    hidden = samples.places
    for i in range(SMALL.depth):
        given = torch.cat([hidden, samples.places], dim=1) if i == SMALL.skip else hidden
        hidden = torch.nn.functional.linear(given, *layers[f"trunk.{i}"]).relu()
    density = torch.nn.functional.linear(hidden, *layers["density"])
    feature = torch.nn.functional.linear(hidden, *layers["feature"])
    view = torch.nn.functional.linear(torch.cat([feature, samples.directions], dim=1), *layers["view"]).relu()
    color, (rays, count) = torch.nn.functional.linear(view, *layers["color"]), samples.t.shape
    return density.view(rays, count), color.view(rays, count, 3)


def test_bfloat16_shows_what_float32_shows():
    scene = make_scene(has_alpha=True)
    config = replace(
        TINY_MLP, steps=60, max_seconds=None, rays=256, coarse_samples=16, width=32, position_frequencies=4
    )
    field = train_field(scene, replace(config, precision="float32")).field
    one, other = (
        render_field(replace(field, dtype=dtype), scene.cameras[:1]).colors for dtype in (torch.float32, torch.bfloat16)
    )
    assert 0 < (one - other).abs().max() < 0.05 and (one - other).abs().mean() < 0.005


def test_broken_numbers_end_the_run_by_name(monkeypatch):
    def broken(*_, **__):
        return torch.full((SMALL.shape.padded_size,), math.nan)

    monkeypatch.setattr("neural3d.train.mlp.gradient_of", broken)
    with pytest.raises(NumericError, match="step 10: .* rows of weights"):
        train_field(make_scene(), SMALL)


def test_objects_get_a_ball_and_places_a_shell():
    ball = field_space(make_scene(has_alpha=True), ndc=False)
    assert isinstance(ball, Ball) and torch.tensor(ball.center).norm() < 0.1 and 0.4 < ball.radius < 1
    shell = field_space(make_scene(), ndc=False)
    assert isinstance(shell, Shell) and 0 < shell.near < 0.7 and 1.3 < shell.far < 3
    without = field_space(make_scene(points=None), ndc=False)
    assert isinstance(without, Shell) and without.near < shell.near < shell.far < without.far


def test_ndc_is_for_captures_that_face_one_way():
    with pytest.raises(InputError, match=r"--ndc: the cameras do not all face one way \(up to \d+ degrees"):
        field_space(make_scene(), ndc=True)
    scene = make_scene(cameras=facing_one_way())
    space = field_space(scene, ndc=True)
    assert isinstance(space, Ndc)
    seen = [image_rays(scene.cameras, i) for i in range(len(scene.cameras))]
    t = torch.tensor([[0.0, 0.5, 1.0]]).expand(len(seen[0]), -1)
    inside = torch.cat([space.place(rays).at(t) for rays in seen])
    assert inside.abs().max() < 1.01, "what the photos see lies in the cube"
    assert space.from_scene(scene.points.means_world)[:, 2].min() > -1
    result = train_field(scene, replace(SMALL, ndc=True, steps=3))
    assert render_field(result.field, scene.cameras[:1]).depths.isfinite().all()


def facing_one_way():
    """A row of cameras that look along parallel axes."""
    cameras = ring(1)
    pose = cameras.camera_from_world.repeat(6, 1, 1)
    pose[:, 0, 3] += torch.linspace(-0.2, 0.2, 6)
    return replace(
        cameras,
        camera_from_world=pose,
        **{name: getattr(cameras, name).repeat(6, 1) for name in ("focal_px", "principal_px", "size_px")},
    )


def test_rays_and_colours_belong_together():
    """A photo whose colour is its pixel's place: what a ray should see says through which pixel it goes."""
    scene = make_scene(2)
    y, x = torch.meshgrid(torch.arange(40), torch.arange(48), indexing="ij")
    photos = tuple(
        replace(photo, pixels=torch.stack([x, y, torch.full_like(x, i)], dim=2).to(torch.uint8))
        for i, photo in enumerate(scene.photos)
    )
    valid = torch.zeros(40, 48, dtype=torch.bool)
    valid[10:20, 5:15] = True
    scene = replace(scene, photos=(photos[0], replace(photos[1], valid=valid)))
    learner = MlpLearner(scene, SMALL)
    batch = learner.pixels.batch(400, "black", 0, 3, central=False)
    column, row, view = (batch.colors * 255).round().long().unbind(1)
    assert valid[row[view == 1], column[view == 1]].all() and 5 < (view == 1).sum() < 60
    camera = scene.cameras
    in_camera = (camera.camera_from_world[view, :3, :3] @ (batch.rays.origins + batch.rays.directions)[..., None])[
        ..., 0
    ] + camera.camera_from_world[view, :3, 3]
    pixels = camera.focal_px[view] * in_camera[:, :2] / in_camera[:, 2:] + camera.principal_px[view]
    assert torch.allclose(pixels, torch.stack([column, row], dim=1) + 0.5, atol=1e-3)
    middle = learner.pixels.batch(400, "black", 0, 3, central=True)
    column, row, _ = (middle.colors * 255).round().unbind(1)
    assert column.min() >= 12 and column.max() < 36 and row.min() >= 10 and row.max() < 30


def test_photos_with_alpha_lie_on_the_backgrounds_of_their_rays():
    scene = make_scene(2, has_alpha=True)
    clear = tuple(replace(photo, alpha=torch.zeros_like(photo.alpha)) for photo in scene.photos)
    learner = MlpLearner(replace(scene, photos=clear), SMALL)
    batch = learner.pixels.batch(50, background_kind("auto", has_alpha=True), 0, 0, central=False)
    assert torch.equal(batch.colors, batch.backgrounds) and len(batch.backgrounds.unique(dim=0)) == 50


def test_a_checkpoint_of_splats_is_refused(tmp_path):
    with Run.create(tmp_path, {}) as run:
        run.save_checkpoint(3, {"gaussians.means_world": torch.zeros(2, 3)}, {"train_seconds": 1.0})
    with Run.resume(tmp_path) as run, pytest.raises(InputError, match="step-00000003: the checkpoint does not hold"):
        train_field(make_scene(), SMALL, run=run)


def test_the_field_of_a_checkpoint_is_the_one_that_was_trained(tmp_path):
    scene = make_scene(has_alpha=True)
    with Run.create(tmp_path, {}) as run:
        result = train_field(scene, SMALL, run=run)
        loaded = field_of(run.latest_checkpoint(), SMALL)
    images = [render_field(field, scene.cameras[:2]) for field in (result.field, loaded)]
    assert torch.equal(images[0].colors, images[1].colors) and torch.equal(images[0].depths, images[1].depths)
    assert torch.equal(loaded.possible.possible, result.field.possible.possible)
    assert loaded.possible.place == result.field.possible.place


@pytest.mark.parametrize("name, value", [("width", 1), ("rays", 0), ("rate_start", 0.0)])
def test_what_cannot_be_trained_is_named(name, value):
    with pytest.raises(InputError, match=f"{name}: expected"):
        MlpConfig(**{name: value})


def test_a_configuration_survives_its_file():
    content = json.loads(json.dumps(asdict(TINY_MLP)))
    assert field_config_from_json("mlp", content) == TINY_MLP
    with pytest.raises(InputError, match="speed: there is no such setting"):
        field_config_from_json("mlp", {**content, "speed": 9})
    with pytest.raises(InputError, match="field: expected mlp"):
        field_config_from_json("other", content)


def test_pieces_come_back_in_order_and_errors_come_through():
    torch.set_num_threads(3)
    assert map_pieces(lambda piece: (piece, torch.get_num_threads()), range(20)) == [(i, 1) for i in range(20)]
    with pytest.raises(ZeroDivisionError):
        map_pieces(lambda piece: 1 / piece, [1, 0])
    assert torch.get_num_threads() == 3


def test_depths_are_those_of_a_wall(monkeypatch):
    """A field that is opaque behind a plane: depth is z, not the distance along the ray."""
    scene = make_scene(points=None)
    field = train_field(scene, replace(SMALL, steps=1, coarse_samples=400, fine_samples=0)).field
    camera, space = scene.cameras[:1], field.space

    def wall(layers, shape, samples):
        angles = samples.places[:, : 3 * shape.position_frequencies].double()
        sines, cosines = angles[:, :: shape.position_frequencies], samples.places[:, 9::3].double()
        inside = torch.atan2(sines, cosines) / np.pi  # the first octave gives the place back
        z = (inside * space.radius + torch.tensor(space.center)) @ camera.forward_world[0].double()
        behind = z - camera.centers_world[0].double() @ camera.forward_world[0].double() > 0.8
        return 1e4 * (2 * behind.float() - 1).view(samples.t.shape), torch.zeros(*samples.t.shape, 3)

    monkeypatch.setattr("neural3d.fields.nerf.answers", wall)
    rendering = render_field(replace(field, dtype=torch.float32), camera)
    assert torch.allclose(rendering.depths, torch.full_like(rendering.depths, 0.8), atol=0.02)
    assert torch.allclose(rendering.alphas, torch.ones_like(rendering.alphas))
