"""The core may be used anywhere: nothing that `pip install neural3d` brings is copyleft."""

import re
import tomllib
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

PERMISSIVE = re.compile(
    r"\b(MIT|MIT-CMU|0BSD|BSD|BSD-[23]-Clause|Apache|Apache-2\.0|BSL-1\.0|PSF-2\.0|PSFL?|Zlib|CC0-1\.0|ISC|"
    r"Python Software Foundation|Unlicense|HPND|Public Domain)\b",
    re.IGNORECASE,
)
COPYLEFT = re.compile(
    r"\b([AL]?GPL|GNU|General Public License|MPL|Mozilla|EPL|Eclipse Public|CDDL|EUPL|OSL|CC-BY-SA|SSPL)", re.IGNORECASE
)
# Copyleft of single files: changes to *their* files stay under their licence; programs that use them are not reached.
FILE_LEVEL_COPYLEFT = {
    "certifi": "MPL-2.0 data file of root certificates, used by requests (used by viser); unchanged",
    "tqdm": "MPL-2.0 for some files, progress bars, used by viser; unchanged",
}
# Libraries with licences we cannot put into a test, because they are chosen at installation time by the user.
PLATFORM_LIBRARIES = re.compile(r"^(nvidia|cuda|triton)")


def _core_requirements(repository: Path) -> list[Requirement]:
    project = tomllib.loads((repository / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return [Requirement(line) for line in project["dependencies"]]


def _closure(requirements: list[Requirement]) -> dict[str, str]:
    """Every installed distribution that the requirements bring, with its licence."""
    licences: dict[str, str] = {}
    waiting = [canonicalize_name(requirement.name) for requirement in requirements]
    while waiting:
        name = waiting.pop()
        if name in licences or PLATFORM_LIBRARIES.match(name):
            continue
        licences[name] = _licence(name)
        below = [Requirement(line) for line in distribution(name).requires or []]
        waiting += [canonicalize_name(r.name) for r in below if r.marker is None or r.marker.evaluate({"extra": ""})]
    return licences


def _licence(name: str) -> str:
    """The licence expression; of older metadata the classifiers, else the first line of the licence text."""
    metadata = distribution(name).metadata
    classifiers = [c for c in metadata.get_all("Classifier", []) if c.startswith("License ::")]
    text = metadata.get("License-Expression") or "; ".join(classifiers) or metadata.get("License") or ""
    return text.strip().partition("\n")[0]


def _is_permissive(licence: str) -> bool:
    return bool(PERMISSIVE.search(licence)) and not COPYLEFT.search(licence)


def test_no_dependency_of_the_core_is_copyleft(repository):
    try:
        licences = _closure(_core_requirements(repository))
    except PackageNotFoundError as error:
        pytest.fail(f"the installation is not complete: {error}")
    assert len(licences) > 10
    wrong = {
        name: text for name, text in licences.items() if not _is_permissive(text) and name not in FILE_LEVEL_COPYLEFT
    }
    assert not wrong, f"find another library, or decide about it here with the reason: {wrong}"
    assert set(FILE_LEVEL_COPYLEFT) <= set(licences), "remove what is no dependency any more"


def test_file_level_copyleft_is_nothing_stronger():
    strong = {name: _licence(name) for name in FILE_LEVEL_COPYLEFT if not re.search(r"MPL.2\.0", _licence(name))}
    assert not strong


@pytest.mark.parametrize(
    ("licence", "permissive"),
    [
        ("MIT", True),
        ("Apache-2.0 AND BSD-3-Clause", True),
        ("License :: OSI Approved :: BSD License", True),
        ("GPL-3.0-or-later", False),
        ("LGPL-2.1-only", False),
        ("AGPL-3.0", False),
        ("MIT AND GPL-2.0-only", False),
        ("License :: OSI Approved :: GNU Lesser General Public License v3 (LGPLv3)", False),
        ("MPL-2.0 AND MIT", False),
        ("Inria research licence, not for commercial use", False),
        ("", False),
    ],
)
def test_the_classifier_of_licences(licence, permissive):
    assert _is_permissive(licence) == permissive
