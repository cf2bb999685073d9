"""Agisoft Metashape's cameras.xml: world from camera with OpenCV axes, in the frame of a chunk or of a component.

Source: Metashape Professional user manual, appendix "Camera models".
"""

from collections.abc import Iterable, Iterator
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
from jaxtyping import Float64

from neural3d.capture.formats.posed_photos import PosedPhoto, inverse_rigid, list_posed, rigid
from neural3d.capture.georeference.geodesy import geographic, topocentric_axes
from neural3d.capture.lenses import Lens
from neural3d.capture.listing import BadFrame, Listing, Skipped
from neural3d.capture.panoramas import panorama_lens
from neural3d.errors import InputError, said

MAX_BYTES = 256 * 2**20
WORLD_UP = (0.0, 0.0, 1.0)
_MIN_RADIUS_M = 6.2e6
_ALTITUDES_M = (-12_000.0, 30_000.0)
"""From the deepest sea to the highest balloon that is likely; coordinates in a grid are hardly ever taken for them."""


def find(root: Path) -> Path | None:
    """The one XML file that begins as Metashape's do."""
    for path in sorted(root.glob("*.xml")):
        with path.open("rb") as file:
            head = file.read(2000)
        if b"<document" in head and b"<chunk" in head:
            return path
    return None


def list_metashape(root: Path, path: Path) -> Listing:
    """List the aligned cameras of the first chunk.

    Raises: InputError when the file is no such XML.
    """
    chunk = _chunk(path)
    sensors = {sensor.get("id", ""): sensor for sensor in chunk.iter("sensor")}
    frames, notes = _frames(path, chunk)
    cameras = {camera.get("id", ""): camera for camera in chunk.iter("camera")}
    photos = [
        _photo(camera, cameras, sensors, frames) for camera in chunk.iter("camera") if camera.get("enabled") != "false"
    ]
    notes += tuple(_left_out(sensors.values()))
    return list_posed(root, path, "Metashape", photos, world_up=WORLD_UP, notes=notes)


def _left_out(sensors: Iterable[ElementTree.Element]) -> Iterator[str]:
    """Notes of what calibrations have and lenses do not."""
    labelled = [(sensor.get("label", ""), sensor) for sensor in sensors]
    if skew := [label for label, sensor in labelled if _is_given(sensor, "b2")]:
        yield f"the skew (b2) of {', '.join(skew)} is left out"
    fisheyes = [(label, sensor) for label, sensor in labelled if "fisheye" in sensor.get("type", "")]
    if bent := [label for label, sensor in fisheyes if _is_given(sensor, "p1") or _is_given(sensor, "p2")]:
        yield f"the tangential coefficients (p1, p2) of the fisheye {', '.join(bent)} are left out"


def _chunk(path: Path) -> ElementTree.Element:
    try:
        if path.stat().st_size > MAX_BYTES:
            raise InputError(f"{path}: {path.stat().st_size / 1e6:.0f} MB, at most {MAX_BYTES / 1e6:.0f} MB are read")
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    if b"<!ENTITY" in content or b"<!DOCTYPE" in content:
        # Metashape writes none, and nested ones fill any memory.
        raise InputError(f"{path}: defines entities, which is refused; export the cameras from Metashape again")
    try:
        chunk = ElementTree.fromstring(content).find("chunk")
    except (ElementTree.ParseError, LookupError, ValueError) as error:
        # The latter two are of encodings that Python does not know, or expat cannot take.
        raise InputError(f"{path}: broken XML ({said(error)}); export the cameras from Metashape again") from error
    if chunk is None:
        raise InputError(f"{path}: holds no chunk; export the cameras from Metashape")
    return chunk


Frames = dict[str, Float64[np.ndarray, "4 4"] | None]
"""World from each component by its id, and from the chunk by ""; None for one that has no place in that world."""


def _frames(path: Path, chunk: ElementTree.Element) -> tuple[Frames, tuple[str, ...]]:
    """Of a georeferenced chunk metres east, north and up of a place near its cameras, which the note tells.

    Metashape's own frame is then that of the Earth's centre: up is anywhere in it, and float32 ends at half a metre.
    """
    world = _frame(path, chunk)
    frames = {component.get("id", ""): world @ _frame(path, component) for component in chunk.iter("component")}
    frames[""] = world
    if (chunk.findtext("reference") or "").lstrip().startswith("LOCAL_CS"):
        return dict(frames), ()
    on_earth = {key: fix for key, frame in frames.items() if (fix := _fix_on_earth(frame)) is not None}
    if not on_earth:
        return dict(frames), ()
    first = next(iter(on_earth))
    local = np.eye(4)
    local[:3, :3] = topocentric_axes(on_earth[first])
    local[:3, 3] = -local[:3, :3] @ frames[first][:3, 3]
    latitude, longitude, altitude = on_earth[first]
    note = (
        "the chunk is georeferenced: its poses are read as metres east, north and up of "
        f"latitude {latitude:.8f}, longitude {longitude:.8f}, altitude {altitude:.3f} m"
    )
    return {key: local @ frame if key in on_earth else None for key, frame in frames.items()}, (note,)


def _fix_on_earth(frame: Float64[np.ndarray, "4 4"]) -> Float64[np.ndarray, "3"] | None:
    """Latitude, longitude and altitude of a frame's origin, where that can be a place that photos are taken at."""
    origin = frame[:3, 3]
    if not np.linalg.norm(origin) > _MIN_RADIUS_M:
        return None
    fix = geographic(origin)
    return fix if _ALTITUDES_M[0] < fix[2] < _ALTITUDES_M[1] else None


def _frame(path: Path, element: ElementTree.Element) -> Float64[np.ndarray, "4 4"]:
    """The similarity of a chunk or component; the identity where it has none."""
    transform = element.find("transform")
    matrix = np.eye(4)
    if transform is None:
        return matrix
    try:
        scale = float(transform.findtext("scale") or 1.0)
        rotation = (
            _numbers(transform.findtext("rotation"), 9).reshape(3, 3)
            if transform.find("rotation") is not None
            else np.eye(3)
        )
        matrix[:3, 3] = (
            _numbers(transform.findtext("translation"), 3) if transform.find("translation") is not None else 0.0
        )
    except (ValueError, BadFrame) as error:
        raise InputError(
            f"{path}: the transform of a {element.tag} is damaged ({said(error)}); export again"
        ) from error
    matrix[:3, :3] = scale * rotation
    return matrix


Elements = dict[str, ElementTree.Element]
"""By their id."""


def _photo(camera: ElementTree.Element, cameras: Elements, sensors: Elements, frames: Frames) -> PosedPhoto | Skipped:
    name = camera.get("label") or f"camera {camera.get('id')}"
    try:
        local, component = _place(camera, cameras, sensors)
        sensor = sensors.get(camera.get("sensor_id", ""))
        if sensor is None:
            raise BadFrame("its sensor is not in the file")
        frame = frames.get(component, frames[""])
        if frame is None:
            raise BadFrame("its component is not georeferenced, others are; align and export the components together")
        scale = float(np.cbrt(max(np.linalg.det(frame[:3, :3]), 0.0)))
        if not scale > 0:
            raise BadFrame("the frame that it lies in is mirrored or has no size")
        placed = frame @ local
        return PosedPhoto(name, _lens(sensor), inverse_rigid(rigid(placed[:3, :3] / scale, placed[:3, 3])))
    except BadFrame as bad:
        return Skipped(name, str(bad))


def _place(camera: ElementTree.Element, cameras: Elements, sensors: Elements) -> tuple[Float64[np.ndarray, "4 4"], str]:
    """A camera's place in its component, and which that is; one of a rig has what its master has, and its sensor's.

    Raises: BadFrame where there is none.
    """
    if camera.find("transform") is not None:
        local = _numbers(camera.findtext("transform"), 16).reshape(4, 4)
        return local, camera.get("component_id", "")
    if (master_id := camera.get("master_id")) is None:
        raise BadFrame("was not aligned")
    master = cameras.get(master_id)
    if master is None or master.find("transform") is None:
        raise BadFrame(f"belongs to the rig of camera {master_id}, which was not aligned")
    local = _numbers(master.findtext("transform"), 16).reshape(4, 4)
    return local @ _master_from_slave(camera, master, sensors), master.get("component_id", "")


def _master_from_slave(
    camera: ElementTree.Element, master: ElementTree.Element, sensors: Elements
) -> Float64[np.ndarray, "4 4"]:
    """A sensor's place on its rig, in the units of the chunk.

    Source: Meta's converter of the Eyeful Tower rigs, metashape_to_krt.py, which is tested on chunks of other scales.

    Raises: BadFrame where the file does not say it, or counts it from another sensor than the master's.
    """
    sensor, matrix = sensors.get(camera.get("sensor_id", "")), np.eye(4)
    of = f"belongs to the rig of camera {master.get('id')}"
    remedy = "export the cameras from Metashape as COLMAP"
    if sensor is None or sensor.find("rotation") is None or sensor.find("location") is None:
        raise BadFrame(f"{of}, and its sensor has no rotation and location; {remedy}")
    if sensor.get("master_id") != master.get("sensor_id"):
        raise BadFrame(f"{of}, and its sensor's place is counted from another sensor than that camera's; {remedy}")
    matrix[:3, :3] = _numbers(sensor.findtext("rotation"), 9).reshape(3, 3)
    matrix[:3, 3] = _numbers(sensor.findtext("location"), 3)
    return matrix


def _numbers(text: str | None, count: int) -> Float64[np.ndarray, "{count}"]:
    try:
        values = np.array([float(word) for word in (text or "").split()])
    except ValueError as error:
        raise BadFrame(f"expected {count} numbers ({said(error)})") from error
    if values.shape != (count,) or not np.isfinite(values).all():
        raise BadFrame(f"expected {count} finite numbers, got {values.size}")
    return values


def _lens(sensor: ElementTree.Element) -> Lens:
    kind = sensor.get("type", "frame")
    if kind not in ("frame", "fisheye", "equidistant_fisheye", "spherical"):
        raise BadFrame(f"its sensor is of type {kind}; supported are frame, fisheye and spherical")
    calibration = next((c for c in sensor.iter("calibration") if c.get("class") != "initial"), None)
    resolution = sensor.find("resolution")
    if resolution is None or (calibration is None and kind != "spherical"):
        raise BadFrame("its sensor is not calibrated")
    width, height = (int(_numbers(resolution.get(side) or "0", 1)[0]) for side in ("width", "height"))
    if kind == "spherical":
        return panorama_lens(width, height)  # there is nothing to calibrate
    if calibration.find("f") is None and calibration.find("fx") is not None:
        # Its middle is counted from the photo's corner, and which tangential coefficient is which changed as well.
        raise BadFrame(
            "its calibration has fx and fy, as PhotoScan up to 1.2 wrote it; open the project in Metashape and "
            "export the cameras again"
        )
    f, cx, cy, b1, k1, k2, k3, k4, p1, p2 = (
        _value(calibration, key) for key in ("f", "cx", "cy", "b1", "k1", "k2", "k3", "k4", "p1", "p2")
    )
    return Lens(
        "METASHAPE",
        width,
        height,
        (f + b1, f),
        (width / 2 + cx, height / 2 + cy),
        radial=(k1, k2, k3, k4),
        # Metashape's first tangential coefficient is OpenCV's second.
        tangential=(0.0, 0.0) if kind != "frame" else (p2, p1),
        fisheye=kind != "frame",
    )


def _value(calibration: ElementTree.Element, key: str) -> float:
    words = calibration.findtext(key)
    return float(_numbers(words, 1)[0]) if words else 0.0


def _is_given(sensor: ElementTree.Element, key: str) -> bool:
    """Whether a calibration has a value that is only told about."""
    try:
        return any(abs(float(found.text or 0)) > 1e-9 for found in sensor.iter(key))
    except ValueError:
        return False
