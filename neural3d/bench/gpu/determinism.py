"""What a fixed order of sums costs: our gradients beside drivers that add by atomics, on the same numbers, in turns."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from neural3d.bench.gpu.operators import our_stages
from neural3d.bench.gpu.timing import interleaved_device_ms
from neural3d.bench.gpu.workloads import SPECS, workload
from neural3d.bench.scenes import SceneSpec
from neural3d.errors import InputError
from neural3d.ops.library import native
from neural3d.ops.records import HashLevels

LEVELS = HashLevels(count=16, coarsest=16, finest=2048, log2_rows=19)
FEATURES, POINTS = 2, 1 << 18
"""Of a hash grid as instant-ngp has it, and of one batch of samples."""


def unordered_operators(library: Path) -> ModuleType:
    """The drivers that add by atomics, as benchmarks/unordered_sums.py has built them.

    Raises:
        InputError: They were not built.
    """
    if not library.is_file():
        raise InputError(f"{library}: there is no such library; build it with: benchmarks/unordered_sums.py {library}")
    torch.ops.load_library(str(library))
    return torch.ops.neural3d_unordered


def measure_determinism(
    device: torch.device,
    unordered: Any,
    *,
    ordered: Any = None,
    specs: tuple[SceneSpec, ...] = SPECS,
    points: int = POINTS,
    levels: HashLevels = LEVELS,
    repeats: int = 50,
) -> dict[str, Any]:
    """Milliseconds of each gradient both ways, and how far two runs on the same numbers are apart.

    `unordered` and `ordered` (our own) are namespaces of operators.
    `apart` is the largest difference of two runs by the largest number: 0 where the order is fixed.
    """
    ordered = native() if ordered is None else ordered
    pulls = {f"rasterize_vjp, {spec.name}": _raster_pull(spec, device) for spec in specs}
    pulls[f"hash_encode_vjp, {points:,} points"] = _hash_pull(points, levels, device)
    found = {}
    for name, (operator, arguments) in pulls.items():
        ways = {"ordered": ordered, "unordered": unordered}
        calls = {way: partial(getattr(operators, operator), *arguments) for way, operators in ways.items()}
        taken = interleaved_device_ms(calls, device, repeats=repeats)
        found[name] = {way: {"ms": taken[way], "apart": _apart(call)} for way, call in calls.items()}
    return found


def _raster_pull(spec: SceneSpec, device: torch.device) -> tuple[str, tuple]:
    return "rasterize_vjp", our_stages(workload(spec, device))["rasterize_vjp"].args


def _hash_pull(points: int, levels: HashLevels, device: torch.device) -> tuple[str, tuple]:
    """Samples around a surface, as a field's batches have them: neighbours share rows."""
    random = torch.Generator().manual_seed(1)
    directions = torch.randn(points, 3, generator=random)
    places = 0.5 + directions / directions.norm(dim=1, keepdim=True) * (
        0.3 + 0.01 * torch.randn(points, 1, generator=random)
    )
    table = torch.randn(levels.rows, FEATURES, generator=random)
    grad = torch.randn(points, levels.count * FEATURES, generator=random)
    tensors = [tensor.to(device) for tensor in (places.clamp(0, 1), table, grad)]
    return "hash_encode_vjp", (*tensors[:2], *levels.numbers, False, tensors[2], False, True)


def _apart(call: Callable[[], tuple[Tensor, ...]]) -> float:
    first, second = call(), call()
    shares = [
        float((one - other).abs().max() / one.abs().max().clamp(min=1e-30))
        for one, other in zip(first, second, strict=True)
        if one.numel()
    ]
    return max(shares)
