"""nerfacc's kernel for packed sums on the CPU: its own dense form, ray by ray; all else of nerfacc stays as it is."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from unittest.mock import patch

import pytest
import torch
from torch import Tensor


def nerfacc_module() -> ModuleType:
    """nerfacc; the test is skipped without it."""
    with warnings.catch_warnings():  # its docstrings have escapes that Python does not know
        warnings.simplefilter("ignore")
        return pytest.importorskip("nerfacc", reason="nerfacc is not installed; the extra [test] has it")


def exclusive_sum(starts: Tensor, counts: Tensor, inputs: Tensor, normalize: bool, backward: bool) -> Tensor:
    """Of each chunk, of what comes before a number, or, on the way back, of what comes after it."""
    assert not normalize
    dense = nerfacc_module().exclusive_sum
    parts = []
    for start, count in zip(starts.tolist(), counts.tolist(), strict=True):
        part = inputs[start : start + count]
        parts.append(dense(part.flip(0)).flip(0) if backward else dense(part))
    return torch.cat(parts) if parts else inputs.clone()


@contextmanager
def nerfacc_on_cpu() -> Iterator[None]:
    """Nerfacc as if its kernels ran on the CPU."""
    nerfacc_module()
    with patch("nerfacc.cuda.exclusive_sum", exclusive_sum):
        yield
