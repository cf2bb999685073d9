"""A GPU that is not there: tensors that say they lie elsewhere, computed by the CUDA sources on the emulator.

Inside `PretendedDevice` tensors on `ELSEWHERE` behave as those on a GPU do: what mixes them with the host's is an
error, numpy does not see them, and whatever would make the host wait is noted. torch's own operators run on the CPU,
ours are the emulated drivers. So a training, a rendering or a checkpoint can be run as on a GPU, with real numbers.

torch calls the device `meta`, the only one besides the CPU that every build knows; nothing else is meta about it.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

from neural3d.train import readings

from .build import emulated_operators

ELSEWHERE = torch.device("meta")
_SIZED_BY_NUMBERS = {"nonzero", "masked_select", "_unique2", "unique_dim", "unique_consecutive"}
"""Operators whose result's size the host must ask for."""


class _There(Tensor):
    """A tensor elsewhere; `inner` holds its numbers."""

    @staticmethod
    def __new__(cls, inner: Tensor) -> "_There":
        layout = {"strides": inner.stride(), "storage_offset": inner.storage_offset()}
        return Tensor._make_wrapper_subclass(cls, inner.shape, **layout, dtype=inner.dtype, device=ELSEWHERE)

    def __init__(self, inner: Tensor) -> None:
        self.inner = inner

    __torch_function__ = torch._C._disabled_torch_function_impl

    @classmethod
    def __torch_dispatch__(cls, operator, types, args=(), kwargs=None):
        raise AssertionError(f"{operator} on a pretended tensor outside of PretendedDevice")


class PretendedDevice(TorchDispatchMode):
    """While it is entered, `device="meta"` is a device like a GPU.

    `waits` names what the host waited for while the device had nothing to do. `launched` are the operators of ours in
    their order, and `reads` those of them that were launched between the sending of a letter and the host's look at it.
    """

    def __init__(self) -> None:
        super().__init__()
        self.waits: list[str] = []
        self.launched: list[str] = []
        self.reads: list[list[str]] = []

    def __torch_dispatch__(self, operator, types, args=(), kwargs=None):
        kwargs = dict(kwargs or {})
        if operator is torch.ops.aten._to_copy.default and kwargs.get("device") is not None:
            return self._moved(args[0], kwargs)
        if operator is torch.ops.aten.copy_.default and _is_there(args[0]) != _is_there(args[1]) and args[1].dim():
            return self._copied(*args)
        there = kwargs.get("device") == ELSEWHERE or any(map(_is_there, tree_leaves((args, kwargs))))
        if not there:
            return operator(*args, **kwargs)
        self._check(operator, args, kwargs)
        if kwargs.get("device") == ELSEWHERE:
            kwargs["device"] = torch.device("cpu")
        return self._run(operator, args, kwargs)

    def _moved(self, tensor: Tensor, kwargs: dict[str, Any]) -> Tensor:
        there = kwargs["device"] == ELSEWHERE
        if there != _is_there(tensor) and not kwargs.pop("non_blocking", False):
            self.waits.append("a copy between host and device")
        moved = torch.ops.aten._to_copy.default(_inner(tensor), **kwargs | {"device": torch.device("cpu")})
        return _There(moved) if there else moved

    def _copied(self, to: Tensor, source: Tensor, non_blocking: bool = False) -> Tensor:
        if not non_blocking:
            self.waits.append("a copy between host and device")
        _inner(to).copy_(_inner(source))
        return to

    def _check(self, operator, args, kwargs) -> None:
        """Hold the operands against what a GPU takes: host tensors are welcome as single numbers only."""
        strangers = [t for t in tree_leaves((args, kwargs)) if isinstance(t, Tensor) and not _is_there(t) and t.dim()]
        if strangers:
            raise RuntimeError(f"{operator}: a tensor of size {list(strangers[0].shape)} lies on the host")
        name = operator._schema.name.partition("::")[2]
        by_mask = name in ("index", "index_put_") and any(t is not None and t.dtype == torch.bool for t in args[1])
        if name in _SIZED_BY_NUMBERS or by_mask or name == "_local_scalar_dense":
            self.waits.append(name)

    def _run(self, operator, args, kwargs) -> Any:
        known = {id(t.inner): t for t in tree_leaves((args, kwargs)) if _is_there(t)}
        if operator.namespace == "neural3d":
            return tree_map(lambda value: _in_place(value, known), self._run_ours(operator._opname, args, kwargs))
        result = operator(*tree_map(_inner, args), **tree_map(_inner, kwargs))
        return tree_map(lambda value: _in_place(value, known), result)

    def _run_ours(self, name: str, args: tuple, kwargs: dict[str, Any]) -> Any:
        """On the emulator, which counts what a driver waits for."""
        operators = emulated_operators()
        before = operators.host_waits()
        result = getattr(operators, name)(*tree_map(_inner, args), **tree_map(_inner, kwargs))
        self.waits += [name] * (operators.host_waits() - before)
        self.launched.append(name)
        return result


def _in_place(value: Any, known: dict[int, Tensor]) -> Any:
    """What an operator returns of its own arguments stays the same tensor."""
    if not isinstance(value, Tensor):
        return value
    return known[id(value)] if id(value) in known else _There(value)


def _is_there(value: Any) -> bool:
    return isinstance(value, _There)


def _inner(value: Any) -> Any:
    return value.inner if _is_there(value) else value


class _Mark:
    """An event that the device has always passed already."""

    def __init__(self, device: PretendedDevice) -> None:
        self.device, self.place = device, len(device.launched)

    def synchronize(self) -> None:
        """Nothing to wait for."""
        self.device.reads.append(self.device.launched[self.place :])


@contextmanager
def pretended_device(monkeypatch: pytest.MonkeyPatch) -> Iterator[PretendedDevice]:
    """Enter a `PretendedDevice`, with events for it."""
    with PretendedDevice() as mode:
        monkeypatch.setattr(readings, "_mark", lambda device: _Mark(mode))
        yield mode


def on_host(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The numbers, wherever they lie."""
    return {name: _inner(tensor) for name, tensor in tensors.items()}
