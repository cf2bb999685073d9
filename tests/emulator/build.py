"""Compiles the CUDA sources with g++ against the emulator's headers, and loads them as operators for CPU tensors.

Objects and libraries are kept under build/emulator by a hash of all that went into them, so a second run compiles
nothing, and a change only what it concerns.
"""

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from types import ModuleType

import pytest
import torch

HERE = Path(__file__).parent
REPOSITORY = HERE.parents[1]
CACHE = REPOSITORY / "build" / "emulator"
SANITIZE = "NEURAL3D_EMULATOR_SANITIZED"
"""Set to 1 by `sanitized_environment` alone: the process has the sanitizers loaded."""
ORDERS = ("ascending", "descending", "shuffled")
COMPILER = "g++"
FLAGS = [
    *("-std=c++20", "-fPIC", "-fvisibility=hidden", "-ffp-contract=off", "-Wall", "-Wextra", "-Werror"),
    *("-Wno-unused-parameter", "-Wno-unknown-pragmas", "-x", "c++"),
]
PLAIN = ["-O2", "-g0"]
SANITIZED = [
    *("-O1", "-g1", "-fno-omit-frame-pointer", "-fsanitize=address,undefined,float-cast-overflow"),
    "-fno-sanitize-recover=all",
    "-fno-sanitize=null,object-size,vptr",  # the address sanitizer finds these, and they take a fifth of the time
]


def operators_sources() -> list[Path]:
    """The schemas and every CUDA driver."""
    return [REPOSITORY / "cuda_ext" / "ops.cpp", *sorted((REPOSITORY / "cuda_ext" / "cuda").glob("*.cu"))]


@cache
def emulated_operators() -> ModuleType:
    """The namespace `torch.ops.neural3d_emulated`."""
    sanitized = os.environ.get(SANITIZE) == "1"
    torch.ops.load_library(str(build("neural3d_emulated", operators_sources(), sanitized=sanitized)))
    return torch.ops.neural3d_emulated


@cache
def unordered_operators() -> ModuleType:
    """`torch.ops.neural3d_unordered`: drivers that add by atomics, which only benchmarks use."""
    cuda = REPOSITORY / "cuda_ext" / "cuda"
    sources = [
        operators_sources()[0],
        *(cuda / f"{name}.cu" for name in ("rasterize_vjp", "hashgrid", "adam", "primitives")),
    ]
    torch.ops.load_library(str(build("neural3d_unordered", sources, defines=("-DN3D_UNORDERED",))))
    return torch.ops.neural3d_unordered


def build(namespace: str, sources: list[Path], *, sanitized: bool = False, defines: tuple[str, ...] = ()) -> Path:
    """The library that registers the sources' operators under a namespace; compiled where it is not there yet."""
    if sys.platform != "linux":
        pytest.skip("the emulator is for Linux")
    flags = [*FLAGS, *(SANITIZED if sanitized else PLAIN), *_includes(), f"-DN3D_EMULATED={namespace}", *defines]
    context = _hash(" ".join(flags), torch.__version__, _version(), *(path.read_text() for path in _headers()))
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        objects = list(pool.map(lambda path: _object(path, flags, context), [HERE / "emulator.cpp", *sources]))
    target = CACHE / f"{_hash(*map(str, objects))}.so"
    libraries = [f"-L{Path(torch.__file__).parent / 'lib'}", "-ltorch_cpu", "-ltorch", "-lc10"]
    sanitizers = [flag for flag in SANITIZED if sanitized and flag.startswith("-fsanitize")]
    # -Bsymbolic: a CUDA build of torch has functions of the same names as those that the emulator stands in for.
    return _made(target, [COMPILER, "-shared", "-Wl,-Bsymbolic", *sanitizers, *map(str, objects), *libraries])


def sanitized_environment() -> dict[str, str]:
    """For a process that loads a sanitized library: the sanitizers' own must be the first that are loaded.

    Leaks are not looked for: Python and torch keep memory to the end.
    """
    found = [
        subprocess.run([COMPILER, f"-print-file-name=lib{name}.so"], capture_output=True, text=True, check=True)
        for name in ("asan", "ubsan", "stdc++")
    ]
    return os.environ | {
        SANITIZE: "1",
        "NEURAL3D_TEST_DEVICE": "cpu",  # CUDA and the address sanitizer want the same addresses
        "LD_PRELOAD": ":".join(result.stdout.strip() for result in found),
        "ASAN_OPTIONS": "detect_leaks=0",
        "UBSAN_OPTIONS": "halt_on_error=1:print_stacktrace=1",
    }


def _object(source: Path, flags: list[str], context: str) -> Path:
    target = CACHE / f"{source.stem}-{_hash(context, source.name, source.read_text())}.o"
    return _made(target, [COMPILER, *flags, "-c", str(source)])


def _made(target: Path, command: list[str]) -> Path:
    """Run the command with a temporary output that gets its name when it is complete."""
    CACHE.mkdir(parents=True, exist_ok=True)
    with _alone(target), tempfile.TemporaryDirectory(dir=CACHE) as folder:
        if target.exists():
            return target
        output = Path(folder) / target.name
        result = subprocess.run([*command, "-o", str(output)], capture_output=True, text=True)
        if result.returncode != 0:
            raise RuntimeError(f"{' '.join(command)}\n{result.stderr[:20000]}")
        os.replace(output, target)
    return target


@contextmanager
def _alone(target: Path) -> Iterator[None]:
    """While another process makes the target, wait: tests run side by side, and each may be the first to need it."""
    import fcntl

    with target.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _includes() -> list[str]:
    torch_include = Path(torch.__file__).parent / "include"
    folders = [HERE / "include", torch_include, torch_include / "torch" / "csrc" / "api" / "include"]
    defines = ["-DTORCH_TARGET_VERSION=0x020a000000000000", "-DUSE_CUDA"]
    return [f"-I{folder}" for folder in folders] + defines + ["-include", str(HERE / "include" / "emulated_library.h")]


def _headers() -> list[Path]:
    folders = (REPOSITORY / "cuda_ext", HERE)
    return sorted(path for folder in folders for kind in ("*.h", "*.cuh") for path in folder.rglob(kind))


def _version() -> str:
    if shutil.which(COMPILER) is None:
        raise RuntimeError("the CUDA sources are tested with g++, which is not installed")
    return subprocess.run([COMPILER, "--version"], capture_output=True, text=True, check=True).stdout


def _hash(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:24]
