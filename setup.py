"""Builds the native libraries and finds the packages; everything else is in pyproject.toml.

The libraries use PyTorch's stable ABI, so one file serves every Python >= 3.11 and torch >= 2.10. The files in
cuda_ext/cpu/kernels are compiled once per instruction set into namespaces of their own; the drivers choose at run time.

The drivers for GPUs are a library of their own. It is built where nvcc is found (on the PATH or in CUDA_HOME), whether
there is a GPU or not, but not in place or editable beside a torch without CUDA, which could never load it.
NEURAL3D_CUDA=1 builds it always, and makes a missing nvcc an error; NEURAL3D_CUDA=0 leaves it out.
"""

import hashlib
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
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
LIBRARY, CUDA_LIBRARY = "neural3d._native", "neural3d._native_cuda"
TORCH_TARGET = "0x020a000000000000"
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


def nvcc_to_use() -> str | None:
    """The CUDA compiler, None where none is found or CUDA was declined."""
    choice = os.environ.get("NEURAL3D_CUDA", "")
    if choice not in ("", "0", "1"):
        raise SystemExit(f"neural3d: NEURAL3D_CUDA: expected 0 or 1, got {choice!r}")
    if choice == "0" or SANITIZERS:
        return None
    homes = [os.environ[name] for name in ("CUDA_HOME", "CUDA_PATH") if os.environ.get(name)]
    found = [shutil.which("nvcc", path=os.path.join(home, "bin")) for home in homes] + [shutil.which("nvcc")]
    nvcc = next((path for path in found if path), None) if sys.platform == "linux" else None
    if choice == "1" and nvcc is None:
        raise SystemExit(
            "neural3d: NEURAL3D_CUDA=1, but nvcc is neither on the PATH nor in CUDA_HOME/bin (on Linux, the one system "
            "that the CUDA library is built for); install the CUDA toolkit, or leave NEURAL3D_CUDA out"
        )
    return nvcc


def torch_has_cuda(torch: Path) -> bool:
    """Whether the installed torch is a build with CUDA, as its version.py says."""
    return re.search(r"^cuda\b.*= *['\"]", (torch / "version.py").read_text(encoding="utf-8"), re.MULTILINE) is not None


def with_headers(source: Path, seen: frozenset[Path] = frozenset()) -> frozenset[Path]:
    """A source and all headers of ours that it includes, directly or not."""
    seen |= {source}
    for name in re.findall(r'^#include "(.+)"', source.read_text(encoding="utf-8"), re.MULTILINE):
        header = Path(os.path.normpath(source.parent / name))
        seen = seen if header in seen else with_headers(header, seen)
    return seen


class Nvcc:
    """The CUDA compiler; what it has made is kept by a hash of all that it depends on, with what ptxas said of it."""

    def __init__(self, nvcc: str, torch: Path, folder: Path) -> None:
        self.nvcc, self.torch, self.folder = nvcc, torch, folder
        self.options = ROOT / "cuda_ext" / "cuda" / "nvcc.options"
        version = subprocess.run([nvcc, "--version"], capture_output=True, text=True, check=True).stdout
        files = (self.options, torch / "version.py")
        self.context = [version, *self._flags(), *(path.read_text(encoding="utf-8") for path in files)]

    @staticmethod
    def sources() -> list[Path]:
        """The drivers, those that take longest first."""
        return sorted((ROOT / "cuda_ext" / "cuda").glob("*.cu"), key=lambda path: -path.stat().st_size)

    def compiled(self, source: Path) -> Path:
        """The object of a source; beside it lies a .log with registers and spills of each kernel, and all warnings."""
        texts = [path.read_text(encoding="utf-8") for path in sorted(with_headers(source))]
        key = hashlib.sha256("\0".join([*self.context, *texts]).encode()).hexdigest()[:24]
        target = self.folder / f"{source.stem}-{key}.o"
        if not target.exists():
            said = self._made(target, ["-c", str(source), *self._flags()])
            target.with_suffix(".log").write_text(said, encoding="utf-8")
        return target

    def link(self, objects: list[Path], target: Path) -> None:
        """All drivers in one library, the CUDA runtime inside.

        libtorch.so names torch's CUDA library where there is one, so it is linked although nothing here needs it by
        itself: the stream comes from there. Where torch has no CUDA, this library does not load, and no other minds.
        """
        torch = ["-L", str(self.torch / "lib"), "-Xlinker", "--no-as-needed", "-ltorch", "-ltorch_cpu", "-lc10"]
        self._made(target, ["-shared", "-cudart", "static", "-Xlinker", "-s", *map(str, objects), *torch])

    def _flags(self) -> list[str]:
        folders = (self.torch / "include", self.torch / "include" / "torch" / "csrc" / "api" / "include")
        defines = ["-DUSE_CUDA", f"-DTORCH_TARGET_VERSION={TORCH_TARGET}"]
        host = ["-Xcompiler", "-fPIC,-fvisibility=hidden"]
        return ["--options-file", str(self.options), "--resource-usage", *defines, *host, *(f"-I{f}" for f in folders)]

    def _made(self, target: Path, arguments: list[str]) -> str:
        """Run nvcc; the file gets its name when it is complete. Returns what nvcc said."""
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent) as folder:
            command = [self.nvcc, *arguments, "-o", os.path.join(folder, target.name)]
            result = subprocess.run(command, capture_output=True, text=True)
            said = result.stdout + result.stderr
            if result.returncode != 0:
                complaints = [line for line in said.splitlines() if "ptxas info" not in line][:50]
                raise SystemExit(
                    "\n".join(
                        [" ".join(command), *complaints, "neural3d: nvcc failed; NEURAL3D_CUDA=0 leaves CUDA out"]
                    )
                )
            os.replace(command[-1], target)
        return said


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

    def run(self) -> None:
        """An environment of one's own needs what its torch can load; a wheel may go where there is another torch."""
        stays_here = self.inplace or self.editable_mode
        if stays_here and os.environ.get("NEURAL3D_CUDA") != "1" and not torch_has_cuda(torch_folder()):
            self.extensions = [ext for ext in self.extensions if ext.name != CUDA_LIBRARY]
        super().run()

    def build_extensions(self) -> None:
        """Compile everything on all cores, what takes longest first, then link each library."""
        torch = torch_folder()
        if not getattr(self.compiler, "initialized", True):
            self.compiler.initialize()  # MSVC's does it in its first compile, of which there are several at once.
        pool = ThreadPoolExecutor(os.cpu_count() or 1)
        try:
            links = [self._begun(ext, torch, pool) for ext in reversed(self.extensions)]
            for link in links:
                link()
        finally:
            pool.shutdown(cancel_futures=True)  # where one fails, the others would still go on for minutes

    def _begun(self, ext: Extension, torch: Path, pool: ThreadPoolExecutor) -> Callable[[], None]:
        """Hand a library's sources to the pool; calling what is returned waits for them, and links."""
        target = Path(self.get_ext_fullpath(ext.name))
        if ext.name == CUDA_LIBRARY:
            nvcc = Nvcc(nvcc_to_use(), torch, Path(self.build_temp).resolve() / "cuda")
            compiled = pool.map(nvcc.compiled, nvcc.sources())
            return lambda: nvcc.link(list(compiled), target)
        objects = self._compile_cpu(torch, pool)
        return lambda: self.compiler.link_shared_object(
            list(objects),
            str(target),
            libraries=["torch_cpu", "torch", "c10"],
            library_dirs=[str(torch / "lib")],
            extra_postargs=LINK,
            target_lang="c++",
        )

    def _compile_cpu(self, torch: Path, pool: ThreadPoolExecutor) -> Iterator[str]:
        """The drivers once, the loops for each instruction set; what has not changed since is left as it is."""
        include = [str(torch / "include"), str(torch / "include" / "torch" / "csrc" / "api" / "include")]
        macros = [("TORCH_TARGET_VERSION", TORCH_TARGET)] + ([("N3D_X86", "1")] if X86 else [])
        drivers = [ROOT / "cuda_ext" / "ops.cpp", *sorted((ROOT / "cuda_ext" / "cpu").glob("*.cpp"))]
        jobs = [(source, "drivers", macros, COMMON) for source in drivers]
        for name, (flags, defines) in INSTRUCTION_SETS.items():
            kernels = sorted((ROOT / "cuda_ext" / "cpu" / "kernels").glob("*.cpp"))
            jobs += [(source, name, [("N3D_ISA", name), *defines], COMMON + flags) for source in kernels]
        headers = (path for path in (ROOT / "cuda_ext").rglob("*.h") if path.parent.name != "cuda")
        shared = [ROOT / "setup.py", torch / "version.py", *headers]
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

        return pool.map(compile_one, jobs)


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

    Of several libraries it takes the bytes in a row. torch's own are left out: they come with torch, which the wheel
    requires.
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
        """Python, ABI, platform; on Linux the one that the libraries were found to need."""
        system = super().get_tag()[2].replace("universal2", platform.machine())
        build = self.get_finalized_command("build_ext")
        libraries = [Path(build.get_ext_fullpath(ext.name)) for ext in build.extensions]
        if system.startswith("linux_") and all(library.exists() for library in libraries):
            needs = b"".join(library.read_bytes() for library in libraries)
            system = system.replace("linux", manylinux(needs) or "linux", 1)
        return "py3", "none", system


# viewer/ and the bundled capture lie beside the package that they are installed into (package-dir in pyproject.toml).
BESIDE = ["neural3d.viewer", "neural3d.scenes.teatime"]

if __name__ == "__main__":
    LIBRARIES = [LIBRARY, *([CUDA_LIBRARY] if nvcc_to_use() else [])]
    setup(
        packages=find_packages(include=["neural3d", "neural3d.*"]) + BESIDE,
        ext_modules=[Extension(name, sources=[]) for name in LIBRARIES],
        cmdclass={"build_ext": BuildNative, "bdist_wheel": OneWheel},
    )
