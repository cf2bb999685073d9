"""The twins work where no native library is built: they load none."""

import sys
from importlib import import_module
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parents[3]))
SPLATS = ("project", "sh", "bin", "rasterize", "photometric", "adam", "color_affine", "bilateral_slice")
FIELDS = ("hash_encode", "march", "composite", "radiance_mlp", "occupancy", "nearest_points", "blend_points")
for name in SPLATS + FIELDS:
    import_module(f"neural3d.reference.{name}")
assert not torch.ops.loaded_libraries, torch.ops.loaded_libraries
