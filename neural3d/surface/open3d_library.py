"""Open3D, imported only when a mesh is wanted: it takes a second, and not everybody has it."""

import warnings
from types import ModuleType

from neural3d.errors import InputError


def require_open3d() -> ModuleType:
    """The module.

    Raises: InputError where it is not installed, or a system library that it needs is missing.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it warns of every machine without CUDA, and of what it imports itself
            import open3d
    except (ImportError, OSError) as error:
        raise InputError(
            f"a mesh needs Open3D ({error}): pip install open3d; on Debian also: apt-get install libegl1 "
            "libgl1 libusb-1.0-0"
        ) from error
    return open3d
