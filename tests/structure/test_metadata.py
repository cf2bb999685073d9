"""What pip is told agrees with what is there."""

import sys
import tomllib
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import neural3d

ON_REQUEST = {
    "cv2",
    "diffusers",
    "skimage",
    "gsplat",
    "mmh3",
    "nerfacc",
    "open3d",
    "OpenEXR",
    "pxr",
    "tifffile",
    "pycolmap",
    "pi_heif",
    "rawpy",
    "trimesh",
    "xatlas",
}
"""Of the extras."""


@pytest.fixture(scope="module")
def pyproject(repository: Path) -> dict:
    return tomllib.loads((repository / "pyproject.toml").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def pins(repository: Path) -> dict[str, str]:
    """Version by name of constraints.txt."""
    lines = (repository / "constraints.txt").read_text(encoding="utf-8").splitlines()
    return dict(line.split("==") for line in lines if line and not line.startswith("#"))


def test_every_package_has_an_init(package):
    """Without one a folder is not installed."""
    folders = {source.path.parent for source in package}
    assert not [folder for folder in folders if not (folder / "__init__.py").is_file()]


def test_the_version_is_one(pyproject):
    assert pyproject["project"]["version"] == neural3d.__version__


def test_public_names_resolve():
    for name in neural3d.__all__:
        assert getattr(neural3d, name) is not None


def test_an_unknown_name_lists_the_known_ones():
    with pytest.raises(AttributeError, match="load_capture"):
        neural3d.loud_capture  # noqa: B018


def test_no_public_name_hides_a_module():
    """`neural3d.render` is a package: a function of that name would vanish on the first import of the package."""
    assert not [name for name in neural3d.__all__ if not name.startswith("_") and find_spec(f"neural3d.{name}")]


def test_the_command_exists(pyproject):
    module, _, function = pyproject["project"]["scripts"]["neural3d"].partition(":")
    assert callable(getattr(import_module(module), function))


def test_everything_tested_is_pinned_within_range(pyproject, pins):
    extras = pyproject["project"]["optional-dependencies"]
    for requirement in map(Requirement, pyproject["project"]["dependencies"] + extras["test"]):
        pin = pins.get(canonicalize_name(requirement.name))
        assert pin is not None, f"constraints.txt does not pin {requirement.name}"
        assert requirement.specifier.contains(pin), (
            f"constraints.txt pins {requirement.name} {pin}, outside {requirement}"
        )


def test_viser_stays_at_the_version_whose_start_the_gate_knows(pyproject):
    (viser,) = (r for r in map(Requirement, pyproject["project"]["dependencies"]) if r.name == "viser")
    assert viser.specifier.contains("1.1.1") and viser.specifier.contains("1.1.9")
    assert not viser.specifier.contains("1.1.0") and not viser.specifier.contains("1.2.0")


def test_the_core_declares_what_it_imports(package, pyproject):
    module_from_name = {"pillow": "PIL", "imageio-ffmpeg": "imageio_ffmpeg"}
    names = {canonicalize_name(Requirement(line).name) for line in pyproject["project"]["dependencies"]}
    declared = {module_from_name.get(name, name) for name in names}
    imported = {name.split(".")[0] for source in package for name in source.imports()}
    others = imported - declared - set(sys.stdlib_module_names) - {"neural3d", *ON_REQUEST}
    assert not others, f"declare these in pyproject.toml, or do without: {sorted(others)}"
