"""Which cells can be occupied: all that hold something, few that hold nothing, and none that no photo sees."""

from dataclasses import replace

import pytest
import torch

from neural3d.errors import InputError
from neural3d.fields.hashgrid import HashGridPlace
from neural3d.reference.march import grid_positions
from neural3d.scene import Photo
from neural3d.train import visual_hull
from neural3d.train.hashgrid_place import hashgrid_place
from neural3d.train.visual_hull import possible_cells, tight_place

from .small_scenes import make_scene, ring, truth

BOX = HashGridPlace((0.0, 0.0, 0.0), 0.9)


def from_afar(views: int, **options):
    """Cameras that see all of the box."""
    return make_scene(cameras=ring(views, radius=2.5), **options)


def cells_of(points, place, side):
    """Numbers (x, y, z) of the cells that points lie in."""
    box = torch.tensor([*place.center, place.half])
    return (grid_positions(points, box, contracted=place.contracted) * side).long().unbind(1)


def is_possible(possible, points, place):
    x, y, z = cells_of(points, place, len(possible))
    return possible[z, y, x]


def test_what_is_there_stays_and_most_of_the_rest_goes():
    possible = possible_cells(from_afar(12, has_alpha=True), BOX, 32)
    assert is_possible(possible, truth().means_world, BOX).all()
    assert 0.001 < possible.float().mean() < 0.3


@pytest.mark.parametrize("has_alpha", [True, False])
def test_from_coarse_to_fine_is_as_cell_by_cell(has_alpha, monkeypatch):
    """But for what is rounded up to pixels twice, where there is alpha."""
    scene = from_afar(3, has_alpha=True) if has_alpha else make_scene(2)
    by_halves = possible_cells(scene, BOX, 32)
    monkeypatch.setattr(visual_hull, "COARSEST_CELLS", 32)
    by_cells = possible_cells(scene, BOX, 32)
    assert 0 < by_cells.sum() < 32**3 and not (by_halves & ~by_cells).any()
    assert (by_halves != by_cells).sum() <= (0.02 * by_cells.sum() if has_alpha else 0)


def test_a_box_is_drawn_tight_around_the_object():
    scene = from_afar(12, has_alpha=True)
    tight = tight_place(scene, HashGridPlace((0.1, 0.0, 0.0), 1.2))
    away = (truth().means_world - torch.tensor(tight.center)).abs()
    assert away.max() < tight.half < 1.0


def test_a_photo_that_says_otherwise_carves_nothing_where_it_is_not_valid():
    scene = from_afar(12, has_alpha=True)
    blind = tuple(
        replace(photo, alpha=torch.zeros_like(photo.alpha), valid=torch.zeros_like(photo.alpha, dtype=torch.bool))
        for photo in scene.photos
    )
    assert possible_cells(replace(scene, photos=blind), BOX, 16).float().mean() > 0.3


def test_one_wrong_photo_of_many_carves_nothing():
    scene = from_afar(60, has_alpha=True)
    wrong: Photo = replace(scene.photos[0], alpha=torch.zeros_like(scene.photos[0].alpha))
    possible = possible_cells(replace(scene, photos=(wrong, *scene.photos[1:])), BOX, 32)
    assert is_possible(possible, truth().means_world, BOX).float().mean() > 0.9


def test_what_no_photo_sees_is_left_out():
    """Without alpha: a camera sees what lies before it, as far as that may be, and not what lies behind it."""
    scene = make_scene(1)
    place = HashGridPlace((0.0, 0.0, 0.0), 1.0, contracted=True)
    possible = possible_cells(scene, place, 64)
    origin, forward = scene.cameras.centers_world, scene.cameras.forward_world
    ahead = origin + torch.tensor([[0.5], [1.0], [3.0], [30.0]]) * forward
    assert is_possible(possible, ahead, place).all()
    assert not is_possible(possible, origin - torch.tensor([[0.5], [3.0]]) * forward, place).any()


def test_photos_that_show_nothing_are_refused():
    scene = make_scene(has_alpha=True)
    clear = tuple(replace(photo, alpha=torch.zeros_like(photo.alpha)) for photo in scene.photos)
    with pytest.raises(InputError, match="alpha leaves no place where anything could be; check the poses"):
        hashgrid_place(replace(scene, photos=clear))
