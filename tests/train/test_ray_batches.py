"""Which pixels rays are drawn through, and what it takes to know them."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from neural3d.train.random_numbers import Purpose, generator
from neural3d.train.ray_batches import BLOCK, ChosenPixels, PhotoPixels

from .small_scenes import make_scene


def masked_scene(count: int = 5):
    """Photos with masks of all kinds, one without."""
    scene, random = make_scene(count), torch.Generator().manual_seed(0)
    shape = scene.photos[0].pixels.shape[:2]
    masks = [None, torch.rand(shape, generator=random) > 0.5, torch.zeros(shape, dtype=torch.bool)]
    masks += [torch.rand(shape, generator=random) > 0.99, torch.ones(shape, dtype=torch.bool)]
    photos = [replace(photo, valid=mask) for photo, mask in zip(scene.photos, masks, strict=True)]
    return replace(scene, photos=tuple(photos))


def indices_of(scene, part: float | None) -> torch.Tensor:
    """All of them, written out."""
    found, start = [], 0
    for index in scene.train_indices.tolist():
        photo = scene.photos[index]
        height, width = photo.pixels.shape[:2]
        flags = torch.ones(height, width, dtype=torch.bool) if photo.valid is None else photo.valid.clone()
        if part is not None:
            down, across = (((torch.arange(n) + 0.5) / n - 0.5).abs() <= part / 2 for n in (height, width))
            flags &= down[:, None] & across
        found.append(flags.flatten().nonzero()[:, 0] + start)
        start += height * width
    return torch.cat(found)


@pytest.mark.parametrize("share", [0.0, 0.02, 0.5, 1.0])
def test_chosen_pixels_are_found_by_their_rank(share):
    flags = np.random.default_rng(0).random(50 * BLOCK) < share
    flags[7 * BLOCK : 20 * BLOCK] = False
    flags[-1] = True
    chosen, expected = ChosenPixels.of(flags), np.flatnonzero(flags)
    assert len(chosen) == len(expected)
    assert np.array_equal(chosen[np.arange(len(expected))], expected)


@pytest.mark.parametrize("central", [False, True])
def test_draws_are_those_from_a_list_of_all_indices(central):
    scene = masked_scene()
    pixels, indices = PhotoPixels(scene), indices_of(scene, 0.5 if central else None)
    for step in range(5):
        batch = pixels.batch(300, "black", 3, step, central=central)
        drawn = indices[torch.from_numpy(generator(3, Purpose.RAYS, step).integers(0, len(indices), 300))]
        assert torch.equal(batch.colors, pixels.colors[drawn].float() / 255)
        assert torch.equal(batch.views, torch.searchsorted(pixels.starts, drawn, right=True) - 1)


def test_masks_take_a_fraction_of_what_colours_take():
    pixels = PhotoPixels(masked_scene())
    for chosen in (pixels.usable, pixels.central):
        assert chosen.bits.nbytes + chosen.before.nbytes <= 0.25 * len(pixels.colors) + 2 * BLOCK
