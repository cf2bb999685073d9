"""Builds the one native library; everything else is in pyproject.toml.

The library uses PyTorch's stable ABI, so one file serves every Python >= 3.11 and torch >= 2.10. The files in
cuda_ext/cpu/kernels are compiled once per instruction set into namespaces of their own; the drivers choose at run time.
"""

import os
import platform
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

ROOT = Path(__file__).parent
MSVC = sys.platform == "win32"
X86 = platform.machine().lower() in ("x86_64", "amd64")
COMMON = ["/O2", "/std:c++20", "/EHsc", "/fp:precise"] if MSVC else ["-O3", "-std=c++20", "-ffp-contract=off", "-fno-math-errno", "-fno-trapping-math", "-fvisibility=hidden", "-g0", "-Wall", "-Wextra", "-Wno-unused-parameter"]
# GCC 12 calls its own AVX-512 headers uninitialised.
AVX512 = ["/arch:AVX512"] if MSVC else ["-Wno-uninitialized", "-Wno-maybe-uninitialized", "-mavx512f", "-mavx512dq", "-mavx512bw", "-mavx512vl", "-mfma", "-mprefer-vector-width=512"]
AVX2 = ["/arch:AVX2"] if MSVC else ["-mavx2", "-mfma"]
INSTRUCTION_SETS = {"baseline": ([], [])}
if X86:
    INSTRUCTION_SETS |= {"avx2": (AVX2, [("N3D_AVX2", "1")]), "avx512": (AVX512, [("N3D_AVX512", "1")])}


def torch_folder() -> Path:
    """Where torch is installed, found without importing it."""
    from importlib.util import find_spec

    spec = find_spec("torch")
    if spec is None or spec.origin is None:
        raise SystemExit("neural3d: torch >= 2.10 must be installed before the native library is built: pip install torch")
    return Path(spec.origin).parent


class BuildNative(build_ext):
    """Compiles each loop for each instruction set, on all cores, and links against torch without an rpath."""

    def get_ext_filename(self, fullname: str) -> str:
        """One name for every Python: nothing in the library depends on it."""
        return os.path.join(*fullname.split(".")) + (".dll" if MSVC else ".so")

    def get_export_symbols(self, ext: Extension) -> list[str]:
        """There is no PyInit function: the library registers operators when it is loaded."""
        return []

    def build_extension(self, ext: Extension) -> None:
        """Compile in parallel, then link."""
        torch = torch_folder()
        include = [str(torch / "include"), str(torch / "include" / "torch" / "csrc" / "api" / "include")]
        macros = [("TORCH_TARGET_VERSION", "0x020a000000000000")] + ([("N3D_X86", "1")] if X86 else [])
        jobs = [(str(source), "drivers", macros, COMMON) for source in sorted((ROOT / "cuda_ext/cpu").glob("*.cpp"))]
        jobs.append((str(ROOT / "cuda_ext/ops.cpp"), "drivers", macros, COMMON))
        for name, (flags, defines) in INSTRUCTION_SETS.items():
            defines = [("N3D_ISA", name), *defines]
            jobs += [(str(s), name, defines, COMMON + flags) for s in sorted((ROOT / "cuda_ext/cpu/kernels").glob("*.cpp"))]

        def compile_one(job: tuple) -> list[str]:
            source, folder, defines, flags = job
            relative = os.path.relpath(source, ROOT)
            return self.compiler.compile(
                [relative],
                output_dir=os.path.join(self.build_temp, folder),
                macros=defines,
                include_dirs=include if folder == "drivers" else [],
                extra_postargs=flags,
            )

        with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
            objects = [o for compiled in pool.map(compile_one, jobs) for o in compiled]
        self.compiler.link_shared_object(
            objects,
            self.get_ext_fullpath(ext.name),
            libraries=["torch_cpu", "torch", "c10"],
            library_dirs=[str(torch / "lib")],
            extra_postargs=[] if MSVC else ["-undefined", "dynamic_lookup"] if sys.platform == "darwin" else ["-Wl,--as-needed", "-s"],
            target_lang="c++",
        )


setup(ext_modules=[Extension("neural3d._native", sources=[])], cmdclass={"build_ext": BuildNative})
