"""What moves is found and left out; what does not is learnt as before."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from neural3d.bench.moving_things import measure_moving_things, with_planted
from neural3d.errors import InputError
from neural3d.train.gradients import photo_gradient
from neural3d.train.moving_things import (
    FACTOR,
    FLOOR,
    UNKNOWN,
    MovingThings,
    block_differences,
    doubtful,
    target_of,
)
from neural3d.train.photos import build_pyramid
from tests.train.small_scenes import make_scene, same, stop_at, train, truth

BLACK = torch.zeros(3)


def _photo(pixels: torch.Tensor, valid: torch.Tensor | None = None):
    photo = build_pyramid(make_scene(2), 0).levels[0][0]
    return replace(photo, pixels=(pixels * 255).round().to(torch.uint8).permute(1, 2, 0).contiguous(), valid=valid)


def test_detail_is_no_difference_and_another_colour_is():
    stripes = torch.zeros(3, 48, 48)
    stripes[:, ::2] = 1.0
    assert float(block_differences(torch.full((3, 48, 48), 0.5), stripes, None, 6).max()) < 1e-6
    patch = torch.zeros(3, 50, 40)
    patch[0, 12:24, 6:18] = 0.6
    found = block_differences(torch.zeros(3, 50, 40), patch, None, 6)
    assert found.shape == (9, 7)
    torch.testing.assert_close(found[2:4, 1:3], torch.full((2, 2), 0.2))
    assert float(found.sum()) == pytest.approx(0.8)


def test_what_is_masked_counts_for_nothing():
    target, valid = torch.zeros(3, 12, 12), torch.ones(12, 12, dtype=torch.bool)
    target[:, :, 3:6], valid[:, 3:6] = 1.0, False
    valid[6:, :6] = False
    found = block_differences(torch.zeros(3, 12, 12), target, valid, 6)
    assert bool(found[1, 0].isnan()) and int(found.isnan().sum()) == 1 and float(found.nan_to_num().max()) == 0
    target[:, :6, :2] = 0.3  # two thirds of what counts of the first block
    assert float(block_differences(torch.zeros(3, 12, 12), target, valid, 6)[0, 0]) == pytest.approx(0.2)


@pytest.mark.parametrize("before", [UNKNOWN, 0.02])
def test_hidden_blocks_do_not_say_what_is_typical(before):
    """A small object before a mask: its own blocks alone speak, and nothing does where none is left."""
    hidden, whole = torch.zeros(48, 48, dtype=torch.bool), torch.full((3, 48, 48), 0.5)
    hidden[12:30, 12:30] = True
    masked, alone = (MovingThings(torch.full((1,), before)) for _ in range(2))
    kept = masked.believed(whole, _photo(torch.zeros(3, 48, 48), hidden), BLACK, 0.5)
    alone.believed(whole, _photo(torch.zeros(3, 48, 48)), BLACK, 0.5)
    assert torch.equal(masked.typical, alone.typical)
    assert before < UNKNOWN or torch.equal(kept, hidden), "what is not learnt yet is not what moves"
    masked.believed(whole, _photo(torch.zeros(3, 48, 48), torch.zeros_like(hidden)), BLACK, 0.5)
    assert torch.equal(masked.typical, alone.typical)


def test_lone_blocks_are_excused_and_rims_left_out():
    differences = torch.zeros(8, 8)
    differences[1, 1] = 1.0
    differences[4:6, 4:6] = 1.0
    doubted = doubtful(differences, torch.tensor([0.5]))
    assert doubted[3:7, 3:7].all() and int(doubted.sum()) == 16
    edge = torch.zeros(5, 5)
    edge[0, :2] = edge[1, :2] = 1.0
    assert int(doubtful(edge, torch.tensor([0.5])).sum()) == 9


def test_what_is_typical_is_the_median_over_photos():
    """A third of the photos differs wildly: the scale is that of the others."""
    moving, random = MovingThings.fresh(), torch.Generator().manual_seed(0)
    for step in range(300):
        level = 0.8 if step % 3 == 0 else 0.02 + 0.01 * float(torch.rand(1, generator=random))
        moving.believed(torch.full((3, 40, 48), level), _photo(torch.zeros(3, 40, 48)), BLACK, 0.5)
    assert 0.02 < float(moving.typical) < 0.035


def test_a_first_photo_of_which_nothing_counts_decides_nothing():
    moving = MovingThings.fresh()
    moving.believed(torch.full((3, 40, 48), 0.5), _photo(torch.full((3, 40, 48), 0.5)), BLACK, 0.0)
    for _ in range(150):
        moving.believed(torch.full((3, 40, 48), 0.03), _photo(torch.zeros(3, 40, 48)), BLACK, 0.5)
    assert 0.025 < float(moving.typical) < 0.035


def test_who_asks_twice_in_a_step_is_answered_as_if_once():
    """A gradient that is thrown away must leave nothing behind: neither in what is typical, nor in the answer."""
    seen, right = torch.full((3, 48, 48), 0.5), torch.full((3, 48, 48), 0.45)
    once, twice = MovingThings(torch.full((1,), 0.02)), MovingThings(torch.full((1,), 0.02))
    expected = once.believed(right, _photo(seen), BLACK, 0.5)
    before = twice.typical.clone()
    for shown in (torch.zeros(3, 48, 48), right):
        found = twice.believed(shown, _photo(seen), BLACK, 0.5, before)
    assert torch.equal(found, expected) and torch.equal(twice.typical, once.typical)


def test_a_thing_is_left_out_with_its_rim_once_the_run_has_begun():
    render, seen = torch.full((3, 48, 48), 0.3), torch.full((3, 48, 48), 0.3)
    seen[:, 12:30, 18:36] = 0.9
    moving = MovingThings(torch.full((1,), 0.02))
    photo = _photo(seen)
    assert moving.believed(render, photo, BLACK, 0.01) is None
    kept = moving.believed(render, photo, BLACK, 0.5)
    expected = torch.ones(48, 48, dtype=torch.bool)
    expected[6:36, 12:42] = False
    assert torch.equal(kept, expected)
    faint = _photo(torch.full((3, 48, 48), 0.3 + 0.9 * FLOOR))
    assert moving.believed(render, faint, BLACK, 0.5).all()
    # Where everything differs by as much, nothing does.
    coarse = MovingThings(torch.full((1,), 0.6 / FACTOR))
    assert coarse.believed(render, photo, BLACK, 0.5).all()
    masked = moving.believed(render, _photo(seen, ~expected), BLACK, 0.5)
    assert not (masked & expected).any()


def test_transparent_photos_lie_on_the_background():
    photo = build_pyramid(make_scene(2, has_alpha=True), 0).levels[0][0]
    target = target_of(photo, torch.tensor([0.2, 0.5, 0.8]))
    clear = photo.alpha == 0
    torch.testing.assert_close(target[:, clear], torch.tensor([0.2, 0.5, 0.8])[:, None].expand(-1, int(clear.sum())))


def test_what_is_left_out_pulls_at_nothing():
    """As if the photo's own mask had hidden it: exactly, in the loss and in every gradient."""
    gaussians, photo = truth(), build_pyramid(make_scene(2), 0).levels[0][0]
    kept = torch.ones(photo.pixels.shape[:2], dtype=torch.bool)
    kept[10:30, 12:36] = False
    options = {"sh_degree": 0, "exposure": None, "ssim_weight": 0.2}
    shown = []
    watched = photo_gradient(gaussians, photo, BLACK, believed=lambda image: shown.append(image) or kept, **options)
    masked = photo_gradient(gaussians, replace(photo, valid=kept), BLACK, **options)
    assert torch.equal(watched.loss, masked.loss) and shown[0].shape == (3, *kept.shape)
    assert same(watched.gaussians.tensors(), masked.gaussians.tensors())
    whole = photo_gradient(gaussians, photo, BLACK, **options)
    assert not torch.equal(watched.gaussians.means_world, whole.gaussians.means_world)


def test_a_run_that_was_stopped_ends_in_the_same_bytes(tmp_path):
    from neural3d.run import Run

    scene, options = (
        with_planted(make_scene(6)),
        {"steps": 40, "ignore_moving": True, "initial": truth(), "sh_degree": 0},
    )
    whole = train(scene, **options)
    with Run.create(tmp_path / "run", {}) as run:
        train(scene, run=run, observers=[stop_at(17)], **options)
    with Run.resume(tmp_path / "run") as run:
        assert same(train(scene, run=run, **options).gaussians.tensors(), whole.gaussians.tensors())
    plain = train(scene, steps=40, initial=truth(), sh_degree=0).gaussians
    assert not same(plain.tensors(), whole.gaussians.tensors())


def test_a_run_without_it_cannot_go_on_with_it():
    with pytest.raises(InputError, match="--ignore-moving: the run to resume was trained otherwise"):
        MovingThings.loaded({})


@pytest.mark.long
def test_held_out_views_of_the_bundled_scene():
    """Photos that something passed through teach as much again; photos as they are teach no less."""
    capture = Path(__file__).parents[2] / "scenes" / "teatime"
    rows = measure_moving_things(capture, steps=900, downscale=4.0, every=3)["rows"]
    plain, watched, planted, ignored = (row["psnr"] for row in rows)
    assert ignored > planted + 0.3
    assert watched > plain - 0.1
