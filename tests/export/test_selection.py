"""What is kept is what was asked for, and what matters most is what the cameras see most of."""

import dataclasses

import pytest
import torch

from neural3d.cameras import Cameras
from neural3d.errors import InputError
from neural3d.export.selection import Selection, blend_weights, cameras_around, select
from neural3d.render.paths import look_at
from neural3d.render.splats import render_splats
from neural3d.scene import Similarity

from .splats import IDENTITY, like_a_scene


def cameras(count: int = 3) -> Cameras:
    places = torch.nn.functional.normalize(torch.randn(count, 3, dtype=torch.float64), dim=1) * 6
    poses = look_at(places, torch.zeros(count, 3).double(), torch.tensor([0.0, -1, 0])).float()
    size = torch.tensor([[64, 48]]).expand(count, 2)
    return Cameras(poses, torch.full((count, 2), 60.0), size / 2, size)


def test_a_box_is_meant_in_the_frame_of_the_capture():
    gaussians = like_a_scene(200)
    capture_from_scene = Similarity(2.0, torch.eye(3).double(), torch.tensor([1.0, 0, 0]).double())
    found = select(gaussians, Selection(box=(1, -1, -1, 3, 1, 1)), capture_from_scene=capture_from_scene)
    moved = 2 * gaussians.means_world + torch.tensor([1.0, 0, 0])
    low, high = torch.tensor([1.0, -1, -1]), torch.tensor([3.0, 1, 1])
    assert found.tolist() == ((moved >= low) & (moved <= high)).all(1).nonzero()[:, 0].tolist()
    assert 0 < len(found) < 200


def test_transparent_ones_go_first_the_rest_by_weight():
    gaussians = like_a_scene(200)
    selection = Selection(min_opacity=0.3, max_splats=40)
    found = select(gaussians, selection, capture_from_scene=IDENTITY)
    assert len(found) == 40 and torch.equal(found, found.sort().values)
    assert (torch.sigmoid(gaussians.logit_opacities[found]) >= 0.3).all()
    others = (torch.sigmoid(gaussians.logit_opacities) >= 0.3) & ~torch.isin(torch.arange(200), found)
    weights = blend_weights(gaussians, cameras_around(gaussians))
    assert weights[found].min() >= weights[others].max()


def test_a_model_without_cameras_is_seen_from_everywhere():
    """Behind a shell that hides it from outside, the middle still counts."""
    shell = torch.nn.functional.normalize(torch.randn(300, 3), dim=1) * 3
    inside = torch.randn(50, 3) * 0.2
    gaussians = dataclasses.replace(
        like_a_scene(350),
        means_world=torch.cat([shell, inside]),
        log_scales=torch.cat([torch.full((300, 3), -0.5), torch.full((50, 3), -2.5)]),
        logit_opacities=torch.full((350,), 4.0),
    )
    weights = blend_weights(gaussians, cameras_around(gaussians))
    assert (weights[:300] > 0).float().mean() > 0.9 and (weights[300:] > 0).float().mean() > 0.5


def test_nothing_said_keeps_everything():
    gaussians = like_a_scene(10)
    assert select(gaussians, Selection(), capture_from_scene=IDENTITY).tolist() == list(range(10))
    assert select(gaussians, Selection(max_splats=99), capture_from_scene=IDENTITY).tolist() == list(range(10))


def test_weights_add_up_to_what_the_pictures_are_covered_with():
    gaussians, views = like_a_scene(60), cameras()
    covered = sum(float(render_splats(gaussians, views[i : i + 1]).alphas.sum()) for i in range(3))
    assert float(blend_weights(gaussians, views).sum()) == pytest.approx(covered, rel=1e-4)


def test_what_no_camera_sees_weighs_nothing_and_goes():
    gaussians, views = like_a_scene(60), cameras()
    hidden = gaussians.means_world.clone()
    hidden[:20] = 100.0
    gaussians = dataclasses.replace(gaussians, means_world=hidden)
    assert (blend_weights(gaussians, views)[:20] == 0).all()
    found = select(gaussians, Selection(max_splats=30), capture_from_scene=IDENTITY, cameras=views)
    assert len(found) == 30 and found.min() >= 20


@pytest.mark.parametrize(
    ("selection", "message"),
    [
        (Selection(box=(0, 0, 0, 1, 0, 1)), "--crop 0 0 0 1 0 1"),
        (Selection(box=(0, 0, float("nan"), 1, 1, 1)), "--crop"),
        (Selection(box=(50, 50, 50, 51, 51, 51)), "none of the 10 Gaussians is left"),
        (Selection(min_opacity=-0.1), "--min-opacity"),
        (Selection(min_opacity=float("nan")), "--min-opacity"),
        (Selection(min_opacity=1.0), "is left"),
        (Selection(max_splats=0), "--max-splats 0"),
    ],
)
def test_limits_that_make_no_sense(selection: Selection, message: str):
    with pytest.raises(InputError, match=message):
        select(like_a_scene(10), selection, capture_from_scene=IDENTITY)
