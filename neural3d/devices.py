"""Which device to compute on: the CPU always works, a GPU where everything that it takes is there."""

import warnings
from functools import cache
from importlib import import_module
from typing import Literal

import torch

from neural3d.errors import InputError
from neural3d.ops.library import cuda_library_problem, native

DeviceName = Literal["cpu", "cuda"]
GpuBackend = Literal["gsplat", "nerfacc"]
"""Libraries with CUDA kernels of their own, which they compile when they are first used."""


def choose_device(asked: DeviceName | None = None) -> torch.device:
    """The device that was asked for; left to itself, the GPU where it works, else the CPU, without a word.

    Raises:
        InputError: A GPU was asked for and does not work; says why, and what to do.
    """
    if asked == "cpu":
        return torch.device("cpu")
    problem = cuda_problem()
    if problem is None:
        return torch.device("cuda", torch.cuda.current_device())
    if asked == "cuda":
        raise InputError(f"--device cuda: {problem}; or leave it out to compute on the CPU")
    return torch.device("cpu")


@cache
def cuda_problem() -> str | None:
    """None where a GPU computes what it should, else why not and what to do, in one line.

    Asks for a CUDA build of torch, a GPU and its driver, the library with our drivers, and one operator's result.
    """
    if torch.version.cuda is None:
        return cuda_library_problem()
    return _gpu_problem() or cuda_library_problem() or operator_problem("cuda")


def _gpu_problem() -> str | None:
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        if torch.cuda.is_available():
            return None
    reason = " ".join(str(said[0].message).split()) if said else f"torch {torch.__version__} finds none"
    return (
        f"no GPU can be used ({reason}); see whether nvidia-smi shows one, with a driver for CUDA {torch.version.cuda}"
    )


def operator_problem(device: str) -> str | None:
    """A driver or a GPU that is older than what the library was built for shows when a kernel is to run."""
    try:
        seen = native().visible_rows(torch.tensor([[2.0, 1.0], [0.0, 0.0]], device=device)).tolist()
    except RuntimeError as error:
        text = " ".join(str(error).split())
        return (
            f"neural3d's kernels do not run on this GPU ({text}); update its driver, or build neural3d again with the "
            "CUDA toolkit that fits it: NEURAL3D_CUDA=1 pip install --no-build-isolation -e ."
        )
    if seen != [True, False]:
        return "neural3d's kernels give wrong results on this GPU; update its driver"
    return None


def require_kernels(backend: GpuBackend) -> None:
    """Find out whether another library can be used here, and let it compile its kernels if it has not yet.

    Raises:
        InputError: There is no GPU, the library is not installed, or it cannot compile.
    """
    if not torch.cuda.is_available():
        raise InputError(f"--backend {backend}: torch finds no NVIDIA GPU, which {backend} needs; leave it out")
    try:
        import_module(backend)  # compiles nothing yet
        kernels = import_module(f"{backend}.cuda._backend")._C
    except ModuleNotFoundError as error:
        raise InputError(
            f"--backend {backend}: {error.name} is not installed; pip install {error.name}, or leave it out"
        ) from error
    except Exception as error:  # whatever the compiler, ninja or torch say
        why = next(iter(str(error).splitlines()), type(error).__name__)
        raise InputError(
            f"--backend {backend}: {backend} cannot build its kernels here ({why}); see its documentation, or leave "
            "it out"
        ) from error
    if kernels is None:
        raise InputError(
            f"--backend {backend}: {backend} finds no nvcc to build its kernels; put it on the PATH, or leave it out"
        )
