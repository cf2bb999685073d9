"""Opening folders of weights: what is there, what is refused."""

import importlib
import warnings
from pathlib import Path
from types import ModuleType
from typing import Any

from neural3d.errors import InputError


def needed(name: str) -> ModuleType:
    """A library of the extra `[weights]`, told to be quiet.

    Raises: InputError where it is not installed.
    """
    try:
        module = importlib.import_module(name)
    except ImportError as error:
        raise InputError(f"weights of your own need {name}: pip install {name} ({error})") from error
    module.utils.logging.set_verbosity_error()
    module.utils.logging.disable_progress_bar()
    return module


def checked_folder(folder: Path, index: str) -> Path:
    """Raises: InputError where it is no folder, or lacks the file that says what it holds."""
    if not (folder / index).is_file():
        raise InputError(f"{folder}: holds no {index}; give a folder as save_pretrained writes it")
    return folder


def loaded(kind: Any, folder: Path, **more: Any) -> Any:
    """What `from_pretrained` reads of a folder, from safetensors alone and never from the network.

    Raises: InputError for a folder that is not whole, or of another kind.
    """
    pickles = sorted(path.name for path in folder.rglob("*") if path.suffix in {".bin", ".ckpt", ".pt", ".pth"})
    try:
        with warnings.catch_warnings():
            # What the libraries mean to change in themselves is nothing that a user can do about.
            warnings.simplefilter("ignore", FutureWarning)
            return kind.from_pretrained(str(folder), local_files_only=True, **more)
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, AttributeError) as error:
        reason = " ".join(str(error).split())[:200]
        if pickles:
            reason = f"pickles, as {pickles[0]}, which can run any program, are refused; convert it to safetensors"
        raise InputError(f"{folder}: cannot be read as {kind.__name__}: {reason}") from error
