"""The command line: `neural3d --help`. Exit status 0 success, 2 bad input, 130/143 signals, 1 all else."""

import errno
import os
import sys
import traceback
import warnings
from typing import TYPE_CHECKING

from neural3d.cli.interrupts import Interrupted, Interrupts
from neural3d.errors import InputError
from neural3d.idle_threads import let_idle_threads_sleep

if TYPE_CHECKING:
    from neural3d.cli.options import Command

TRACEBACK_VARIABLE = "NEURAL3D_TRACEBACK"
_BAD_INPUT, _FAILURE = 2, 1
_UNUSABLE = {errno.EACCES, errno.EISDIR, errno.ELOOP, errno.ENAMETOOLONG, errno.ENOTDIR, errno.EPERM}
"""What the system says of paths that are not what a command needs."""


def main(arguments: list[str] | None = None) -> int:
    """Run one command and return its exit status; errors are one line on stderr."""
    warnings.showwarning = _show_warning
    let_idle_threads_sleep()
    try:
        with Interrupts() as interrupts:
            from neural3d.cli.options import parse

            status = _run(parse(arguments), interrupts)
            sys.stdout.flush()  # a reader that went away is told of here, and not when Python ends
            return status
    except Interrupted as error:
        return 128 + error.signal_number
    except BrokenPipeError:
        # Whoever read our output has closed it; writing the rest at exit would only fail again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _FAILURE
    except Exception as error:
        if os.environ.get(TRACEBACK_VARIABLE) == "1":
            traceback.print_exc()
        print(f"neural3d: error: {_explained(error)}", file=sys.stderr)
        return _BAD_INPUT if isinstance(error, InputError) or _is_unusable_path(error) else _FAILURE


def _run(command: "Command", interrupts: Interrupts) -> int:
    """Import what the command needs, and nothing else: torch alone takes a second."""
    from neural3d.cli import options

    match command:
        case options.Train():
            from neural3d.cli.training import train

            return train(command, interrupts)
        case options.Make():
            from neural3d.cli.training import make

            return make(command, interrupts)
        case options.Demo():
            from neural3d.cli.training import demo

            return demo(command, interrupts)
        case options.Ingest():
            from neural3d.cli.ingesting import run_ingest

            return run_ingest(command)
        case options.Prior():
            from neural3d.cli.priors import run_prior

            return run_prior(command, interrupts)
        case options.Texture():
            from neural3d.cli.texturing import run_texture

            return run_texture(command, interrupts)
        case options.Inspect():
            from neural3d.cli.inspecting import run_inspect

            return run_inspect(command)
        case options.Masks():
            from neural3d.cli.masking import run_masks

            return run_masks(command)
        case options.World():
            from neural3d.cli.placing import run_world

            return run_world(command)
        case options.Bench():
            from neural3d import bench

            return bench.main(command.table, command.json, command.device)
        case _:
            from neural3d.cli import results

            return results.run(command)


def _is_unusable_path(error: Exception) -> bool:
    """A file or folder that somebody named cannot be used; what the disk refuses is told apart by `StorageError`."""
    from neural3d.errors import StorageError

    is_told = isinstance(error, OSError) and not isinstance(error, StorageError)
    return is_told and error.filename is not None and error.errno in _UNUSABLE


def _explained(error: Exception) -> str:
    """One line that says what to do, as far as that is known."""
    from neural3d.errors import NumericError, StorageError

    text = " ".join(str(error).split())
    if isinstance(error, MemoryError) or "can't allocate memory" in text or "out of memory" in text:
        on_gpu = "CUDA out of memory" in text or "on the GPU" in text
        where, elsewhere = ("GPU memory", ", or --device cpu") if on_gpu else ("memory", "")
        return f"out of {where}; take a larger --downscale or fewer --max-gaussians{elsewhere}"
    if isinstance(error, InputError | StorageError | NumericError | ImportError):
        return text
    if _is_unusable_path(error):
        return f"{error.filename}: {error.strerror}; check the path and its permissions"
    return f"{type(error).__name__}: {text} (unexpected; {TRACEBACK_VARIABLE}=1 shows where)"


def _show_warning(message: Warning | str, *_: object) -> None:
    print(f"neural3d: warning: {message}", file=sys.stderr)
