"""OpenUSD: a prim of type ParticleField3DGaussianSplat, which Nuke 17 and Karma draw. Needs the extra [usd].

Scales and opacities are linear, harmonics a coefficient after the other with red, green and blue of each together.
.usdz is a package of a .usdc.
"""

import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from neural3d.errors import InputError, said
from neural3d.export.frames import gaussians_in_frame
from neural3d.export.rows import Rows, Written, assembled, finite_rows, logits, unit_quats
from neural3d.scene import Similarity
from neural3d.splats.gaussians import Gaussians, cat_gaussians
from neural3d.storage import atomic_write, system_error_of_words

SUFFIXES = (".usd", ".usda", ".usdc", ".usdz")
_ANTIALIASED = "neural3d:antialiased"
_SPLATS = "ParticleField3DGaussianSplat"
_EXTENT_SIGMAS = 3.0
_SMALLEST_SCALE = 1e-30


def write_usd(
    path: str | Path,
    gaussians: Gaussians,
    *,
    capture_from_scene: Similarity,
    indices: Int[Tensor, "M"] | None = None,
    up_axis: Literal["Y", "Z"] = "Y",
    metres_per_unit: float = 1.0,
) -> Written:
    """Write Gaussians (those of `indices`, where given) in the frame that `capture_from_scene` leads to.

    `up_axis` and `metres_per_unit` are what the stage says of that frame.

    Raises: StorageError; InputError when none is finite, or where usd-core is not installed.
    Limits: the whole prim is in memory beside the model.
    """
    path = Path(path)
    pxr = require_pxr(path)
    rows, num_dropped = finite_rows(gaussians, capture_from_scene, indices)

    def write(temporary: Path) -> None:
        try:
            layer = partial(_write_layer, pxr, rows=rows, up_axis=up_axis, metres_per_unit=metres_per_unit)
            write_stage(pxr, temporary, layer, "splats.usdc")
        except pxr.Tf.ErrorException as error:
            raise system_error_of_words(error) from error

    row_bytes = 4 * (3 + 4 + 3 + 1 + 3 * gaussians.sh.shape[1])
    factor = {".usda": 3, ".usdz": 2}.get(path.suffix.lower(), 1)
    atomic_write(path, write, estimate_bytes=factor * row_bytes * len(rows))
    return Written(len(rows), num_dropped)


def read_usd(path: str | Path) -> Gaussians:
    """All splats of the stage at its start, transforms applied, in the stage's own axes.

    Raises: InputError when there are none, when the file is damaged, when its arrays differ in length, when a transform
        shears or mirrors, or where usd-core is not installed.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    pxr = require_pxr(path)
    try:
        return _read(pxr, path)
    except pxr.Tf.ErrorException as error:
        raise InputError(f"{path}: USD cannot read it ({usd_complaint(error)}); write the file again") from error
    except InputError:
        raise
    except (TypeError, ValueError, AttributeError) as error:
        # Attributes may be of any type, whatever the schema says.
        raise InputError(f"{path}: an attribute is of no splats ({said(error)}); write the file again") from error


def usd_axis_and_unit(path: str | Path) -> tuple[Literal["Y", "Z"], float]:
    """What the stage says is up, and how many metres its unit is; USD's own fallbacks, +y and 0.01, where it does not.

    Raises: InputError when the file is damaged, when it says what cannot be, or where usd-core is not installed.
    """
    path = Path(path)
    pxr = require_pxr(path)
    try:
        # What is said of the whole stage lies before the prims, whose arrays are not read for this.
        stage = pxr.Usd.Stage.Open(pxr.Sdf.Layer.OpenAsAnonymous(str(path.resolve()), True))
        axis, metres = pxr.UsdGeom.GetStageUpAxis(stage), pxr.UsdGeom.GetStageMetersPerUnit(stage)
    except pxr.Tf.ErrorException as error:
        raise InputError(f"{path}: USD cannot read it ({usd_complaint(error)}); write the file again") from error
    if axis not in ("Y", "Z") or not 0 < metres < float("inf"):
        raise InputError(
            f"{path}: the stage has upAxis {axis!r} and metersPerUnit {metres:g}, expected Y or Z and a positive "
            "number; write the file again"
        )
    return axis, metres


def require_pxr(path: Path) -> ModuleType:
    """The library.

    Raises: InputError with the remedy where it is missing.
    """
    try:
        import pxr
        from pxr import Gf, Sdf, Tf, Usd, UsdGeom, UsdRender, UsdUtils, UsdVol, Vt  # noqa: F401 (makes them attributes of pxr)
    except ImportError as error:
        raise InputError(f"{path}: USD files need usd-core: pip install 'usd-core>=26.5'") from error
    if not hasattr(UsdVol, _SPLATS):
        version = ".".join(map(str, Usd.GetVersion()))
        raise InputError(f"{path}: usd-core {version} knows no splats; update it: pip install 'usd-core>=26.5'")
    return pxr


def write_stage(pxr: ModuleType, path: Path, write_layer: Callable[[Path], None], inside: str) -> None:
    """Write a file of a layer; a .usdz packs one, named `inside`, that is beside it for a moment."""
    if path.suffix.lower() != ".usdz":
        write_layer(path)
        return
    layer = path.with_name(f"{path.stem}.usdc")
    try:
        write_layer(layer)
        if not pxr.UsdUtils.CreateNewUsdzPackage(str(layer), str(path), inside):
            raise OSError(f"USD cannot pack {path}")
    finally:
        layer.unlink(missing_ok=True)


def _write_layer(pxr: ModuleType, path: Path, rows: Rows, up_axis: str, metres_per_unit: float) -> None:
    stage = pxr.Usd.Stage.CreateNew(str(path))
    stage.SetMetadata("upAxis", up_axis)
    stage.SetMetadata("metersPerUnit", metres_per_unit)
    root = pxr.UsdGeom.Xform.Define(stage, "/World")
    stage.SetDefaultPrim(root.GetPrim())
    prim = pxr.UsdVol.ParticleField3DGaussianSplat.Define(stage, "/World/splats")
    vt = pxr.Vt
    prim.CreatePositionsAttr(vt.Vec3fArray.FromNumpy(_floats(rows, lambda block: block.means_world)))
    prim.CreateOrientationsAttr(vt.QuatfArray.FromNumpy(_floats(rows, lambda b: unit_quats(b)[:, [1, 2, 3, 0]])))
    prim.CreateScalesAttr(vt.Vec3fArray.FromNumpy(_floats(rows, lambda block: block.log_scales.exp())))
    prim.CreateOpacitiesAttr(vt.FloatArray.FromNumpy(_floats(rows, lambda b: torch.sigmoid(b.logit_opacities))))
    prim.CreateRadianceSphericalHarmonicsDegreeAttr(rows.gaussians.sh_degree)
    harmonics = vt.Vec3fArray.FromNumpy(_floats(rows, lambda block: block.sh.flatten(0, 1)))
    prim.CreateRadianceSphericalHarmonicsCoefficientsAttr(harmonics)
    del harmonics
    low, high = _extent(rows)
    prim.CreateExtentAttr(vt.Vec3fArray([pxr.Gf.Vec3f(*low), pxr.Gf.Vec3f(*high)]))
    if rows.gaussians.antialiased:
        prim.GetPrim().SetCustomDataByKey(_ANTIALIASED, True)
    stage.GetRootLayer().Save()


def _floats(rows: Rows, of: Any) -> np.ndarray:
    return np.ascontiguousarray(rows.column(of).numpy().astype(np.float32, copy=False))


def _extent(rows: Rows) -> tuple[list[float], list[float]]:
    """A box around the Gaussians at three sigma."""
    low, high = torch.full((3,), torch.inf), torch.full((3,), -torch.inf)
    for _, block in rows.blocks():
        reach = _EXTENT_SIGMAS * block.log_scales.exp().amax(1, keepdim=True)
        low = torch.minimum(low, (block.means_world - reach).amin(0))
        high = torch.maximum(high, (block.means_world + reach).amax(0))
    return low.tolist(), high.tolist()


def _read(pxr: ModuleType, path: Path) -> Gaussians:
    stage = pxr.Usd.Stage.Open(str(path.resolve()))
    cache = pxr.UsdGeom.XformCache()
    prims = [prim for prim in stage.Traverse() if prim.GetTypeName() == _SPLATS]
    if not prims:
        raise InputError(f"{path}: no Gaussian splats ({_SPLATS}) on the stage; give a file that holds some")
    parts = [_read_prim(path, prim, np.array(cache.GetLocalToWorldTransform(prim)).T) for prim in prims]
    degree = min(part.sh_degree for part in parts)
    kept = [Gaussians(**{**p.tensors(), "sh": p.sh[:, : (degree + 1) ** 2]}, antialiased=p.antialiased) for p in parts]
    return kept[0] if len(kept) == 1 else cat_gaussians(kept)


def _read_prim(path: Path, prim: Any, world: np.ndarray) -> Gaussians:
    """One prim; where an attribute is there in both precisions the single one counts, as the schema says."""
    means, quats = _array(prim, "positions"), _array(prim, "orientations")
    scales, opacities = _array(prim, "scales"), _array(prim, "opacities")
    sh = _array(prim, "radiance:sphericalHarmonicsCoefficients")
    count, degree = len(means), prim.GetAttribute("radiance:sphericalHarmonicsDegree").Get()
    if not isinstance(degree, int) or not 0 <= degree <= 3:
        raise InputError(f"{path}: {prim.GetPath()} has harmonics of degree {degree}; this program knows 0 to 3")
    num_coefficients = (degree + 1) ** 2
    lengths = [len(quats), len(scales), len(opacities), len(sh) / num_coefficients]
    if any(length != count for length in lengths):
        raise InputError(
            f"{path}: {prim.GetPath()} has {count} positions, but other arrays of {lengths}; they must fit"
        )
    similarity = _similarity(path, prim, world)
    antialiased = bool(prim.GetCustomDataByKey(_ANTIALIASED))

    def decode(start: int, stop: int) -> Gaussians:
        block = Gaussians(
            means_world=_tensor(means[start:stop]),
            log_scales=_tensor(scales[start:stop]).clamp(min=_SMALLEST_SCALE).log(),
            quats_wxyz=_tensor(quats[start:stop])[:, [3, 0, 1, 2]],
            logit_opacities=logits(_tensor(opacities[start:stop])),
            sh=_tensor(sh[start * num_coefficients : stop * num_coefficients]).reshape(-1, num_coefficients, 3),
        )
        return gaussians_in_frame(block, similarity)

    return assembled(path, count, degree, antialiased, decode)


def _array(prim: Any, name: str) -> np.ndarray:
    """Values at the stage's start; none where they were never written."""
    for attribute in (prim.GetAttribute(name), prim.GetAttribute(f"{name}h")):
        values = attribute.Get() if attribute else None
        if values is None or not len(values):
            times = attribute.GetTimeSamples() if attribute else []
            values = attribute.Get(times[0]) if times else None
        if values is not None and len(values):
            return np.asarray(values)
    return np.zeros((0, 3), np.float32)


def _tensor(values: np.ndarray) -> Float[Tensor, "..."]:
    return torch.from_numpy(values.astype(np.float32))


def _similarity(path: Path, prim: Any, world: np.ndarray) -> Similarity:
    linear = world[:3, :3]
    scale = float(np.cbrt(np.linalg.det(linear))) if np.isfinite(world).all() else 0.0
    if scale <= 0 or np.abs(linear @ linear.T / scale**2 - np.eye(3)).max() > 1e-4:
        raise InputError(f"{path}: {prim.GetPath()} is sheared, mirrored or flattened; apply its transform first")
    return Similarity(scale, torch.from_numpy(linear / scale), torch.from_numpy(world[:3, 3].copy()))


def usd_complaint(error: Exception) -> str:
    """The first of what USD says, without where in its own sources; it quotes bytes of a damaged file as they are."""
    try:
        said = re.findall(r" : '(.*?)'\s*(?=\n\tError|\Z)", str(error), re.DOTALL)
    except UnicodeDecodeError:
        said = []
    plain = [" ".join(words.split()) for words in said]
    return next((words for words in plain if words and "Failed to open layer" not in words), "it is damaged")[:200]
