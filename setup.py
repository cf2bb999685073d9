"""Builds the one native library and finds the packages; everything else is in pyproject.toml.

The library uses PyTorch's stable ABI, so one file serves every Python >= 3.11 and torch >= 2.10. The files in
cuda_ext/cpu/kernels are compiled once per instruction set into namespaces of their own; the drivers choose at run time.
"""

import os
import platform
import re
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from setuptools import Extension, find_packages, setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_ext import build_ext

ROOT = Path(__file__).parent
MSVC = sys.platform == "win32"
X86 = platform.machine().lower() in ("x86_64", "amd64")
if MSVC:
    COMMON = ["/O2", "/std:c++20", "/EHsc", "/fp:precise"]
    AVX2 = ["/arch:AVX2"]
    AVX512 = ["/arch:AVX512"]
else:
    COMMON = ["-O3", "-std=c++20", "-ffp-contract=off", "-fno-math-errno", "-fno-trapping-math", "-fvisibility=hidden"]
    COMMON += ["-g0", "-Wall", "-Wextra", "-Wno-unused-parameter"]
    AVX2 = ["-mavx2", "-mfma"]
    AVX512 = ["-mavx512f", "-mavx512dq", "-mavx512bw", "-mavx512vl", "-mfma", "-mprefer-vector-width=512"]
    AVX512 += ["-Wno-uninitialized", "-Wno-maybe-uninitialized"]  # GCC 12 calls its own AVX-512 headers uninitialised.
if MSVC:
    LINK = []
elif sys.platform == "darwin":
    # This machine's slice alone: a universal Python asks for two, torch has one, and x86 flags break the other.
    COMMON += ["-arch", platform.machine()]
    LINK = ["-undefined", "dynamic_lookup", "-arch", platform.machine()]
else:
    LINK = ["-Wl,--as-needed", "-s"]
# make sanitize: for example NEURAL3D_SANITIZE=address,undefined, in a folder of its own.
SANITIZERS = os.environ.get("NEURAL3D_SANITIZE", "")
if SANITIZERS:
    COMMON += [f"-fsanitize={SANITIZERS}", "-fno-omit-frame-pointer", "-O1", "-g1"]
    LINK = [flag for flag in LINK if flag != "-s"] + [f"-fsanitize={SANITIZERS}"]
BUILD = "build/sanitize" if SANITIZERS else "build"
INSTRUCTION_SETS = {"baseline": ([], [])}
if X86:
    INSTRUCTION_SETS |= {"avx2": (AVX2, [("N3D_AVX2", "1")]), "avx512": (AVX512, [("N3D_AVX512", "1")])}


def torch_folder() -> Path:
    """Where torch is installed, found without importing it."""
    from importlib.util import find_spec

    spec = find_spec("torch")
    if spec is None or spec.origin is None:
        raise SystemExit("neural3d: the native library is built against torch >= 2.10; first: pip install torch")
    return Path(spec.origin).parent


class BuildNative(build_ext):
    """Compiles each loop for each instruction set, on all cores, and links against torch without an rpath."""

    def finalize_options(self) -> None:
        """Keep the objects, so that the next build compiles only what changed (pip names a new folder each time)."""
        super().finalize_options()
        self.build_temp = os.path.join(BUILD, "native")

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
        drivers = [ROOT / "cuda_ext" / "ops.cpp", *sorted((ROOT / "cuda_ext" / "cpu").glob("*.cpp"))]
        jobs = [(source, "drivers", macros, COMMON) for source in drivers]
        for name, (flags, defines) in INSTRUCTION_SETS.items():
            kernels = sorted((ROOT / "cuda_ext" / "cpu" / "kernels").glob("*.cpp"))
            jobs += [(source, name, [("N3D_ISA", name), *defines], COMMON + flags) for source in kernels]
        shared = [ROOT / "setup.py", torch / "version.py", *(ROOT / "cuda_ext").rglob("*.h")]
        shared_changed = max(path.stat().st_mtime for path in shared)

        def compile_one(job: tuple) -> str:
            source, folder, defines, flags = job
            relative = os.path.relpath(source, ROOT)
            output = os.path.join(self.build_temp, folder)
            (compiled,) = self.compiler.object_filenames([relative], output_dir=output)
            changed = max(shared_changed, source.stat().st_mtime)
            if os.path.exists(compiled) and os.path.getmtime(compiled) > changed:
                return compiled
            begun = time.time()
            self.compiler.compile(
                [relative],
                output_dir=output,
                macros=defines,
                include_dirs=include if folder == "drivers" else [],
                extra_postargs=flags,
            )
            os.utime(compiled, (begun, begun))  # What is edited while it compiles is newer than the object.
            return compiled

        if not getattr(self.compiler, "initialized", True):
            self.compiler.initialize()  # MSVC's does it in its first compile, of which there are several at once.
        with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
            objects = list(pool.map(compile_one, jobs))
        self.compiler.link_shared_object(
            objects,
            self.get_ext_fullpath(ext.name),
            libraries=["torch_cpu", "torch", "c10"],
            library_dirs=[str(torch / "lib")],
            extra_postargs=LINK,
            target_lang="c++",
        )


# What systems bring: glibc, then the newest symbols of their libstdc++ (the policies of auditwheel).
SYSTEMS = [
    ((2, 17), {"GLIBCXX": (3, 4, 19), "CXXABI": (1, 3, 7)}),
    ((2, 24), {"GLIBCXX": (3, 4, 22), "CXXABI": (1, 3, 10)}),
    ((2, 28), {"GLIBCXX": (3, 4, 24), "CXXABI": (1, 3, 11)}),
    ((2, 31), {"GLIBCXX": (3, 4, 28), "CXXABI": (1, 3, 12)}),
    ((2, 34), {"GLIBCXX": (3, 4, 29), "CXXABI": (1, 3, 13)}),
    ((2, 35), {"GLIBCXX": (3, 4, 30), "CXXABI": (1, 3, 13)}),
    ((2, 39), {"GLIBCXX": (3, 4, 33), "CXXABI": (1, 3, 15)}),
]


def needed_versions(library: bytes) -> dict[str, tuple[int, ...]]:
    """The newest version that an ELF library needs of each of glibc, libstdc++ and its ABI."""
    needed: dict[str, tuple[int, ...]] = {}
    for name, version in re.findall(rb"\0(GLIBC|GLIBCXX|CXXABI)_([0-9.]+)(?=\0)", library):
        numbers = tuple(int(number) for number in version.split(b"."))
        needed[name.decode()] = max(needed.get(name.decode(), numbers), numbers)
    return needed


def manylinux(library: bytes) -> str | None:
    """The oldest systems that a library runs on, as a wheel's platform says it; None where that is not known.

    torch's own libraries are left out: they come with torch, which the wheel requires.
    """
    needed = needed_versions(library)
    glibc = needed.pop("GLIBC", None)
    systems = [system for system, has in SYSTEMS if all(version <= has[name] for name, version in needed.items())]
    if glibc is None or not systems:
        return None
    major, minor = max(glibc[:2], systems[0])
    return f"manylinux_{major}_{minor}"


class OneWheel(bdist_wheel):
    """A wheel for this platform and every Python 3: there is no Python in the library."""

    def get_tag(self) -> tuple[str, str, str]:
        """Python, ABI, platform; on Linux the one that the library was found to need."""
        system = super().get_tag()[2].replace("universal2", platform.machine())
        library = Path(self.get_finalized_command("build_ext").get_ext_fullpath("neural3d._native"))
        if system.startswith("linux_") and library.exists():
            system = system.replace("linux", manylinux(library.read_bytes()) or "linux", 1)
        return "py3", "none", system


# viewer/ and the bundled capture lie beside the package that they are installed into (package-dir in pyproject.toml).
BESIDE = ["neural3d.viewer", "neural3d.scenes.teatime"]

if __name__ == "__main__":
    setup(
        packages=find_packages(include=["neural3d", "neural3d.*"]) + BESIDE,
        ext_modules=[Extension("neural3d._native", sources=[])],
        cmdclass={"build_ext": BuildNative, "bdist_wheel": OneWheel},
    )
