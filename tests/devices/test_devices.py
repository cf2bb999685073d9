"""Which device works, and what is said of one that does not.

Only the CPU runs the operator here; for a GPU the answers are planted.
"""

import warnings
from types import SimpleNamespace

import pytest
import torch

from neural3d import devices
from neural3d.devices import choose_device
from neural3d.errors import InputError


@pytest.fixture
def with_cuda(monkeypatch: pytest.MonkeyPatch):
    """A machine on which all is well; each test breaks one thing."""
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    monkeypatch.setattr(devices, "cuda_library_problem", lambda: None)
    monkeypatch.setattr(torch, "tensor", lambda *values, device=None, make=torch.tensor: make(*values))
    devices.cuda_problem.cache_clear()
    yield monkeypatch
    devices.cuda_problem.cache_clear()


def refusal() -> str:
    with pytest.raises(InputError) as caught:
        choose_device("cuda")
    assert str(caught.value).startswith("--device cuda: ") and "\n" not in str(caught.value)
    assert choose_device() == choose_device("cpu") == torch.device("cpu")
    return str(caught.value)


def test_a_gpu_that_works_is_chosen(with_cuda):
    assert choose_device() == choose_device("cuda") == torch.device("cuda", 0)
    assert choose_device("cpu") == torch.device("cpu")


def test_a_build_of_torch_without_cuda(with_cuda):
    with_cuda.setattr(torch.version, "cuda", None)
    with_cuda.setattr(devices, "cuda_library_problem", lambda: "torch is a build without CUDA; install one")
    assert "without CUDA; install one" in refusal()


def test_no_gpu_or_a_driver_that_is_too_old(with_cuda):
    with_cuda.setattr(torch.cuda, "is_available", lambda: False)
    assert "no GPU can be used" in refusal() and "nvidia-smi" in refusal() and "CUDA 13.0" in refusal()
    devices.cuda_problem.cache_clear()

    def complaining() -> bool:
        warnings.warn("The NVIDIA driver on your system is too old\n(found version 12020)", stacklevel=1)
        return False

    with_cuda.setattr(torch.cuda, "is_available", complaining)
    assert "(The NVIDIA driver on your system is too old (found version 12020))" in refusal()


def test_a_library_that_is_missing_or_broken(with_cuda):
    with_cuda.setattr(devices, "cuda_library_problem", lambda: "neural3d was built without CUDA; build it")
    assert "neural3d was built without CUDA; build it" in refusal()


def test_kernels_that_do_not_run_or_compute_nonsense(with_cuda):
    def failing(extents):
        raise RuntimeError("neural3d: CUDA: rows_kernel: no kernel image\nis available")

    with_cuda.setattr(devices, "native", lambda: SimpleNamespace(visible_rows=failing))
    assert "no kernel image is available" in refusal() and "NEURAL3D_CUDA=1" in refusal()
    devices.cuda_problem.cache_clear()
    nonsense = SimpleNamespace(visible_rows=lambda extents: torch.tensor([True, True]))
    with_cuda.setattr(devices, "native", lambda: nonsense)
    assert "wrong results" in refusal()
