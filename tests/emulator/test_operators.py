"""Every CUDA driver, run on the CPU: it is there, does what the CPU's does, and no order of threads changes a bit."""

import pytest
import torch
from ops.tolerances import assert_close, assert_close_but_for_flips
from torch import Tensor

from neural3d.ops.library import native

from .arguments import arguments
from .build import ORDERS, emulated_operators

DTYPES = [torch.float32, torch.float64]
CUT = {"rasterize"}
"""Operators whose pixels may fall on either side of a cut-off."""
OWN = {"rasterize": 2}
"""How many outputs mean the same on every device; what comes behind them is a driver's own."""


def results(operators, name: str, values: tuple) -> list[Tensor]:
    """Outputs, and the arguments after the call: some operators work in place."""
    values = [value.clone() if isinstance(value, Tensor) else value for value in values]
    output = getattr(operators, name)(*values)
    outputs = output if isinstance(output, tuple) else () if output is None else (output,)
    return [torch.as_tensor(one) for one in (*outputs[: OWN.get(name)], *values) if not isinstance(one, str)]


def with_tensors(namespace: str) -> set[str]:
    """Names of a namespace's operators on tensors that CPU tensors can be given to."""
    names = {name.split("::")[1] for name in torch._C._dispatch_get_all_op_names() if name.startswith(f"{namespace}::")}
    schemas = {name: str(getattr(getattr(torch.ops, namespace), name).default._schema) for name in names}
    has_driver = torch._C._dispatch_has_kernel_for_dispatch_key
    return {name for name in names if "Tensor" in schemas[name] and has_driver(f"{namespace}::{name}", "CPU")}


def test_each_operator_has_a_driver_and_a_test():
    native(), emulated_operators()
    assert with_tensors("neural3d_emulated") == with_tensors("neural3d")
    assert set(arguments(torch.float32)) == with_tensors("neural3d_emulated")


@pytest.mark.parametrize("dtype", DTYPES)
def test_no_order_of_threads_changes_a_bit(dtype):
    operators, first = emulated_operators(), {}
    for order in ORDERS:
        operators.set_order(order)
        for name, values in arguments_of(dtype).items():
            found = results(operators, name, values)
            for one, other in zip(found, first.setdefault(name, found), strict=True):
                assert torch.equal(one, other), f"{name}: {order} differs from {ORDERS[0]}: a race"
    operators.set_order(ORDERS[0])


def arguments_of(dtype: torch.dtype) -> dict[str, tuple]:
    """The same numbers in every call."""
    torch.manual_seed(1)
    return arguments(dtype)


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_cpu_does_the_same(drivers, dtype):
    precise = dtype == torch.float64
    for name, values in arguments_of(dtype).items():
        gradient = name.endswith("vjp")
        tolerance = "float64 twin" if precise else "float32 devices' gradients" if gradient else "float32 devices"
        check = assert_close_but_for_flips if name in CUT else assert_close
        pairs = zip(results(drivers, name, values), results(native(), name, values), strict=True)
        for ours, theirs in pairs:
            if ours.is_floating_point():
                check(ours, theirs, tolerance)
            else:
                assert torch.equal(ours, theirs), name


@pytest.mark.parametrize(
    "change, complaint",
    [
        (lambda t: t.double(), "another dtype than the first argument"),
        (lambda t: t.repeat_interleave(2, dim=1)[:, ::2], "not contiguous"),
    ],
)
def test_what_would_read_foreign_memory_is_refused(change, complaint):
    """For whoever calls an operator past its wrapper."""
    operators, (means, sh, *rest) = emulated_operators(), arguments_of(torch.float32)["sh_colors"]
    with pytest.raises(RuntimeError, match=complaint):
        operators.sh_colors(means, change(sh), *rest)
    image, matrix = arguments_of(torch.float32)["color_affine"]
    with pytest.raises(RuntimeError, match=complaint):
        operators.color_affine(image, change(matrix))


def test_empty_images_and_nobody(drivers):
    operators, empty = drivers, torch.empty(3, 0, 5)
    d_image, d_matrix = operators.color_affine_vjp(empty, torch.rand(3, 4), empty)
    assert d_image.shape == (3, 0, 5) and (d_matrix == 0).all()
    _, d_grid = operators.bilateral_slice_vjp(empty, torch.rand(12, 2, 3, 4), empty)
    assert (d_grid == 0).all()
    nobody = torch.empty(0, 3)
    rates, moments = torch.rand(3), [torch.empty(0, 3) for _ in range(3)]
    assert operators.adam(nobody, *moments, rates, None, 1, 0.9, 0.999, 1e-15) == 0
    assert operators.visible_rows(torch.empty(0, 2)).shape == (0,)
