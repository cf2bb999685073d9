"""Training a field in a hash grid: it improves, and skips what is empty."""

from dataclasses import replace

import pytest
import torch

from neural3d.errors import InputError
from neural3d.fields.hashgrid import FINEST_STEP
from neural3d.train.fields import field_of, train_field
from neural3d.train.hashgrid import HashGridLearner
from neural3d.train.hashgrid_place import hashgrid_place
from neural3d.train.occupancy_search import EARLY_STEPS

from .field_runs import SMALL_HASHGRID as SMALL
from .field_runs import field_psnr, trained
from .small_scenes import make_scene


def test_a_fit_improves():
    """From grey fog to blobs that one recognises."""
    scene = make_scene(has_alpha=True)
    config = replace(SMALL, steps=400, samples=40_000, appearance=0, distortion=0.0)
    found = train_field(scene, config).field
    first = train_field(scene, replace(config, steps=1)).field
    assert field_psnr(found, scene) > max(15.0, field_psnr(first, scene) + 5)


def test_empty_space_is_found_and_rays_are_added():
    """After a while most of the box is known to be empty, and a step's samples are spread over more rays."""
    learner = HashGridLearner(make_scene(has_alpha=True), replace(SMALL, samples=40_000))
    learner.begin()
    assert torch.equal(learner.search.occupied, learner.search.possible) and not learner.search.possible.all()
    rays = []
    for step in range(300):
        learner.take_step(step, step / 300)
        rays.append(learner.rays)
    assert (
        learner.search.occupied.sum() < 0.7 * learner.search.possible.sum()
        and not (learner.search.occupied & ~learner.search.possible).any()
    )
    assert rays[-1] > rays[EARLY_STEPS + 1], "it looked everywhere then"


def test_steps_are_no_shorter_than_pixels():
    """Of a ring of radius 1 with a focal length of 45 px."""
    place = hashgrid_place(make_scene(has_alpha=True))
    assert place.step * place.half == pytest.approx(1 / 45, rel=0.1) and place.step > FINEST_STEP


def test_a_place_without_bounds_lies_around_most_points():
    """Far points by mistake move it little; without points there is one, too."""
    scene = make_scene(points=200)
    place, wild = hashgrid_place(scene), scene.points.means_world.clone()
    wild[::25] *= 1e4
    moved = hashgrid_place(replace(scene, points=replace(scene.points, means_world=wild)))
    assert place.contracted and place.center == pytest.approx(moved.center, abs=0.05)
    assert place.half == pytest.approx(moved.half, rel=0.2) and 0.3 < place.half < 0.8
    assert 0 < place.near < place.knee < place.far and place.knee == pytest.approx(1.0, abs=0.2)
    bare = hashgrid_place(make_scene(points=None))
    assert bare.contracted and bare.near < bare.knee < bare.far


@pytest.mark.parametrize("gains", [None, [0.7, 1.4] * 4])
def test_a_fit_without_bounds_improves(gains):
    """As one with alpha does; and photos that differ in exposure are told from a scene that changes."""
    scene = make_scene(gains=gains)
    config = replace(SMALL, steps=300, open_rays=600, appearance=0, distortion=None, exposure_rate=3e-2)
    learner = HashGridLearner(scene, config)
    learner.begin()
    for step in range(300):
        learner.take_step(step, step / 300)
    found, mean = learner.snapshot(), make_scene()
    assert field_psnr(found, mean) > 17
    if gains is not None:
        brightness = learner.exposure.matrices.view(-1, 3, 4)[:, [0, 1, 2], [0, 1, 2]].mean(dim=1)
        assert (brightness[1::2].mean() / brightness[::2].mean()).item() > 1.1


def test_exposures_are_left_out_if_asked():
    learner = HashGridLearner(make_scene(), replace(SMALL, exposure="none"))
    learner.begin()
    learner.take_step(0, 0.0)
    assert learner.exposure is None and not any(name.startswith("exposure") for name in learner.tensors())


def test_what_another_training_left_is_refused(tmp_path):
    checkpoint = trained(tmp_path / "run", replace(SMALL, steps=1)).checkpoint
    assert field_of(checkpoint, SMALL).shape == SMALL.shape
    with pytest.raises(InputError, match=r"hashgrid.table: expected a tensor of"):
        field_of(checkpoint, replace(SMALL, log2_rows=9))
    open_one = trained(tmp_path / "open", replace(SMALL, steps=1), make_scene()).checkpoint
    with pytest.raises(InputError, match=r"hashgrid.proposals: expected a tensor of"):
        field_of(replace(checkpoint, meta=open_one.meta), SMALL)


@pytest.mark.parametrize(
    "name, value",
    [
        ("steps", 0),
        ("levels", 33),
        ("finest", 3),
        ("width", 129),
        ("log2_features", 4),
        ("samples", 0),
        ("ray_samples", 1),
    ],
)
def test_what_cannot_be_trained_is_refused(name, value):
    with pytest.raises(InputError, match=name):
        replace(SMALL, **{name: value})
