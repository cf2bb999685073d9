"""The emulator finds what it is there to find: each planted mistake, by the name of its kernel and thread."""

import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch
from torch import Tensor

from .build import HERE, ORDERS, REPOSITORY, build, sanitized_environment

NUMBERS = torch.arange(64.0)
PLANTED = [HERE / "planted.cu", REPOSITORY / "cuda_ext" / "cuda" / "primitives.cu"]


@pytest.fixture(scope="module")
def planted() -> ModuleType:
    """The operators of planted.cu."""
    torch.ops.load_library(str(build("neural3d_planted", PLANTED)))
    return torch.ops.neural3d_planted


@pytest.fixture(scope="module")
def sanitized() -> Path:
    """Their library, built with the sanitizers."""
    return build("neural3d_planted", PLANTED, sanitized=True)


def in_each_order(planted: ModuleType, kernel: str, *, blocks: int = 1, rows: int = 1) -> list[Tensor]:
    """What a kernel makes of 0 to 63, with threads and blocks in each order."""
    results = []
    for order in ORDERS:
        planted.set_order(order)
        results.append(planted.run(NUMBERS, kernel, blocks, rows))
    planted.set_order(ORDERS[0])
    return results


def test_a_right_kernel_gives_one_result_in_every_order(planted):
    for kernel in ("reverse", "reverse_in_dynamic_memory"):
        for result in in_each_order(planted, kernel):
            assert torch.equal(result[0], NUMBERS.flip(0))
    for result in in_each_order(planted, "add_up"):
        assert result[0, 0] == NUMBERS.sum()


@pytest.mark.parametrize(
    "kernel, blocks", [("reverse_without_barrier", 1), ("reverse_warp_without_barrier", 1), ("count_on_blocks", 8)]
)
def test_a_race_gives_different_results(planted, kernel, blocks):
    results = in_each_order(planted, kernel, blocks=blocks)
    different = [not torch.equal(results[0].nan_to_num(-7), other.nan_to_num(-7)) for other in results[1:]]
    assert any(different)


def test_shared_memory_begins_as_garbage(planted):
    (result, *_) = in_each_order(planted, "forget_to_write")
    assert result[0].isnan().nonzero().flatten().tolist() == [5]


@pytest.mark.parametrize(
    "kernel, thread, complaint",
    [
        ("leave_early", 3, r"has left the kernel while others wait at __syncthreads \(.*planted.cu:\d+\)"),
        ("wait_apart", 7, r"waits at __syncthreads \(.*\) while others wait at __syncthreads"),
        ("wait_for_one_who_left", 0, r"waits at __shfl_xor_sync \(.*\) for lane 5, which has left the kernel"),
        ("read_a_lane_apart", 0, r"__shfl_sync \(.*\) reads lane 9, which its mask does not name"),
        ("wait_for_each_other", 0, r"waits for ever at __shfl_xor_sync"),
        ("take_too_much", 0, "takes more shared memory than a block has"),
    ],
)
def test_a_mistake_is_named(planted, kernel, thread, complaint):
    where = rf"kernel {kernel}, block \(0, 0, 0\), thread \({thread}, 0, 0\) {complaint}"
    with pytest.raises(RuntimeError, match=where):
        planted.run(NUMBERS, kernel, 1, 1)
    assert torch.equal(planted.run(NUMBERS, "reverse", 1, 1)[0], NUMBERS.flip(0)), "what failed leaves nothing behind"


def test_threads_speak_as_on_the_chip(planted):
    i = torch.arange(64)
    lane, first = i % 32, i // 32 * 32
    up, down = torch.where(lane >= 2, i - 2, i), torch.where(lane % 16 < 14, i + 2, i)
    warp_total = torch.stack([NUMBERS[:32].sum(), NUMBERS[32:].sum()]).repeat_interleave(32)
    expected = [
        *(first + 3, first + lane // 8 * 8 + 3, up, down, i ^ 5),
        *(torch.full((64,), 1 << 1 | 1 << 17), (i >= 32), (i < 32), (1 << lane % 16) | (1 << lane % 16 + 16)),
        *(torch.full((64,), 22), torch.ones(64), torch.zeros(64)),
        *(warp_total * lane, warp_total, torch.full((64,), 31)),
    ]
    for result in in_each_order(planted, "speak", rows=len(expected)):
        for said, wanted in zip(result, expected, strict=True):
            assert torch.equal(said, wanted.float())


@pytest.mark.parametrize("bits", [32, 3])
def test_sorting_is_stable_and_totals_do_not_overflow(planted, bits):
    keys = torch.randint(0, 1 << 31, (1000,), dtype=torch.int32)
    keys[::3] = keys[0]
    sorted_keys, order, sums, total = planted.sort_and_sum(keys, bits)
    expected = (keys.long() & ((1 << bits) - 1)).sort(stable=True).indices
    assert torch.equal(order[1].long(), expected) and torch.equal(sorted_keys, keys[expected])
    assert torch.equal(sums, (keys.long().cumsum(0) - keys).int()) and total.item() == keys.sum().item()


@pytest.mark.parametrize(
    "kernel, complaints",
    [
        ("read_past_the_end", ["heap-buffer-overflow", "kernel read_past_the_end, block (0, 0, 0), thread (63, 0, 0)"]),
        ("write_before_the_start", ["heap-buffer-overflow", "WRITE of size 4", "thread (0, 0, 0)"]),
        ("read_past_dynamic_memory", ["heap-buffer-overflow", "thread (63, 0, 0)"]),
        ("read_past_shared", ["index 64 out of bounds for type 'float [64]'", "in read_past_shared"]),
    ],
)
def test_foreign_memory_is_found_under_the_sanitizers(sanitized, kernel, complaints):
    result = run_sanitized(sanitized, kernel)
    assert result.returncode != 0
    assert all(complaint in result.stderr for complaint in complaints), result.stderr


def test_the_sanitizers_do_not_mind_threads_that_take_turns(sanitized):
    result = run_sanitized(sanitized, "speak")
    assert result.returncode == 0, result.stderr


def run_sanitized(library: Path, kernel: str) -> subprocess.CompletedProcess:
    """In a process of its own: what the sanitizers find ends it."""
    command = [sys.executable, str(HERE / "sanitized_kernel.py"), str(library), kernel]
    return subprocess.run(command, env=sanitized_environment(), capture_output=True, text=True, timeout=300)
