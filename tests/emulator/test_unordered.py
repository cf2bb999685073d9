"""Drivers that add by atomics, which benchmarks time the library's own against: they compute the same sums."""

import pytest
import torch
from ops.random_rays import field_arguments
from ops.tolerances import assert_close

from .build import ORDERS, emulated_operators, unordered_operators
from .test_rasterize import scene

pytestmark = pytest.mark.long  # it compiles what nothing else uses


@pytest.fixture(params=ORDERS)
def unordered(request: pytest.FixtureRequest):
    operators = unordered_operators()
    operators.set_order(request.param)
    yield operators
    operators.set_order(ORDERS[0])


@pytest.mark.parametrize("channels", [3, 5])
def test_splats_are_pulled_as_much(unordered, channels):
    """By more than one group of channels, too."""
    made, cutoffs = scene(300, (40, 33), channels, torch.float64, spread=0.3), (1 / 255, 1e-4)
    blended = made.blend(emulated_operators(), cutoffs)
    expected = made.pull(emulated_operators(), cutoffs, blended)
    for actual, wanted in zip(made.pull(unordered, cutoffs, blended), expected, strict=True):
        assert_close(actual, wanted, "float64 twin")


def test_a_hash_grid_is_pulled_as_much(unordered):
    values = field_arguments(torch.float64)["hash_encode_vjp"]
    expected = emulated_operators().hash_encode_vjp(*values)
    for actual, wanted in zip(unordered.hash_encode_vjp(*values), expected, strict=True):
        assert_close(actual, wanted, "float64 twin")
