"""A grid's memory of where something is."""

import pytest
import torch


def grids(side: int, value: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Densities and flags."""
    return torch.full((side, side, side), value), torch.zeros(side, side, side, dtype=torch.bool)


def test_memory_fades_and_is_raised(backend):
    """0.5 fades to 0.4; of 0.1 and 0.6 found in one cell the larger counts, and 0.3 changes nothing."""
    densities, occupied = grids(2, 0.5)
    cells, found = torch.tensor([3, 3, 6], dtype=torch.int32), torch.tensor([0.6, 0.1, 0.3])
    backend.update_occupancy(densities, occupied, cells, found, decay=0.8, threshold=0.45)
    assert densities.view(-1).tolist() == pytest.approx([0.4, 0.4, 0.4, 0.6, 0.4, 0.4, 0.4, 0.4])
    # The mean, 0.425, is below the threshold.
    assert occupied.view(-1).nonzero()[:, 0].tolist() == [3]


def test_the_threshold_counts_where_the_mean_is_higher(backend):
    densities, occupied = grids(2, 0.5)
    densities[0, 0, 0] = 0.0
    nobody = (torch.zeros(0, dtype=torch.int32), torch.zeros(0))
    backend.update_occupancy(densities, occupied, *nobody, decay=1.0, threshold=0.01)
    assert occupied.sum() == 7 and not occupied[0, 0, 0]


def test_twins_agree(native, reference):
    generator = torch.Generator().manual_seed(0)
    cells = torch.randint(0, 33**3, (9000,), generator=generator, dtype=torch.int32)
    found = torch.rand(9000, generator=generator) ** 3
    ours, theirs = grids(33, 0.2), grids(33, 0.2)
    for step in range(3):
        for backend, (densities, occupied) in ((native, ours), (reference, theirs)):
            backend.update_occupancy(densities, occupied, cells + step - 1 & 32767, found, decay=0.7, threshold=0.5)
        assert torch.equal(ours[0], theirs[0]) and torch.equal(ours[1], theirs[1])
    assert 0 < ours[1].sum() < 33**3


def test_a_cell_that_is_not_there(native):
    for cell in (-1, 8):
        with pytest.raises(ValueError, match="cells: expected 0 to 7"):
            native.update_occupancy(*grids(2, 0.0), torch.tensor([cell], dtype=torch.int32), torch.ones(1),
                                    decay=1.0, threshold=0.0)  # fmt: skip
