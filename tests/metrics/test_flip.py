"""FLIP against the numbers of its authors' own program, and its laws.

The expected values come from flip-evaluator 1.7 (the C++ code of the paper's authors) on the images made below.
"""

import pytest
import torch

from neural3d.metrics import flip, flip_map


def pair(height: int, width: int) -> tuple[torch.Tensor, torch.Tensor]:
    """A smooth photo with a red box, and the same with another gamma in red and an inverted box."""
    y, x = torch.meshgrid(torch.linspace(0, 1, height), torch.linspace(0, 1, width), indexing="ij")
    photo = torch.stack([x, y, 0.5 + 0.5 * torch.sin(9 * x + 5 * y)], dim=-1)
    photo[height // 4 : height // 2, width // 4 : width // 2] = torch.tensor([0.9, 0.1, 0.2])
    image = photo.clone()
    image[..., 0] = image[..., 0] ** 1.3
    box = (slice(height // 3, 2 * height // 3), slice(width // 2, None))
    image[box] = 1 - image[box]
    return photo, image


@pytest.mark.parametrize(
    ("height", "width", "pixels_per_degree", "mean", "corners"),
    [
        (48, 64, 67.0206, 0.3099920, (0.003241225, 0.02799615, 0.004637406, 0.01305927)),
        (33, 17, 67.0206, 0.3155714, (0.0158137, 0.06993686, 0.01869838, 0.02840182)),
        (48, 64, 30.0, 0.2933561, (0.002367611, 0.012398, 0.003061625, 0.00846401)),
    ],
)
def test_equals_the_authors_program(height, width, pixels_per_degree, mean, corners):
    photo, image = pair(height, width)
    errors = flip_map(image, photo, pixels_per_degree)
    assert float(errors.mean()) == pytest.approx(mean, abs=2e-6)
    assert errors[[0, 0, -1, -1], [0, -1, 0, -1]].tolist() == pytest.approx(corners, abs=1e-5)


def test_black_against_white():
    assert flip(torch.ones(8, 8, 3), torch.zeros(8, 8, 3)) == pytest.approx(0.9673882, abs=5e-6)


def test_equal_images_have_no_error_and_the_order_does_not_matter():
    photo, image = pair(20, 24)
    assert flip(photo, photo) == 0
    assert flip(image, photo) == pytest.approx(flip(photo, image), abs=1e-6)


def test_errors_stay_between_0_and_1():
    errors = flip_map(torch.rand(16, 16, 3) * 3 - 1, torch.rand(16, 16, 3))
    assert errors.min() >= 0 and errors.max() <= 1


def test_only_valid_pixels_count():
    photo, image = pair(24, 24)
    valid = torch.zeros(24, 24, dtype=torch.bool)
    valid[:6] = True
    image = torch.where(valid[..., None], photo, image)
    assert flip(image, photo, valid) == 0 < flip(image, photo)
