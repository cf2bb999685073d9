"""The package's operators over the emulated CUDA drivers: the same wrappers, fakes and gradients, another namespace."""

import importlib.util
import sys
from functools import cache
from pathlib import Path
from types import ModuleType

import neural3d.ops

from .build import emulated_operators

NAMESPACE = "neural3d_emulated"


def native() -> ModuleType:
    """What the wrappers call in place of `neural3d.ops.library.native`."""
    return emulated_operators()


@cache
def emulated_module(name: str) -> ModuleType:
    """`neural3d.ops.<name>`, registering and calling the emulated operators."""
    source = Path(neural3d.ops.__file__).with_name(f"{name}.py")
    text = source.read_text(encoding="utf-8")
    changed = text.replace('"neural3d::', f'"{NAMESPACE}::')
    changed = changed.replace("from neural3d.ops.library import native", f"from {__name__} import native")
    assert f"from {__name__} import native" in changed, f"neural3d.ops.{name} calls no operator"
    spec = importlib.util.spec_from_loader(f"{NAMESPACE}_{name}", loader=None, origin=str(source))
    module = importlib.util.module_from_spec(spec)
    sys.modules[module.__name__] = module
    exec(compile(changed, str(source), "exec"), module.__dict__)
    return module
