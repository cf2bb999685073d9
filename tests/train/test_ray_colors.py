"""Colours of rays as their photos show them: their gradients, and sums by photo."""

import torch

from neural3d.train.ray_colors import photo_colors_of, photo_colors_vjp, photo_sums


def test_gradients_of_photos_colors():
    generator = torch.Generator().manual_seed(0)
    colors = torch.rand(9, 3, generator=generator, dtype=torch.float64).requires_grad_()
    maps = torch.randn(9, 12, generator=generator, dtype=torch.float64).requires_grad_()
    pull = torch.randn(9, 3, generator=generator, dtype=torch.float64)
    found = photo_colors_of(colors, maps)
    matrices = maps.view(-1, 3, 4)
    torch.testing.assert_close(found, (matrices[:, :, :3] @ colors[..., None])[..., 0] + matrices[:, :, 3])
    expected = torch.autograd.grad(found, (colors, maps), pull)
    torch.testing.assert_close(photo_colors_vjp(colors, maps, pull), expected)


def test_sums_by_photo_are_the_same_at_any_number_of_threads():
    """Torch's own `index_put` adds in whatever order its threads come."""
    generator = torch.Generator().manual_seed(0)
    rows, views = torch.randn(9000, 12, generator=generator), torch.randint(0, 5, (9000,), generator=generator)
    torch.set_num_threads(1)
    expected = photo_sums(rows, views, 7)
    for threads in (2, 3):
        torch.set_num_threads(threads)
        assert torch.equal(photo_sums(rows, views, 7), expected)
    torch.testing.assert_close(expected[2], rows[views == 2].sum(dim=0))
    assert (expected[5:] == 0).all() and photo_sums(rows[:, :0], views, 7).shape == (7, 0)
