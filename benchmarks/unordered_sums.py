"""Builds what `bench/determinism` of gpu_check.py measures: `python benchmarks/unordered_sums.py LIBRARY`; needs nvcc.

The two drivers whose gradients are sums of very many parts, compiled to add these by atomics instead of in a fixed
order (cuda_ext/cuda/order.h), and registered as `torch.ops.neural3d_unordered`. Nothing else ever loads them.
"""

import argparse
from pathlib import Path

from cuda_kernels import CUDA, OBJECTS, setup_py

SOURCES = (
    CUDA.parent / "ops.cpp",
    *(CUDA / f"{name}.cu" for name in ("rasterize_vjp", "hashgrid", "adam", "primitives")),
)
HEADER = """\
#pragma once
#include <torch/csrc/stable/library.h>
#undef STABLE_TORCH_LIBRARY
#undef STABLE_TORCH_LIBRARY_IMPL
#define STABLE_TORCH_LIBRARY(ns, m) STABLE_TORCH_LIBRARY_FRAGMENT(neural3d_unordered, m)
#define STABLE_TORCH_LIBRARY_IMPL(ns, key, m) _STABLE_TORCH_LIBRARY_IMPL(neural3d_unordered, key, m, C10_UID)
"""


def build(library: Path) -> None:
    """Compile and link.

    Raises:
        RuntimeError: There is no nvcc.
    """
    setup = setup_py()
    path = setup.nvcc_to_use()
    if path is None:
        raise RuntimeError("nvcc is not on the PATH; the CUDA toolkit brings it")
    header = OBJECTS.parent / "unordered" / "unordered.h"
    header.parent.mkdir(parents=True, exist_ok=True)
    header.write_text(HEADER, encoding="utf-8")

    class Unordered(setup.Nvcc):
        """As the library is compiled, in another namespace."""

        def _flags(self) -> list[str]:
            # Kernels that only a fixed order takes are left without a caller.
            return [*super()._flags(), "-DN3D_UNORDERED", "-include", str(header), "-diag-suppress=177"]

    nvcc = Unordered(path, setup.torch_folder(), header.parent)
    nvcc.link([nvcc.compiled(source) for source in SOURCES], library)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("library", type=Path)
    build(parser.parse_args().library)
