"""Loads the native libraries and says how to build what is missing: the CPU's, and where torch has CUDA the GPU's."""

from functools import cache
from pathlib import Path
from types import ModuleType

import torch

_SUFFIXES = (".so", ".dll")
_BUILD = "pip install --no-build-isolation -e ."
_BUILD_CUDA = f"NEURAL3D_CUDA=1 {_BUILD}"


@cache
def native() -> ModuleType:
    """The namespace `torch.ops.neural3d` with every operator's schema and drivers registered.

    Raises:
        ImportError: The library was not built, or it does not fit the installed torch.
    """
    library = _library("_native")
    if library is None:
        raise ImportError(f"neural3d's native library is missing in {_folder()}; build it with: {_BUILD}")
    try:
        torch.ops.load_library(str(library))
    except OSError as error:
        raise ImportError(
            f"{library} does not fit torch {torch.__version__} ({_reason(error)}); rebuild it with: {_BUILD}"
        ) from error
    cuda_library_problem()
    return torch.ops.neural3d


@cache
def cuda_library_problem() -> str | None:
    """Load the drivers for GPUs; None where that went well, else why not and what to do, in one line.

    The CPU needs none of it, so nothing is raised or printed. Where torch has no CUDA nothing is loaded either: the
    library would find no stream to work on.
    """
    if torch.version.cuda is None:
        return (
            f"torch {torch.__version__} is a build without CUDA; install one with CUDA (the start page of pytorch.org "
            f"shows how), then build neural3d again with: {_BUILD_CUDA}"
        )
    library = _library("_native_cuda")
    if library is None:
        return f"neural3d was built without CUDA; with nvcc on the PATH build it with: {_BUILD_CUDA}"
    try:
        torch.ops.load_library(str(library))
    except (OSError, RuntimeError) as error:
        return f"{library} does not fit torch {torch.__version__} ({_reason(error)}); rebuild it with: {_BUILD_CUDA}"
    if not torch._C._dispatch_has_kernel_for_dispatch_key("neural3d::adam", "CUDA"):
        return f"{library} holds no drivers of neural3d; rebuild it with: {_BUILD_CUDA}"
    return None


def _folder() -> Path:
    return Path(__file__).parent.parent


def _library(name: str) -> Path | None:
    found = (_folder() / f"{name}{suffix}" for suffix in _SUFFIXES)
    return next((path for path in found if path.exists()), None)


def _reason(error: Exception) -> str:
    """What the system's loader said, in one line; torch wraps it."""
    return " ".join(str(error.__cause__ or error).split())
