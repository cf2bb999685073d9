"""Operators on another device behind the face of the CPU's: arguments are copied there, results come back.

So the operators' tests, which make their numbers on the CPU, run on a GPU as they are. Gradients flow through copies.
"""

import os
from collections.abc import Callable
from dataclasses import fields, is_dataclass, replace
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

DEVICE_VARIABLE = "NEURAL3D_TEST_DEVICE"


def devices_to_test() -> list[str]:
    """Where tests run: on the device that NEURAL3D_TEST_DEVICE names, else on each that this machine has.

    Raises:
        UsageError: The named device is not there; nothing may pass because it was left out.
    """
    wanted, has_gpu = os.environ.get(DEVICE_VARIABLE), torch.cuda.is_available()
    if wanted not in (None, "cpu", "cuda"):
        raise pytest.UsageError(f"{DEVICE_VARIABLE}: expected cpu or cuda, got {wanted!r}")
    if wanted == "cuda" and not has_gpu:
        raise pytest.UsageError(f"{DEVICE_VARIABLE}=cuda: torch {torch.__version__} finds no GPU that it can use")
    return [wanted] if wanted else ["cpu", "cuda"] if has_gpu else ["cpu"]


def tests_drivers_on_gpu() -> bool:
    """Whether there is a GPU to test on and a library with drivers for it.

    Raises:
        UsageError: NEURAL3D_TEST_DEVICE asks for the GPU, and the library was not built.
    """
    if "cuda" not in devices_to_test():
        return False
    from neural3d.ops.library import native

    native()
    built = torch._C._dispatch_has_kernel_for_dispatch_key("neural3d::project", "CUDA")
    if not built and os.environ.get(DEVICE_VARIABLE) == "cuda":
        raise pytest.UsageError(f"{DEVICE_VARIABLE}=cuda: the CUDA library is not built; NEURAL3D_CUDA=1 make install")
    return built


def on_device(function: Callable, device: str) -> Callable:
    """The function, computing on another device; what it changes in place is changed in the caller's tensors, too."""

    def call(*args: Any, **kwargs: Any) -> Any:
        copies: list[tuple[Tensor, Tensor]] = []

        def send(tensor: Tensor) -> Tensor:
            copies.append((tensor, tensor.to(device, copy=True)))
            return copies[-1][1]

        result = function(*_mapped(args, send), **_mapped(kwargs, send))
        for original, copy in copies:
            _bring_back(original, copy)
        return _mapped(result, lambda tensor: tensor.to("cpu"))

    return call


def operators_on(device: str, operators: Any) -> Any:
    """A namespace of raw operators, such as `torch.ops.neural3d`, computing on another device."""

    class OnDevice(SimpleNamespace):
        def __getattr__(self, name: str) -> Callable:
            return on_device(getattr(operators, name), device)

    return OnDevice()


def _mapped(value: Any, change: Callable[[Tensor], Tensor]) -> Any:
    """The same structure (tuples, lists, dicts, records) with every tensor changed."""
    if isinstance(value, Tensor):
        return change(value)
    if isinstance(value, tuple | list):
        return type(value)(_mapped(item, change) for item in value)
    if isinstance(value, dict):
        return {name: _mapped(item, change) for name, item in value.items()}
    if is_dataclass(value):
        return replace(value, **{field.name: _mapped(getattr(value, field.name), change) for field in fields(value)})
    return value


def _bring_back(original: Tensor, copy: Tensor) -> None:
    """Autograd's leaves are never changed by an operator; all else is taken back where it differs."""
    if original.requires_grad:
        return
    returned = copy.detach().to("cpu")
    if not torch.equal(returned, original):
        original.copy_(returned)
