"""Pack what a check of a GPU needs into one folder: `python benchmarks/gpu_bundle.py [--output dist/gpu-bundle]`.

For a machine with Python, torch, numpy, nvcc and a GPU, but no network: the sources, wheels of all else that the check
imports, the two captures at the size of the benchmarks, a script that runs a step, and a page that says how.
"""

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.metadata import requires
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from PIL import Image

from neural3d.errors import InputError
from neural3d.storage import safe_join

ROOT = Path(__file__).resolve().parents[1]
MAX_BYTES = 60 << 20
THERE = ("torch", "numpy")
"""What the machine has, with all that these need themselves."""
NEEDED = (
    *("jaxtyping", "pillow", "safetensors", "kornia", "rich", "tyro"),
    *("pytest", "hypothesis", "beartype", "psutil"),
    *("setuptools", "wheel", "ninja", "gsplat", "nerfacc"),
)
"""By the package without viewer and videos, by its tests, by the builds; the last two are what it is compared with."""
PYTHONS = ("3.11", "3.12")
SYSTEMS = tuple(f"manylinux_2_{minor}_x86_64" for minor in (28, 27, 24, 17, 12, 5)) + ("manylinux2014_x86_64",)
SOURCES = (
    *("neural3d", "viewer", "cuda_ext", "tests", "benchmarks", "scenes"),
    *("setup.py", "pyproject.toml", "constraints.txt", "MANIFEST.in", "README.md", "CONTRIBUTING.md", "LICENSE"),
)
LEFT_OUT = re.compile(r"^(scenes/teatime/|benchmarks/results/|tests/(browser|viewer|clients)/)")
CAPTURES = {
    "nerf_synthetic_mic": ("transforms_train.json", "transforms_test.json"),
    "snowmiku": ("transforms.json", "points.ply", "LICENSE"),
}
LOSSY_QUALITY = 92


@dataclass(frozen=True)
class Contents:
    """What lies in a bundle, in bytes by part."""

    sizes: dict[str, int]

    @property
    def total(self) -> int:
        """All of it."""
        return sum(self.sizes.values())


def pack(output: Path, data: Path, pythons: Iterable[str] = PYTHONS) -> Contents:
    """Write the bundle into a folder that is not there yet, or is one of ours.

    Raises:
        InputError: The folder is something else, a capture is missing, or the bundle is too large.
    """
    if output.exists() and not (output / "run.sh").is_file():
        raise InputError(f"{output}: this is no bundle of ours; name another folder, or remove it")
    shutil.rmtree(output, ignore_errors=True)
    write_scripts(output)  # first: by them the folder is known as ours
    pack_sources(output / "src")
    download_wheels(output / "wheels", pins(closure(NEEDED, without=THERE)), pythons)
    for name, files in CAPTURES.items():
        halve_capture(data / name, output / "captures" / name, files)
    contents = Contents({part.name: size_of(part) for part in sorted(output.iterdir())})
    if contents.total > MAX_BYTES:
        raise InputError(f"{output}: {contents.total >> 20} MiB, expected at most {MAX_BYTES >> 20}; pack less")
    return contents


def pack_sources(target: Path) -> None:
    """What git knows of the parts that are needed, as it is now; the commit is named in a file."""
    listed = _git("ls-files", "--", *SOURCES).splitlines()
    for name in listed:
        if not LEFT_OUT.match(name) and (ROOT / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, target / name)
    changes = "+changes" if _git("status", "--porcelain", "--untracked-files=no").strip() else ""
    (target / "commit.txt").write_text(_git("rev-parse", "--short=12", "HEAD").strip() + changes + "\n")


def closure(names: Iterable[str], *, without: Iterable[str]) -> list[str]:
    """The names and all that these need, as the packages installed here say, less what others bring.

    A package that is asked for by name stays, even if it comes with those, too: there it may be older.
    """
    asked = list(names)
    there = set(_needs(without))
    return sorted({*asked, *(name for name in _needs(asked) if name not in there)})


def _needs(names: Iterable[str]) -> list[str]:
    """Names and their requirements, and theirs."""
    found: dict[str, None] = {}
    left = [canonicalize_name(name) for name in names]
    while left:
        name = left.pop()
        if name not in found:
            found[name] = None
            needed = [Requirement(line) for line in requires(name) or []]
            left += [canonicalize_name(r.name) for r in needed if r.marker is None or r.marker.evaluate({"extra": ""})]
    return list(found)


def pins(names: Iterable[str]) -> list[str]:
    """`name==version` of constraints.txt.

    Raises: InputError where it does not name one.
    """
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pinned = {line.partition("==")[0]: line for line in lines if line and not line.startswith("#")}
    if missing := [name for name in names if name not in pinned]:
        raise InputError(f"constraints.txt: no version of {', '.join(missing)}; add it")
    return [pinned[name] for name in names]


def download_wheels(target: Path, pinned: list[str], pythons: Iterable[str]) -> None:
    """For each Python, without what the wheels would ask for themselves; and their names without versions."""
    platforms = [word for system in SYSTEMS for word in ("--platform", system)]
    for python in pythons:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
        command += ["--implementation", "cp", "--python-version", python, *platforms, "--dest", str(target), *pinned]
        subprocess.run(command, check=True)
    (target / "names.txt").write_text("\n".join(line.partition("==")[0] for line in pinned) + "\n")


def halve_capture(source: Path, target: Path, files: Iterable[str]) -> None:
    """Copy a capture with photos of half the size: lossless where they are, else nearly so.

    Raises: InputError where it is missing.
    """
    if not source.is_dir():
        raise InputError(f"there is no folder {source}; name the captures' folder by NEURAL3D_DATA or --data")
    target.mkdir(parents=True)
    for name in files:
        if name.endswith(".json"):
            content = json.loads((source / name).read_text(encoding="utf-8"))
            (target / name).write_text(json.dumps(_halved(content, source, target)) + "\n", encoding="utf-8")
        else:
            shutil.copy2(source / name, target / name)


def _halved(content: dict, source: Path, target: Path) -> dict:
    """A transforms.json for the smaller photos, which are written on the way."""
    frames = [{**frame, "file_path": _halve_photo(frame["file_path"], source, target)} for frame in content["frames"]]
    lens = {key: content[key] / 2 for key in ("w", "h", "fl_x", "fl_y", "cx", "cy") if key in content}
    return {**content, **lens, "frames": frames}


def _halve_photo(name: str, source: Path, target: Path) -> str:
    path = safe_join(source, name)
    path = path if path.suffix else path.with_suffix(".png")
    made = safe_join(target, name).with_suffix(".webp")
    made.parent.mkdir(parents=True, exist_ok=True)
    with Image.open(path) as photo:
        # RGBa has colours multiplied by alpha, so that what is transparent mixes nothing in.
        mixed = photo.convert("RGBa") if photo.mode == "RGBA" else photo.convert("RGB")
        small = mixed.resize((photo.width // 2, photo.height // 2), Image.Resampling.BOX)
        kind = {"lossless": True} if path.suffix == ".png" else {"quality": LOSSY_QUALITY}
        small.convert("RGBA" if mixed.mode == "RGBa" else "RGB").save(made, **kind)
    return made.relative_to(target).as_posix()


def write_scripts(output: Path) -> None:
    """run.sh and its page."""
    output.mkdir(parents=True)
    for name in ("run.sh", "RUN.md"):
        shutil.copy2(ROOT / "benchmarks" / "bundle" / name, output / name)
    (output / "run.sh").chmod(0o755)


def size_of(path: Path) -> int:
    """Of a file, or of all below a folder."""
    return path.stat().st_size if path.is_file() else sum(p.stat().st_size for p in path.rglob("*") if p.is_file())


def _git(*words: str) -> str:
    return subprocess.run(["git", "-C", str(ROOT), *words], capture_output=True, text=True, check=True).stdout


def main() -> int:
    """Pack, and say what takes how much."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=ROOT / "dist" / "gpu-bundle")
    parser.add_argument("--data", type=Path, default=os.environ.get("NEURAL3D_DATA"), help="by default NEURAL3D_DATA")
    parser.add_argument("--pythons", nargs="+", default=PYTHONS, help="versions; fewer make it smaller")
    given = parser.parse_args()
    try:
        if given.data is None:
            raise InputError("the captures' folder: set NEURAL3D_DATA, or name it by --data")
        contents = pack(given.output, given.data, given.pythons)
    except InputError as error:
        print(f"gpu_bundle: {error}", file=sys.stderr)
        return 2
    for name, size in contents.sizes.items():
        print(f"{size / 2**20:7.2f} MiB  {name}")
    print(f"{contents.total / 2**20:7.2f} MiB  {given.output}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
