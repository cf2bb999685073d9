"""What the ways to look along rays share."""

import pytest
import torch

from neural3d.ops.records import HashLevels
from neural3d.train.search import update_table

LEVELS = HashLevels(count=1, coarsest=3, finest=3, log2_rows=6)


@pytest.mark.parametrize("features", [1, 2, 4, 8])
def test_only_what_is_pulled_at_moves(features):
    """One corner's row of the table, of which one feature; a negative zero pulls at nothing, NaN leaves all alone."""
    corner, pulls = torch.tensor([[0.0, 1.0, 0.0]]), torch.full((1, features), -0.0)
    pulls[0, -1] = 0.5
    rows = tuple(torch.ones(64, features) for _ in range(3))
    assert update_table(rows, LEVELS, corner, pulls, 0.1, 0) == 0
    for tensor in rows:
        assert (tensor != 1).nonzero().tolist() == [[4 * 3, features - 1]]
    pulls[0, 0] = torch.nan
    assert update_table(rows, LEVELS, corner, pulls, 0.1, 1) == 8, "the corners of a cell, whatever their weight"
    assert all(tensor.isfinite().all() and (tensor != 1).sum() == 1 for tensor in rows)
