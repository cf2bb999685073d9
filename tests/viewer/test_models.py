"""What is on show: selecting, deleting and undoing, cropping, and several models as one."""

import math
import threading
from dataclasses import replace

import pytest
import torch

from neural3d.render.splats import render_splats
from neural3d.scene import Similarity
from neural3d.splats.gaussians import Gaussians
from neural3d.viewer.document import Document
from neural3d.viewer.models import MAIN, MAX_UNDO, Entry, Models, placed_at
from neural3d.viewer.regions import Region, in_rectangle, in_stroke, region_around
from neural3d.viewer.space import View, cameras_from_view

TURNED = (math.cos(math.pi / 8), 0.0, 0.0, math.sin(math.pi / 8))
"""45 degrees about z."""
VIEW = View((1.0, 0.0, 0.0, 0.0), (0.0, 0.0, -4.0), 1.0, 64, 48)


def some(count: int = 60, degree: int = 1) -> Gaussians:
    generator = torch.Generator().manual_seed(3)
    return Gaussians(
        means_world=torch.randn(count, 3, generator=generator) * 0.5,
        log_scales=torch.full((count, 3), -2.5),
        quats_wxyz=torch.randn(count, 4, generator=generator),
        logit_opacities=torch.full((count,), 2.0),
        sh=torch.randn(count, (degree + 1) ** 2, 3, generator=generator) * 0.4,
    )


@pytest.fixture
def document() -> Document:
    found = Document(lambda: None)
    found.replace_main(lambda models: models.with_main(some()))
    return found


def test_a_box_holds_what_is_inside_of_it_turned():
    box = Region("Box", (1.0, 0.0, 0.0), (2.0, 0.2, 4.0), TURNED)
    along = torch.tensor([math.cos(math.pi / 4), math.sin(math.pi / 4), 0.0])
    across = torch.tensor([-along[1], along[0], 0.0])
    center = torch.tensor([1.0, 0.0, 0.0])
    points = torch.stack([center + 0.99 * along, center + 1.01 * along, center + 0.09 * across, center + 0.11 * across])
    assert box.contains(points).tolist() == [True, False, True, False]


def test_a_sphere_is_the_ellipsoid_in_the_box():
    ball = Region("Sphere", (0.0, 0.0, 0.0), (2.0, 4.0, 2.0))
    points = torch.tensor([[0.99, 0, 0], [1.01, 0, 0], [0, 1.99, 0], [0.9, 1.9, 0]])
    assert ball.contains(points).tolist() == [True, False, True, False]


def test_a_first_region_holds_the_bulk_and_no_stray_points():
    points = torch.cat([torch.rand(1000, 3), torch.tensor([[500.0, 0, 0], [float("nan")] * 3])])
    region = region_around(points, "Box")
    assert 0.8 < float(region.contains(points[:1000]).float().mean()) and max(region.size) < 1.5
    assert region_around(points[1001:], "Sphere").size == (1.0, 1.0, 1.0)


def test_rectangles_and_strokes_hold_what_is_seen_in_them():
    points = torch.tensor([[0.0, 0.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, -8.0]])
    focal = 24 / math.tan(0.5)
    x = (32 + focal / 4) / 64  # where the second is seen
    assert in_rectangle(points, VIEW, (0.4, 0.4), (0.6, 0.6)).tolist() == [True, False, False]
    assert in_rectangle(points, VIEW, (x - 0.02, 0.4), (x + 0.02, 0.6)).tolist() == [False, True, False]
    assert in_stroke(points, VIEW, [(0.5, 0.5)], 3.0).tolist() == [True, False, False]
    assert in_stroke(points, VIEW, [(0.5, 0.5)], focal / 4 + 1).tolist() == [True, True, False], "not what lies behind"
    passing = [(0.4, 0.4), (0.4, 0.5), (x + 0.1, 0.5)]
    assert in_stroke(points, VIEW, passing, 1.0).tolist() == [True, True, False], "between the places, too"
    assert in_stroke(points, VIEW, passing[:2], 1.0).tolist() == [False, False, False], "and not beyond the end"


def test_select_delete_and_undo(document: Document):
    right = lambda points: points[:, 0] > 0  # noqa: E731
    count = int(right(some().means_world).sum())
    assert document.change(lambda models: models.select(right, "Replace")).num_selected == count
    document.change(lambda models: models.select(lambda points: points[:, 1] > 0, "Remove"))
    upper = int(((some().means_world[:, 0] > 0) & (some().means_world[:, 1] > 0)).sum())
    assert document.models.num_selected == count - upper
    document.change(lambda models: models.select(right, "Add"))
    document.change(Models.delete_selected)
    kept = document.models.merged()
    assert len(kept) == 60 - count and float(kept.means_world[:, 0].max()) <= 0
    assert document.models.num_selected == 0 and document.models.num_deleted == count
    assert document.undo() and document.models.num_selected == count and len(document.models.merged()) == 60
    for _ in range(3):
        assert document.undo()
    assert document.models.num_selected == 0 and not document.undo()


def test_inverting_takes_what_is_there_and_was_not_selected(document: Document):
    document.change(lambda models: models.select(lambda points: points[:, 0] > 0, "Replace"))
    document.change(Models.delete_selected)
    there = len(document.models.merged())
    assert document.change(Models.invert_selection).num_selected == there
    assert document.change(Models.clear_selection).num_selected == 0


def test_undo_leaves_the_crop_alone_and_forgets_what_is_very_old(document: Document):
    region = Region("Box", (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
    document.change(Models.invert_selection)
    document.change(lambda models: replace(models, crop=region), undoable=False)
    assert document.undo() and document.models.crop is region
    for _ in range(MAX_UNDO + 20):
        document.change(Models.invert_selection)
    assert sum(document.undo() for _ in range(MAX_UNDO + 20)) == MAX_UNDO


def test_undo_leaves_hidden_what_is_hidden(document: Document):
    document.change(Models.invert_selection)
    document.change(lambda models: models.changed(MAIN, visible=False), undoable=False)
    assert document.undo() and not document.models[MAIN].visible


def test_changes_of_one_name_in_a_row_are_one_step_back(document: Document):
    def scale(to: float) -> None:
        place = Similarity(to, torch.eye(3, dtype=torch.float64), torch.zeros(3, dtype=torch.float64))
        document.change(lambda models: models.changed(MAIN, world_from_model=place), step="scale")

    for to in (2.0, 3.0, 4.0):
        scale(to)
    document.change(lambda models: models)
    document.change(Models.invert_selection)
    scale(5.0)
    for expected in (4.0, 4.0, 1.0):
        assert document.undo() and document.models[MAIN].world_from_model.scale == expected
    assert not document.can_undo, "what changes nothing is no step"


def test_changes_that_come_later_come_in_order(document: Document):
    done = threading.Event()
    document.later(lambda models: models.select(lambda points: points[:, 0] > 0, "Replace"))
    document.later(lambda models: 1 / 0)
    document.later(Models.delete_selected)
    document.run(document.undo)
    document.run(done.set)
    assert done.wait(20)
    right = int((some().means_world[:, 0] > 0).sum())
    assert document.models.num_selected == right and document.models.num_deleted == 0
    document.close()


@pytest.mark.parametrize("flag", ["antialiased", "linear"])
def test_models_of_other_kinds_cannot_be_one(document: Document, flag: str):
    assert document.models.are_alike
    other = Entry("other", replace(some(9), **{flag: True}), Similarity.identity())
    document.change(lambda models: models.with_entry(other))
    assert not document.models.are_alike
    document.change(lambda models: models.changed("other", visible=False))
    assert document.models.are_alike


def test_a_new_main_model_ends_the_history(document: Document):
    document.change(Models.invert_selection)
    document.replace_main(lambda models: models.with_main(some(50)))
    assert not document.can_undo and document.models.num_selected == 0


def test_a_crop_shows_and_selects_only_what_is_inside(document: Document):
    region = Region("Sphere", (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
    inside = int(region.contains(some().means_world).sum())
    document.change(lambda models: replace(models, crop=region), undoable=False)
    assert 0 < len(document.models.merged()) == inside < 60
    assert document.change(Models.invert_selection).num_selected == inside


def test_a_model_that_is_moved_is_seen_as_by_a_camera_that_moved_the_other_way():
    model, place = some(degree=2), placed_at(TURNED, (0.3, -0.2, 0.1), 1.5)
    moved = Models((Entry("a", model, place),)).merged()
    cameras = cameras_from_view(VIEW, 48)
    ours = render_splats(moved, cameras).colors
    inverse = place.inverse()
    pose = torch.linalg.inv(cameras.camera_from_world[0].double())
    back = torch.eye(4, dtype=torch.float64)
    back[:3, :3], back[:3, 3] = inverse.rotation @ pose[:3, :3], inverse.apply(pose[:3, 3])
    theirs = render_splats(model, replace(cameras, camera_from_world=torch.linalg.inv(back).float()[None])).colors
    assert torch.allclose(ours, theirs, atol=2e-3)


def test_several_models_are_one_and_hidden_ones_are_not_in_it():
    first, second = some(degree=0), some(degree=3)
    place = placed_at(TURNED, (1.0, 0.0, 0.0))
    models = Models((Entry(MAIN, first, Similarity.identity()), Entry("b", second, place)))
    assert len(models.merged()) == 120 and models.merged().sh_degree == 3
    assert len(models.changed("b", visible=False).merged()) == 60
    assert models.changed("b", visible=False).changed(MAIN, visible=False).merged() is None
    assert models.without("b").names == (MAIN,)


def test_what_is_selected_of_a_hidden_model_stays_as_it_is():
    """Keeping only what is selected would delete of it just what was to be kept."""
    models = Models().with_main(some()).with_entry(Entry("cup", some(), Similarity.identity()))
    models = models.select(lambda points: points[:, 0] > 0, "Replace").changed("cup", visible=False)
    of_one = int((some().means_world[:, 0] > 0).sum())
    assert models.num_selected == of_one
    kept = models.invert_selection().delete_selected()
    assert len(kept[MAIN].model) - int(kept[MAIN].deleted.sum()) == of_one
    assert kept["cup"].deleted is None and int(kept["cup"].selected.sum()) == of_one


def test_selected_ones_are_seen_and_do_not_leave_by_exports(document: Document):
    document.change(Models.invert_selection)
    marked, plain = document.models.merged(), document.models.merged(with_selection=False)
    assert not torch.allclose(marked.sh, plain.sh) and torch.equal(plain.sh, some().sh)
    assert (marked.sh[:, 1:] == 0).all(), "in one colour from everywhere"
