"""What the ways to look along rays share."""

import pytest
import torch

from neural3d.train.search import update_rows


@pytest.mark.parametrize("features", [1, 2, 3, 4, 8])
def test_only_rows_with_a_gradient_move(features):
    """Whichever of its numbers it is; a negative zero is none."""
    value, gradient = torch.ones(2 * features + 2, features), torch.zeros(2 * features + 2, features)
    gradient[:features].fill_diagonal_(0.5)
    gradient[features : 2 * features].fill_diagonal_(-0.0)
    gradient[-1] = torch.nan
    moments = torch.ones_like(value), torch.ones_like(value)
    assert update_rows((value, gradient, *moments), 0.1, 0, only_seen=True) == 1
    moved = (value != 1).any(dim=1)
    assert moved[:features].all() and not moved[features:].any()
    assert (moments[0] != 1).any(dim=1).equal(moved)
