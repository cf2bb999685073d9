"""OpenEXR for compositors: parts rgba, depth, normal, position, forward and object ids, with the camera in the header.

World means the capture's own frame and units throughout. The parts and their channels (`depth.Z`, `normal.X`, ...) are
named so that Nuke makes layers of them and Blender sockets. Needs the extra [vfx].
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from neural3d.cameras import Cameras
from neural3d.capture.lenses import Lens
from neural3d.render.color_spaces import CHROMATICITIES, ColorSpace, to_scene
from neural3d.render.cryptomatte import cryptomatte_header, cryptomatte_parts
from neural3d.render.exr_files import read_attribute, require_openexr, write_parts
from neural3d.render.layers import LayerTile, cropped, layer_tiles, points_at
from neural3d.render.model import Model
from neural3d.render.objects import Objects
from neural3d.render.panorama import panorama_points, panorama_tiles
from neural3d.render.plates import bent, overscan_px, plate_pixels
from neural3d.render.shutter import shutter_cameras
from neural3d.scene import Similarity

Layer = Literal["rgba", "depth", "normal", "position", "motion", "object"]
LAYERS: tuple[Layer, ...] = ("rgba", "depth", "normal", "position", "motion")
"""Those that every model has; `object` needs `Objects`, too."""
FAR = 1e10
"""The depth where nothing is: behind everything, as Blender has it."""
FINGERPRINT = "neural3d:fingerprint"
_PARTS: dict[Layer, tuple[str, tuple[str, ...]]] = {
    "rgba": ("rgba", ("R", "G", "B", "A")),
    "depth": ("depth", ("depth.Z",)),
    "normal": ("normal", ("normal.X", "normal.Y", "normal.Z")),
    "position": ("position", ("position.X", "position.Y", "position.Z")),
    "motion": ("forward", ("forward.u", "forward.v")),
}
"""Names of the part and of its channels."""
_FLOAT_ALWAYS = ("depth", "position", "motion", "object")
"""Half has 11 bits: a depth of 3 km would be known to 2 m, and the bits of an id lost."""
_INTEROP_IDS = {"linear": "lin_rec709_scene", "acescg": "lin_ap1_scene", "srgb": "srgb_rec709_scene"}


@dataclass(frozen=True)
class ExrSettings:
    """What a file holds."""

    layers: tuple[Layer, ...] = ("rgba", "depth", "normal", "position")
    space: ColorSpace = "linear"
    precision: Literal["half", "float"] = "half"
    """Of colours and normals."""
    overscan_px: int = 0
    """Rendered beyond each border of the display window."""
    shutter: float = 0.0
    """How long the shutter is open, in frames around the frame's own time: 0.5 is 180 degrees; 0: not blurred."""
    shutter_samples: int = 16
    """Views whose light is averaged while it is open."""
    panorama: bool = False
    """All around the camera: 360 by 180 degrees, the camera looks at the middle."""


@dataclass(frozen=True)
class ExrFrame:
    """One frame of a camera move."""

    camera: Cameras
    """One view, in the scene's frame."""
    next_camera: Cameras | None = None
    """The view of the frame after it; None: it does not move."""
    number: int = 1
    fps: float = 24.0
    sensor_width_mm: float = 36.0
    lens: Lens | None = None
    """Bend the picture as this lens does, which has the camera's size, focal length and principal point."""
    previous_camera: Cameras | None = None
    """The view of the frame before it, for motion blur."""


def write_exr(
    path: str | Path,
    model: Model,
    frame: ExrFrame,
    *,
    capture_from_scene: Similarity,
    settings: ExrSettings = ExrSettings(),
    objects: Objects | None = None,
    fingerprint: str = "",
) -> None:
    """Render one frame and write it.

    Colours are premultiplied; nothing is behind the model. Depth is z along the camera's axis, of a panorama the
    distance from the camera, `FAR` where nothing is; normals and positions are in the world, 0 where nothing is. Motion
    is how far the point that a pixel shows goes until the next frame, in pixels, right and up. None of these is
    multiplied by alpha. Colours alone are blurred by the shutter, alpha with them, as light: the rest is of the frame's
    own time. The layer `object` is a Cryptomatte of the `objects`.

    Raises: InputError where OpenEXR is not installed; StorageError; ValueError for no layer, for the layer `object`
        without `objects`, or for those of a field.
    Limits: the parts of one frame are in memory, up to 44 bytes a pixel, 4 more an object and 16 with a shutter, beside
        what one tile takes to render.
    """
    path = Path(path)
    require_openexr(path)
    if not settings.layers:
        raise ValueError("layers: expected at least one")
    if ("object" in settings.layers) != (objects is not None):
        raise ValueError("objects: expected with the layer object, and with it alone")
    if settings.panorama and (settings.overscan_px or frame.lens is not None or "motion" in settings.layers):
        raise ValueError("panorama: it has no border, no lens and no layer motion")
    if frame.lens is None:
        parts = _parts(model, frame, capture_from_scene, settings, objects)
    else:
        parts = _plate_parts(model, frame, capture_from_scene, settings, objects)
    header = exr_header(frame, capture_from_scene, settings, fingerprint)
    if objects is not None:
        parts |= cryptomatte_parts(np.stack(list(parts.pop("object").values())), objects.names)
        header |= cryptomatte_header(objects.names)
    write_parts(path, parts, header)


def exr_header(
    frame: ExrFrame, capture_from_scene: Similarity, settings: ExrSettings, fingerprint: str
) -> dict[str, Any]:
    """Attributes of a frame: its windows, the camera and the frame rate, what colours mean, and `fingerprint`."""
    return {
        **_windows(frame.camera, settings.overscan_px if frame.lens is None else 0),
        **_pose_header(frame, capture_from_scene),
        **(_panorama_header() if settings.panorama else _lens_header(frame)),
        "chromaticities": CHROMATICITIES[settings.space],
        "colorInteropID": _INTEROP_IDS[settings.space],
        FINGERPRINT: fingerprint,
    }


def exr_fingerprint(path: Path) -> str | None:
    """What `write_exr` was given to know the file by; None where it is none of ours, or damaged."""
    return read_attribute(path, FINGERPRINT)


def _parts(
    model: Model, frame: ExrFrame, capture_from_scene: Similarity, settings: ExrSettings, objects: Objects | None
) -> dict[str, dict[str, np.ndarray]]:
    """The pixels by part and channel, put together from tiles; of objects, how much each covers."""
    over = settings.overscan_px
    camera = widened(frame.camera, over)
    width, height = camera.size_px[0].tolist()
    shape = (height, width)
    dtypes = {layer: _dtype(layer, settings) for layer in settings.layers}
    named = _PARTS | ({} if objects is None else {"object": ("object", objects.names)})
    parts = {
        named[layer][0]: {name: np.empty(shape, dtypes[layer]) for name in named[layer][1]} for layer in settings.layers
    }
    blurred = _blurred(model, frame, settings)
    sharp = tuple(layer for layer in settings.layers if blurred is None or layer != "rgba")

    def put(layer: Layer, plane: Float[Tensor, "H W C"], place: tuple[slice, slice]) -> None:
        name, channels = named[layer]
        for channel, values in zip(channels, plane.unbind(-1), strict=True):
            parts[name][channel][place] = _stored(values, dtypes[layer])

    if blurred is not None:
        put("rgba", blurred, (slice(None), slice(None)))
    for tile in _tiles(settings)(model, camera, objects=objects) if sharp else ():
        planes = _planes(tile, camera, frame, capture_from_scene, replace(settings, layers=sharp))
        for layer, plane in planes.items():
            put(layer, plane, _place(tile))
    return parts


def _tiles(settings: ExrSettings) -> Callable[..., Iterator[LayerTile]]:
    return panorama_tiles if settings.panorama else layer_tiles


def _place(tile: LayerTile) -> tuple[slice, slice]:
    """Rows and columns of the picture."""
    height, width = tile.colors.shape[:2]
    return slice(tile.top, tile.top + height), slice(tile.left, tile.left + width)


def _blurred(model: Model, frame: ExrFrame, settings: ExrSettings) -> Float[Tensor, "H W 4"] | None:
    """The average of what is seen while the shutter is open; None where nothing is blurred.

    A film gathers light: that is what is averaged, one view after the other, and a curve for displays comes after it.
    """
    views = _open_shutter(frame, settings)
    if not views:
        return None
    width, height = widened(frame.camera, settings.overscan_px).size_px[0].tolist()
    light = torch.zeros(height, width, 4)
    for view in views:
        for tile in _tiles(settings)(model, widened(view, settings.overscan_px)):
            light[_place(tile)] += _light(tile, "linear" if settings.space == "srgb" else settings.space)
    light /= len(views)
    if settings.space == "srgb":
        light[..., :3] = to_scene(light[..., :3], light[..., 3:], "srgb", is_light=True)
    return light


def widened(camera: Cameras, over: int) -> Cameras:
    """The one view with so many pixels more beyond each border."""
    width, height = camera.size_px[0].tolist()
    return cropped(camera, -over, -over, width + 2 * over, height + 2 * over)


def _open_shutter(frame: ExrFrame, settings: ExrSettings) -> list[Cameras]:
    """The views to average; none where nothing is blurred."""
    if settings.shutter == 0 or "rgba" not in settings.layers:
        return []
    when = {"shutter": settings.shutter, "count": settings.shutter_samples}
    return shutter_cameras(frame.camera, frame.previous_camera, frame.next_camera, **when)


def _light(tile: LayerTile, space: ColorSpace) -> Float[Tensor, "H W 4"]:
    return torch.cat([to_scene(tile.colors, tile.alphas, space, is_light=tile.is_light), tile.alphas], dim=-1)


def _plate_parts(
    model: Model, frame: ExrFrame, capture_from_scene: Similarity, settings: ExrSettings, objects: Objects | None
) -> dict[str, dict[str, np.ndarray]]:
    """Rendered straight, as far beyond the picture as the lens looks, and bent."""
    over = overscan_px(frame.lens)
    straight = _parts(model, frame, capture_from_scene, replace(settings, overscan_px=over), objects)
    pixels = plate_pixels(frame.lens)
    parts = {name: bent(name, channels, pixels, over) for name, channels in straight.items()}
    for plane in parts.get("depth", {}).values():
        plane[plane == 0] = FAR
    return parts


def _dtype(layer: Layer, settings: ExrSettings) -> type:
    return np.float32 if layer in _FLOAT_ALWAYS or settings.precision == "float" else np.float16


def _stored(plane: Float[Tensor, "H W"], dtype: type) -> np.ndarray:
    """A half cannot hold what is brighter than 65504: that is its brightest then."""
    limit = float(np.finfo(dtype).max)
    return plane.clamp(-limit, limit).numpy().astype(dtype)


def _planes(
    tile: LayerTile, camera: Cameras, frame: ExrFrame, capture_from_scene: Similarity, settings: ExrSettings
) -> dict[Layer, Float[Tensor, "H W C"]]:
    """The layers that were asked for, of one tile."""
    height, width = tile.colors.shape[:2]
    there = tile.depths > 0
    window = cropped(camera, tile.left, tile.top, width, height)
    planes: dict[Layer, Tensor] = {}
    for layer in settings.layers:
        match layer:
            case "rgba":
                planes[layer] = _light(tile, settings.space)
            case "depth":
                planes[layer] = torch.where(there, tile.depths * capture_from_scene.scale, FAR)
            case "normal":
                planes[layer] = tile.normals @ capture_from_scene.rotation.T.to(tile.normals)
            case "position":
                at = panorama_points if settings.panorama else points_at
                points = capture_from_scene.apply(at(window, tile.depths).double()).float()
                planes[layer] = torch.where(there, points, 0)
            case "motion":
                planes[layer] = torch.where(there, _motion(window, frame, tile.depths), 0)
            case "object":
                planes[layer] = tile.coverages
    return planes


def _motion(window: Cameras, frame: ExrFrame, depths: Float[Tensor, "H W 1"]) -> Float[Tensor, "H W 2"]:
    """Right and up, in pixels; points behind the next camera do not move, as nobody can say where to."""
    if frame.next_camera is None:
        return torch.zeros(*depths.shape[:2], 2)
    # In float64: a motion is the small difference of two places.
    points = points_at(_double(window), depths.double())
    now, _ = _pixels(_double(frame.camera), points)
    then, is_before = _pixels(_double(frame.next_camera), points)
    return torch.where(is_before, (then - now) * torch.tensor([1.0, -1.0]), 0).float()


def _pixels(camera: Cameras, points: Float[Tensor, "H W 3"]) -> tuple[Float[Tensor, "H W 2"], Tensor]:
    """Where the one view sees points, and whether they are before it."""
    pose = camera.camera_from_world[0]
    seen = points @ pose[:3, :3].T + pose[:3, 3]
    is_before = seen[..., 2:] > 0
    return seen[..., :2] / seen[..., 2:] * camera.focal_px[0] + camera.principal_px[0], is_before


def _double(camera: Cameras) -> Cameras:
    tensors = (camera.camera_from_world, camera.focal_px, camera.principal_px)
    return Cameras(*(tensor.double().cpu() for tensor in tensors), camera.size_px.cpu())


def _windows(camera: Cameras, over: int) -> dict[str, Any]:
    """The display window is the picture; the data window is what is there of it."""
    width, height = camera.size_px[0].tolist()
    corners = {"displayWindow": (0, 0, width - 1, height - 1)}
    corners["dataWindow"] = (-over, -over, width + over - 1, height + over - 1)
    return {name: (np.array(c[:2], np.int32), np.array(c[2:], np.int32)) for name, c in corners.items()}


def _pose_header(frame: ExrFrame, capture_from_scene: Similarity) -> dict[str, Any]:
    """Where the camera stands and when, in the header's standard attributes.

    `worldToCamera` maps row vectors; its camera is left-handed: x right, y up, and it looks along +z.

    Source: OpenEXR, Standard Attributes.
    """
    camera = _double(frame.camera)
    rotation = torch.diag(torch.tensor([1.0, -1.0, 1.0]).double()) @ camera.camera_from_world[0, :3, :3]
    rotation = rotation @ capture_from_scene.rotation.double().T
    center = capture_from_scene.apply(camera.centers_world[0])
    matrix = np.eye(4, dtype=np.float32)
    matrix[:3, :3], matrix[3, :3] = rotation.T.numpy(), -(rotation @ center).numpy()
    return {
        "worldToCamera": matrix,
        "framesPerSecond": Fraction(frame.fps).limit_denominator(1001),
        "imageCounter": frame.number,
    }


def _lens_header(frame: ExrFrame) -> dict[str, Any]:
    """What the camera sees, in standard attributes, with its screen window at unit distance, and exactly in ours."""
    camera = _double(frame.camera)
    (fx, fy), (cx, cy) = camera.focal_px[0].tolist(), camera.principal_px[0].tolist()
    width, height = camera.size_px[0].tolist()
    return {
        "screenWindowWidth": width / fx,
        "screenWindowCenter": np.array([(width / 2 - cx) / fx, (cy - height / 2) / fy], np.float32),
        "effectiveFocalLength": fx / width * frame.sensor_width_mm,
        "neural3d:sensorWidthMm": frame.sensor_width_mm,
        "neural3d:focalPx": np.array([fx, fy], np.float32),
        "neural3d:principalPx": np.array([cx, cy], np.float32),
    }


def _panorama_header() -> dict[str, Any]:
    """Source: OpenEXR, Standard Attributes, environment maps."""
    import OpenEXR

    return {"envmap": OpenEXR.ENVMAP_LATLONG}
