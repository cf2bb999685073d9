"""The kernels of gsplat as another machine of the kind compiled them; where they do not load, gsplat compiles anew."""

import importlib.util
from pathlib import Path

_spec = importlib.util.spec_from_file_location("gsplat_cuda", Path(__file__).with_name("gsplat_cuda.so"))
_kernels = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(_kernels)
globals().update({name: value for name, value in vars(_kernels).items() if not name.startswith("__")})
