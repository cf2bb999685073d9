"""COLMAP captures: which of several models, which folder the photos are in, and each image's frame."""

from dataclasses import dataclass
from pathlib import Path

from neural3d.capture.colmap_files import ColmapImage, ColmapModel, count_images, model_suffix, read_model, read_points
from neural3d.capture.lenses import Lens
from neural3d.capture.listing import BadFrame, Frame, Listing, PointCloud, Skipped, require_frames
from neural3d.capture.paths import ImageFinder, find_mask, list_images, printable
from neural3d.capture.point_files import read_points_ply
from neural3d.capture.poses import pose_from_colmap
from neural3d.errors import InputError

_MODEL_FOLDERS = ("sparse", "colmap/sparse", "", "colmap", "distorted/sparse")
"""Where models lie below a capture, best first; each may hold numbered models."""
_IMAGE_FOLDERS = ("images", "input", "", "images_2", "images_4", "images_8")


@dataclass(frozen=True)
class FoundModel:
    """The model that is used, and how many there are."""

    folder: Path
    suffix: str
    rank: int
    """1-based, in the order of their names."""
    num_models: int


def find_model(root: Path) -> FoundModel | None:
    """The model with most registered images in the first place that holds any; None where there is none.

    COLMAP writes one model for each group of photos that it could connect, and the first is not always the large one.

    Raises: InputError when a model's header cannot be true.
    """
    for place in _MODEL_FOLDERS:
        folder = root / place
        numbered = sorted(p for p in folder.iterdir() if p.is_dir()) if place and folder.is_dir() else []
        models = [(path, suffix) for path in (folder, *numbered) if (suffix := model_suffix(path))]
        if models:
            counts = [count_images(path, suffix) for path, suffix in models]
            best = counts.index(max(counts))
            return FoundModel(*models[best], best + 1, len(models))
    return None


def list_colmap(root: Path, found: FoundModel) -> Listing:
    """List the frames of a COLMAP capture, sorted by name.

    Raises: InputError when no frame is left, a path leaves the capture, or a file is damaged.
    """
    model = read_model(found.folder, found.suffix)
    source = found.folder / f"images{found.suffix}"
    finder = ImageFinder(root, source)
    image_folder = _image_folder(root, model, finder)
    frames, skipped = [], []
    seen: set[str] = set()
    taken: dict[Path, str] = {}
    # Photos of just that name before those that are found by what is left of theirs.
    exact = {image.name: (root / _join(image_folder, image.name)).is_file() for image in model.images}
    for image in sorted(model.images, key=lambda image: (not exact[image.name], image.name)):
        try:
            if image.name in seen:
                raise BadFrame("is named twice; the first is used")
            seen.add(image.name)
            frame = _frame(root, image_folder, image, model, finder)
            if (path := frame.image_path.resolve()) in taken:
                raise BadFrame(f"the photo is not there; what is most like it is that of {taken[path]}")
            taken[path] = frame.name
            frames.append(frame)
        except BadFrame as bad:
            skipped.append(Skipped(printable(image.name), str(bad)))
    frames.sort(key=lambda frame: frame.name)
    require_frames(len(frames), tuple(skipped), source)
    summary, notes = _describe(root, image_folder, found, model)
    return Listing(
        root=root,
        format=f"COLMAP {'binary' if found.suffix == '.bin' else 'text'}",
        source=source,
        frames=tuple(frames),
        skipped=tuple(skipped),
        points=model_points(found.folder, found.suffix),
        world_up=None,
        notes=notes,
        summary=summary,
    )


def model_points(folder: Path, suffix: str) -> PointCloud | None:
    """Points of a model; other tools keep them as points3D.ply beside it.

    Raises: InputError for a damaged file.
    """
    points = read_points(folder, suffix)
    ply = folder / "points3D.ply"
    return read_points_ply(ply) if points is None and ply.is_file() else points


def _image_folder(root: Path, model: ColmapModel, finder: ImageFinder) -> str:
    """The folder that holds most of the model's images."""
    if not model.images:
        raise InputError(f"{model.folder}: registers no image; estimate the poses again")
    counts = {
        folder: sum(finder.find(_join(folder, image.name)) is not None for image in model.images)
        for folder in _IMAGE_FOLDERS
        if (root / folder).is_dir()
    }
    best = max(counts, key=lambda folder: counts[folder])
    if counts[best] == 0:
        raise InputError(
            f"{root}: none of the {len(model.images)} photos of {model.folder} is there, "
            f"for example {printable(model.images[0].name)!r}; put them into {root / 'images'}"
        )
    return best


def _join(folder: str, name: str) -> str:
    return f"{folder}/{name}" if folder else name


def _frame(root: Path, image_folder: str, image: ColmapImage, model: ColmapModel, finder: ImageFinder) -> Frame:
    lens = model.cameras.get(image.camera_id, f"its camera {image.camera_id} is not in cameras{model.suffix}")
    if not isinstance(lens, Lens):
        raise BadFrame(lens)
    camera_from_world = pose_from_colmap(image.quat_wxyz, image.translation)
    image_path = finder.find(_join(image_folder, image.name))
    if image_path is None:
        raise BadFrame(f"the photo is not in {root / image_folder}")
    return Frame(printable(image.name), image_path, find_mask(root, image.name), lens, camera_from_world)


def _describe(root: Path, image_folder: str, found: FoundModel, model: ColmapModel) -> tuple[str, tuple[str, ...]]:
    """What was found in one line, and the photos that have no pose."""
    which = f"model {found.folder.relative_to(root).as_posix()} ({found.rank} of {found.num_models})"
    if not image_folder:
        return f"{len(model.images)} photos have a pose, {which}", ()
    registered = {image.name.lower() for image in model.images}
    # Names in the model may start with the folder, or lack it.
    unposed = [name for name in list_images(root / image_folder) if name.lower() not in registered]
    summary = f"{len(model.images)} of {len(model.images) + len(unposed)} photos have a pose, {which}"
    note = f"{len(unposed)} photos have no pose and are not used: {', '.join(printable(n) for n in unposed)}"
    return summary, (note,) if unposed else ()
