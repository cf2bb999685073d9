"""Processes that a measurement starts: none outlives the one that started it, however that ended."""

import os
import threading
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context, parent_process
from typing import Any

BOUND_TO_STDIN = """
import os, runpy, sys, threading
threading.Thread(target=lambda: (os.read(0, 1), os._exit(1)), daemon=True).start()
del sys.argv[0]
runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
"""
"""For `python -c`: runs the module that the arguments begin with, until it is done or its standard input ends."""


def call_in_new_process(function: Callable[..., Any], *arguments: Any) -> Any:
    """What a function of a module returns, computed by a process that knows nothing yet; what it raises is raised."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn"), initializer=end_with_parent) as pool:
        return pool.submit(function, *arguments).result()


def end_with_parent() -> None:
    """Called by a process of multiprocessing: from now on it ends, at once, when the one that started it has ended.

    A parent that is killed cannot end its children, and they would go on computing. The operating system closes what
    the parent held of a pipe, which a thread waits for.
    """
    parent = parent_process()
    assert parent is not None, "only a process that multiprocessing has started has a parent to wait for"
    threading.Thread(target=lambda: (parent.join(), os._exit(1)), name="end with parent", daemon=True).start()
