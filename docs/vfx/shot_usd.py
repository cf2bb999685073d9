"""One USD stage out of the scene's splats and a camera move, for Houdini's Solaris or any other program that reads USD.

    python shot_usd.py shot.usda scene.usd move.usd

The stage holds no copies: it refers to both files, so exporting either again updates it. Both must be exported with the
same --up. In Solaris: a Sublayer node on shot.usda, Karma XPU, camera /World/camera.
"""

import os
import sys
from pathlib import Path

from pxr import Usd, UsdGeom


def make_shot(shot: Path, splats: Path, cameras: Path) -> None:
    """Write the stage, with range, rate and axes of the camera's file."""
    stage = Usd.Stage.CreateNew(str(shot))
    layers = [os.path.relpath(path.resolve(), shot.resolve().parent) for path in (cameras, splats)]
    stage.GetRootLayer().subLayerPaths = layers
    move = Usd.Stage.Open(str(cameras))
    UsdGeom.SetStageUpAxis(stage, UsdGeom.GetStageUpAxis(move))
    UsdGeom.SetStageMetersPerUnit(stage, UsdGeom.GetStageMetersPerUnit(move))
    for name in ("TimeCodesPerSecond", "FramesPerSecond", "StartTimeCode", "EndTimeCode"):
        getattr(stage, f"Set{name}")(getattr(move, f"Get{name}")())
    stage.SetDefaultPrim(stage.GetPrimAtPath("/World"))
    if move.HasAuthoredMetadata("renderSettingsPrimPath"):
        stage.SetMetadata("renderSettingsPrimPath", move.GetMetadata("renderSettingsPrimPath"))
    stage.GetRootLayer().Save()


if __name__ == "__main__":
    make_shot(*map(Path, sys.argv[1:4]))
