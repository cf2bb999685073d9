"""Training a field in a hash grid: it improves, resumes to the same bytes, and skips what is empty."""

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from neural3d.errors import InputError
from neural3d.fields.hashgrid import FINEST_STEP
from neural3d.render.fields import render_field
from neural3d.run import Run
from neural3d.train.fields import field_of, train_field
from neural3d.train.hashgrid import EARLY_STEPS, FINEST_CONE, HashGridLearner, hashgrid_place
from neural3d.train.hashgrid_config import HashGridConfig

from .small_scenes import make_scene, ring, same, stop_at

SMALL = HashGridConfig(
    steps=40,
    max_seconds=None,
    samples=4000,
    levels=4,
    log2_rows=10,
    coarsest=4,
    finest=32,
    width=16,
    appearance=2,
    occupancy_cells=16,
    distortion=0.01,
)


def trained(path, config=SMALL, scene=None, **options) -> dict[str, Tensor]:
    with Run.create(path, {}) as run:
        train_field(make_scene(has_alpha=True) if scene is None else scene, config, run=run, **options)
    checkpoint = Run.open(path).latest_checkpoint()
    assert checkpoint is not None
    return checkpoint.tensors


@pytest.mark.parametrize("has_alpha", [True, False])
def test_threads_change_no_byte(has_alpha, tmp_path):
    results = []
    for threads in (1, 2, 3):
        torch.set_num_threads(threads)
        results.append(trained(tmp_path / str(threads), scene=make_scene(has_alpha=has_alpha)))
    assert same(results[0], results[1]) and same(results[0], results[2])


def test_a_run_in_parts_is_the_run_in_one_go(tmp_path):
    expected = trained(tmp_path / "one")
    with Run.create(tmp_path / "parts", {}):
        pass
    for before, stop in ((0, 1), (1, 18), (18, 40)):
        with Run.resume(tmp_path / "parts") as run:
            watchers = [stop_at(stop - before)] if stop < 40 else []
            train_field(make_scene(has_alpha=True), SMALL, run=run, observers=watchers)
    checkpoint = Run.open(tmp_path / "parts").latest_checkpoint()
    assert checkpoint.step == 40 and same(checkpoint.tensors, expected)


def psnr_of(field, scene) -> float:
    errors = []
    for i, photo in enumerate(scene.photos):
        seen = render_field(field, scene.cameras[i], background=torch.zeros(3)).colors[0].clamp(0, 1)
        alpha = 1 if photo.alpha is None else photo.alpha[..., None] / 255
        errors.append((seen - alpha * photo.pixels / 255).square().mean())
    return -10 * math.log10(float(torch.stack(errors).mean()))


def test_a_fit_improves():
    """From grey fog to blobs that one recognises."""
    scene = make_scene(has_alpha=True)
    config = replace(SMALL, steps=400, samples=40_000, appearance=0, distortion=0.0)
    found = train_field(scene, config).field
    first = train_field(scene, replace(config, steps=1)).field
    assert psnr_of(found, scene) > max(15.0, psnr_of(first, scene) + 5)


def test_empty_space_is_found_and_rays_are_added():
    """After a while most of the box is known to be empty, and a step's samples are spread over more rays."""
    learner = HashGridLearner(make_scene(has_alpha=True), replace(SMALL, samples=40_000))
    learner.begin()
    assert torch.equal(learner.occupied, learner.possible) and not learner.possible.all()
    rays = []
    for step in range(300):
        learner.take_step(step, step / 300)
        rays.append(learner.rays)
    assert learner.occupied.sum() < 0.7 * learner.possible.sum() and not (learner.occupied & ~learner.possible).any()
    assert rays[-1] > rays[EARLY_STEPS + 1], "it looked everywhere then"


@pytest.mark.parametrize("has_alpha", [True, False])
def test_steps_are_no_shorter_than_pixels(has_alpha):
    """Of a ring of radius 1 with a focal length of 45 px; with a very long one they are the paper's."""
    place = hashgrid_place(make_scene(has_alpha=has_alpha))
    near = make_scene(cameras=replace(ring(8), focal_px=torch.full((8, 2), 1e4)), has_alpha=has_alpha, points=40)
    if has_alpha:
        assert place.step * place.half == pytest.approx(1 / 45, rel=0.1) and place.cone == 0
    else:
        assert place.step == FINEST_STEP and place.cone == pytest.approx(1 / 45)
        assert hashgrid_place(near).cone == FINEST_CONE


def test_what_another_training_left_is_refused(tmp_path):
    trained(tmp_path / "run", replace(SMALL, steps=1))
    checkpoint = Run.open(tmp_path / "run").latest_checkpoint()
    assert field_of(checkpoint, SMALL).shape == SMALL.shape
    with pytest.raises(InputError, match=r"hashgrid.table: expected a tensor of"):
        field_of(checkpoint, replace(SMALL, log2_rows=9))


@pytest.mark.parametrize(
    "name, value", [("steps", 0), ("levels", 33), ("finest", 3), ("width", 129), ("log2_features", 4), ("samples", 0)]
)
def test_what_cannot_be_trained_is_refused(name, value):
    with pytest.raises(InputError, match=name):
        replace(SMALL, **{name: value})
