"""@playcanvas/splat-transform: reads splat files and renders them itself, on a CPU through Chromium's SwiftShader."""

import ctypes.util
import json
import math
import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from neural3d.cameras import Cameras
from neural3d.render.paths import look_at

VARIABLE = "NEURAL3D_NODE_MODULES"
ICD = Path("/usr/lib/chromium/vk_swiftshader_icd.json")
WIDTH, HEIGHT, FOV_DEGREES = 640, 400, 50.0
CLIENT_FROM_FILE = torch.tensor([-1.0, -1.0, 1.0])
"""The client turns PLY files by 180 degrees about z before its camera looks at them."""


def command() -> list[str]:
    """How to call it; skips the test where it is not installed."""
    modules = Path(os.environ.get(VARIABLE, Path(__file__).parent / "node_modules"))
    program = modules / ".bin" / "splat-transform"
    if shutil.which("node") is None or not program.exists():
        pytest.skip(f"splat-transform is not in {modules}: run `npm install` in tests/clients, or set {VARIABLE}")
    return ["node", str(program), "-w", "-q"]


def require_renderer() -> None:
    """Skip the test where there is no Vulkan in software."""
    if not ICD.exists() or ctypes.util.find_library("vulkan") is None:
        pytest.skip("no Vulkan in software: apt-get install chromium libvulkan1")


def info(path: Path) -> dict:
    """What the client says is in a file."""
    done = subprocess.run([*command(), str(path), "--info", "json", "null"], capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def render(path: Path, position: torch.Tensor, target: torch.Tensor) -> np.ndarray:
    """The client's picture of a PLY over black, from a place in the file's frame, -y up; values in [0, 1]."""
    require_renderer()
    place, aim = (",".join(f"{v:.9g}" for v in (p * CLIENT_FROM_FILE).tolist()) for p in (position, target))
    picture = path.with_suffix(".webp")
    view = ["--camera-pos", place, "--camera-target", aim, "--camera-fov", f"{FOV_DEGREES:g}"]
    size = ["--resolution", f"{WIDTH}x{HEIGHT}", "--background", "0,0,0,1"]
    environment = {**os.environ, "VK_ICD_FILENAMES": str(ICD), "XDG_RUNTIME_DIR": str(path.parent)}
    called = [*command(), str(path), str(picture), *view, *size]
    done = subprocess.run(called, capture_output=True, text=True, env=environment, timeout=300)
    assert done.returncode == 0, done.stderr
    with Image.open(picture) as image:
        return np.asarray(image.convert("RGB")).astype(np.float64) / 255


def camera(position: torch.Tensor, target: torch.Tensor) -> Cameras:
    """The same view for our own renderer."""
    pose = look_at(position[None].double(), target[None].double(), torch.tensor([0.0, -1, 0])).float()
    size = torch.tensor([[WIDTH, HEIGHT]])
    focal = HEIGHT / 2 / math.tan(math.radians(FOV_DEGREES) / 2)
    return Cameras(pose, torch.full((1, 2), focal), size / 2, size)
