"""Scenes to time operators and frames on, brought to a device."""

from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from neural3d.bench.scenes import RENDER_200K, STEP_50K, SceneSpec, generate
from neural3d.cameras import Cameras
from neural3d.splats.gaussians import Gaussians
from neural3d.splats.view import View, splat_view, view_of
from neural3d.train.photos import TrainingPhoto

FULL_HD = replace(
    RENDER_200K, name="200,000 Gaussians at 1920x1080", width=1920, height=1080, pairs=RENDER_200K.pairs * 9 // 4
)
"""The render table's scene with 1.5 times as many pixels a side."""
SPECS = (STEP_50K, FULL_HD)


@dataclass(frozen=True)
class Workload:
    """A scene on a device, and a photo of it in other colours."""

    name: str
    gaussians: Gaussians
    cameras: Cameras
    view: View
    photo: TrainingPhoto
    background: Float[Tensor, "3"]


def workload(spec: SceneSpec, device: torch.device) -> Workload:
    """The generated scene of a spec; the same numbers on every device."""
    scene = generate(spec)
    view, black = view_of(scene.cameras, 0), torch.zeros(3)
    recolored = replace(scene.gaussians, sh=scene.gaussians.sh.roll(1, dims=0))
    image = splat_view(recolored, view, black).image.clamp(0, 1)
    photo = TrainingPhoto(view, (255 * image).round().to(torch.uint8).permute(1, 2, 0).contiguous(), None, None)
    there = scene.gaussians.to(device)
    return Workload(spec.name, there, scene.cameras, view.to(device), photo.to(device), black.to(device))
