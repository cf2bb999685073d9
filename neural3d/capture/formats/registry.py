"""Which formats there are, in the order in which a folder is asked for them."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from neural3d.capture.formats import (
    bundler,
    matrix_files,
    meshroom,
    metashape,
    nvm,
    opensfm,
    phone_apps,
    realitycapture,
)
from neural3d.capture.listing import Listing


@dataclass(frozen=True)
class Format:
    """A format beside COLMAP and transforms.json."""

    name: str
    files: str
    """For people: what is looked for."""
    find: Callable[[Path], Path | None]
    """The file (or folder) of poses below a capture's folder."""
    read: Callable[[Path, Path], Listing]
    """The capture's folder and what was found -> its frames."""
    suffixes: tuple[str, ...] = ()
    """Of files that may be given by themselves."""


FORMATS = (
    Format("Metashape", "*.xml", metashape.find, metashape.list_metashape, (".xml",)),
    Format("RealityCapture", "*.csv", realitycapture.find, realitycapture.list_realitycapture, (".csv",)),
    Format("Meshroom", "*.sfm", meshroom.find, meshroom.list_meshroom, (".sfm",)),
    Format("OpenSfM, OpenDroneMap", "reconstruction.json", opensfm.find, opensfm.list_opensfm),
    Format("Polycam", "keyframes/cameras/*.json", phone_apps.find_polycam, phone_apps.list_polycam),
    Format("Record3D", "metadata.json", phone_apps.find_record3d, phone_apps.list_record3d),
    Format("NVM (VisualSFM)", "*.nvm", nvm.find, nvm.list_nvm, (".nvm",)),
    Format("Bundler", "bundle.out", bundler.find, bundler.list_bundler, (".out",)),
    Format("LLFF", "poses_bounds.npy", matrix_files.find_llff, matrix_files.list_llff, (".npy",)),
    Format("K-R-t text", "*_par.txt", matrix_files.find_krt, matrix_files.list_krt, (".txt",)),
    Format("Open3D trajectory", "*.json, *.log", matrix_files.find_open3d, matrix_files.list_open3d, (".log",)),
)


def find_format(root: Path) -> tuple[Format, Path] | None:
    """The first format that a folder has files of."""
    for format in FORMATS:
        if (found := format.find(root)) is not None:
            return format, found
    return None


def format_of_file(path: Path) -> Format | None:
    """The format of a file that was given by itself, by its suffix."""
    return next((format for format in FORMATS if path.suffix.lower() in format.suffixes), None)
