"""Cameras of OpenUSD: one UsdGeom.Camera with time samples, and the picture's size in render settings.

Focal length and apertures are in tenths of a scene unit, whatever unit the stage has: in metres 28.125 mm are 0.28125.
An aperture of another shape than the picture is brought to it as the render settings say.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np

from neural3d.errors import InputError, said
from neural3d.export.film import FilmCamera, FilmMove, whole_frames
from neural3d.export.usd import require_pxr, usd_complaint, write_stage
from neural3d.render.camera_files import rising_numbers
from neural3d.storage import atomic_write, system_error_of_words

_CAMERA = "/World/camera"
_SETTINGS = "/Render/settings"
_FRAMES = "neural3d:frames"
_CLIP = (0.001, 1e6)
"""Of the camera, in units."""
_ROUNDING = 1e-6
"""Of a pixel's width over its height, beyond which it is said."""
_MOST_ASPECT = 1e6
_SAME_SHAPE = 1e-4
"""Relative: what rounding and whole pixels make of an aperture that was meant to have the picture's shape."""
_CHANGES_WIDTH: dict[str, Callable[[bool], bool]] = {
    "expandAperture": lambda is_wider: not is_wider,
    "cropAperture": lambda is_wider: is_wider,
    "adjustApertureWidth": lambda _: True,
    "adjustApertureHeight": lambda _: False,
}
"""Of an aperture, and not its height: by policy, and whether it is wider than the picture."""
_FITS_PIXELS = "adjustPixelAspectRatio"


@dataclass(frozen=True)
class _Picture:
    """What the render settings say of it."""

    size_px: tuple[int, int]
    pixel_aspect: float
    """Width of a pixel over its height."""
    policy: str
    """What gives way where the camera's aperture has another shape."""


def write_usd_cameras(
    path: Path, move: FilmMove, *, up_axis: Literal["Y", "Z"] = "Y", metres_per_unit: float = 1.0
) -> tuple[str, ...]:
    """Write a move as .usd, .usda, .usdc or .usdz; what does not change has no time samples.

    `up_axis` and `metres_per_unit` are what the stage says of the move's frame.

    Raises: InputError where usd-core is not installed; StorageError.
    """
    pxr, says = require_pxr(path), {"up_axis": up_axis, "metres_per_unit": metres_per_unit}

    def write(temporary: Path) -> None:
        try:
            write_stage(pxr, temporary, partial(_write_layer, pxr, move=move, **says), "cameras.usdc")
        except pxr.Tf.ErrorException as error:
            raise system_error_of_words(error) from error

    atomic_write(path, write, estimate_bytes=256 * len(move.frames))
    return ()


def read_usd_cameras(path: Path) -> FilmMove:
    """Read the move of the stage's one camera, or of the one that its render settings name, at whole frames.

    Raises: InputError when there is none, or more than one, when it has no perspective, when the file is damaged, or
        where usd-core is not installed.
    """
    pxr = require_pxr(path)
    try:
        stage = pxr.Usd.Stage.Open(str(path.resolve()))
        settings = pxr.UsdRender.Settings.GetStageRenderSettings(stage)
        camera = _one_camera(pxr, path, stage, settings)
        picture = _picture(path, settings)
        frames = _frames(pxr, path, stage, camera)
        meters = pxr.UsdGeom.GetStageMetersPerUnit(stage)
        cameras = tuple(_at(pxr, camera, frame, meters, picture) for frame in frames)
        return FilmMove(cameras, tuple(frames), stage.GetTimeCodesPerSecond())
    except pxr.Tf.ErrorException as error:
        raise InputError(f"{path}: USD cannot read it ({usd_complaint(error)}); write the file again") from error
    except InputError:
        raise
    except (TypeError, ValueError, AttributeError) as error:
        # Attributes may be of any type, whatever the schema says.
        raise InputError(f"{path}: an attribute is no camera's ({said(error)}); write the file again") from error


def _write_layer(pxr: Any, path: Path, move: FilmMove, up_axis: str, metres_per_unit: float) -> None:
    stage = pxr.Usd.Stage.CreateNew(str(path))
    pxr.UsdGeom.SetStageUpAxis(stage, up_axis)
    pxr.UsdGeom.SetStageMetersPerUnit(stage, metres_per_unit)
    stage.SetTimeCodesPerSecond(move.fps)
    stage.SetFramesPerSecond(move.fps)
    stage.SetStartTimeCode(move.frames[0])
    stage.SetEndTimeCode(move.frames[-1])
    stage.SetDefaultPrim(pxr.UsdGeom.Xform.Define(stage, "/World").GetPrim())
    camera = pxr.UsdGeom.Camera.Define(stage, _CAMERA)
    if len(move.frames) != move.frames[-1] - move.frames[0] + 1:
        # Between samples USD mixes matrices, which gives no camera: this says where there is one.
        camera.GetPrim().SetCustomDataByKey(_FRAMES, pxr.Vt.IntArray(list(move.frames)))
    _set(camera.MakeMatrixXform(), move, lambda c: pxr.Gf.Matrix4d(c.world_from_camera.T.tolist()))
    tenths = 1 / (100 * metres_per_unit)
    _set(camera.CreateFocalLengthAttr(), move, lambda c: c.focal_mm * tenths)
    _set(camera.CreateHorizontalApertureAttr(), move, lambda c: c.sensor_mm[0] * tenths)
    _set(camera.CreateVerticalApertureAttr(), move, lambda c: c.sensor_mm[1] * tenths)
    # The film moves against the principal point, with y up.
    _set(camera.CreateHorizontalApertureOffsetAttr(), move, lambda c: -c.off_center[0] * c.sensor_mm[0] * tenths)
    _set(camera.CreateVerticalApertureOffsetAttr(), move, lambda c: c.off_center[1] * c.sensor_mm[1] * tenths)
    camera.CreateClippingRangeAttr(pxr.Gf.Vec2f(*_CLIP))
    if move.cameras[0].size_px is not None:
        _write_settings(pxr, stage, move)
    stage.GetRootLayer().Save()


def _write_settings(pxr: Any, stage: Any, move: FilmMove) -> None:
    settings = pxr.UsdRender.Settings.Define(stage, _SETTINGS)
    settings.CreateResolutionAttr(pxr.Gf.Vec2i(*move.cameras[0].size_px))
    aspects = [_pixel_aspect(camera) for camera in move.cameras]
    if max(abs(aspect - 1) for aspect in aspects) > _ROUNDING:
        settings.CreatePixelAspectRatioAttr(aspects[0])
    is_one_size = len({camera.size_px for camera in move.cameras}) == 1
    if is_one_size and max(aspects) - min(aspects) > _ROUNDING * aspects[0]:
        # The ratio cannot change over time: this asks for the one that makes the picture cover each frame's aperture.
        settings.CreateAspectRatioConformPolicyAttr(_FITS_PIXELS)
    settings.CreateCameraRel().SetTargets([_CAMERA])
    stage.SetMetadata("renderSettingsPrimPath", _SETTINGS)


def _pixel_aspect(camera: FilmCamera) -> float:
    width, height = camera.size_px
    return camera.sensor_mm[0] / camera.sensor_mm[1] * height / width


def _set(attribute: Any, move: FilmMove, of: Any) -> None:
    values = [of(camera) for camera in move.cameras]
    if all(value == values[0] for value in values):
        attribute.Set(values[0])
        return
    for frame, value in zip(move.frames, values, strict=True):
        attribute.Set(value, frame)


def _one_camera(pxr: Any, path: Path, stage: Any, settings: Any) -> Any:
    named = settings.GetCameraRel().GetTargets() if settings else []
    found = [prim for prim in stage.Traverse() if prim.IsA(pxr.UsdGeom.Camera)]
    chosen = [prim for prim in found if prim.GetPath() in named] or found
    if len(chosen) != 1:
        names = ", ".join(str(prim.GetPath()) for prim in found[:5]) or "none"
        raise InputError(
            f"{path}: {len(chosen)} cameras on the stage ({names}); leave one, or name it in the render settings"
        )
    camera = pxr.UsdGeom.Camera(chosen[0])
    if camera.GetProjectionAttr().Get() != pxr.UsdGeom.Tokens.perspective:
        raise InputError(f"{path}: {chosen[0].GetPath()} is orthographic; give a perspective camera")
    return camera


def _picture(path: Path, settings: Any) -> _Picture | None:
    """None where the settings name no size: then there is nothing that the aperture must be brought to."""
    if not settings or not settings.GetResolutionAttr().HasAuthoredValue():
        return None
    width, height = settings.GetResolutionAttr().Get()
    aspect, policy = settings.GetPixelAspectRatioAttr().Get(), settings.GetAspectRatioConformPolicyAttr().Get()
    if not 0 < aspect < _MOST_ASPECT or policy not in (*_CHANGES_WIDTH, _FITS_PIXELS):
        raise InputError(
            f"{path}: {settings.GetPath()} has pixelAspectRatio {aspect:g} and aspectRatioConformPolicy {policy!r}, "
            "expected a positive number and a policy of USD; write the file again"
        )
    return _Picture((int(width), int(height)), aspect, policy)


def _frames(pxr: Any, path: Path, stage: Any, camera: Any) -> Sequence[int]:
    """Those that we have noted, else the stage's range, else that of the samples on the camera and what it hangs on.

    One frame where there is nothing of these.
    """
    noted = camera.GetPrim().GetCustomDataByKey(_FRAMES)
    if isinstance(noted, pxr.Vt.IntArray) and len(noted) and (numbers := rising_numbers(list(noted))):
        return numbers
    if stage.HasAuthoredTimeCodeRange():
        return whole_frames(path, stage.GetStartTimeCode(), stage.GetEndTimeCode())
    times: set[float] = set()
    prim = camera.GetPrim()
    while prim and not prim.IsPseudoRoot():
        for attribute in prim.GetAttributes():
            samples = attribute.GetTimeSamples()
            times |= {samples[0], samples[-1]} if samples else set()
        prim = prim.GetParent()
    return whole_frames(path, min(times), max(times)) if times else range(1, 2)


def _at(pxr: Any, camera: Any, frame: int, meters: float, picture: _Picture | None) -> FilmCamera:
    time = pxr.Usd.TimeCode(frame)
    world = np.array(pxr.UsdGeom.XformCache(time).GetLocalToWorldTransform(camera.GetPrim()), np.float64).T
    mm = 100 * meters
    aperture = camera.GetHorizontalApertureAttr().Get(time), camera.GetVerticalApertureAttr().Get(time)
    width, height = aperture if picture is None else _conformed(aperture, picture)
    right = -camera.GetHorizontalApertureOffsetAttr().Get(time) / width if width else 0.0
    down = camera.GetVerticalApertureOffsetAttr().Get(time) / height if height else 0.0
    focal_mm = camera.GetFocalLengthAttr().Get(time) * mm
    size_px = None if picture is None else picture.size_px
    return FilmCamera(world, focal_mm, (width * mm, height * mm), (right, down), size_px)


def _conformed(aperture: tuple[float, float], picture: _Picture) -> tuple[float, float]:
    """The part of the film that the picture shows, about the aperture's middle; one that is no aperture as it is.

    Source: OpenUSD, UsdRenderSettingsBase, aspectRatioConformPolicy, as UsdRenderComputeSpec applies it.
    """
    width, height = aperture
    if not (width > 0 and height > 0 and min(picture.size_px) > 0) or picture.policy == _FITS_PIXELS:
        return aperture
    aspect = picture.pixel_aspect * picture.size_px[0] / picture.size_px[1]
    if abs(width / height / aspect - 1) <= _SAME_SHAPE:
        return aperture
    changes_width = _CHANGES_WIDTH[picture.policy](width > aspect * height)
    return (height * aspect, height) if changes_width else (width, width / aspect)
