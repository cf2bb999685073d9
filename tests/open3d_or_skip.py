"""Open3D, for tests that need it: where it or a system library of it is missing they are skipped, and say so."""

from types import ModuleType

import pytest

from neural3d.errors import InputError
from neural3d.surface.open3d_library import require_open3d


def open3d_or_skip() -> ModuleType:
    """The module; called in a test, or where a file of tests begins."""
    try:
        return require_open3d()
    except InputError as error:
        pytest.skip(str(error), allow_module_level=True)
