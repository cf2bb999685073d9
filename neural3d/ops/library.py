"""Loads the native library and says how to build it where it is missing."""

from functools import cache
from pathlib import Path
from types import ModuleType

import torch

_SUFFIXES = (".so", ".dll")


@cache
def native() -> ModuleType:
    """The namespace `torch.ops.neural3d` with every operator's schema and drivers registered.

    Raises:
        ImportError: The library was not built, or it does not fit the installed torch.
    """
    folder = Path(__file__).parent.parent
    found = [folder / f"_native{suffix}" for suffix in _SUFFIXES if (folder / f"_native{suffix}").exists()]
    if not found:
        raise ImportError(
            f"neural3d's native library is missing in {folder}; build it with: pip install --no-build-isolation -e ."
        )
    try:
        torch.ops.load_library(str(found[0]))
    except OSError as error:
        raise ImportError(
            f"{found[0]} does not fit torch {torch.__version__} ({error}); "
            "rebuild it with: pip install --no-build-isolation -e ."
        ) from error
    return torch.ops.neural3d
