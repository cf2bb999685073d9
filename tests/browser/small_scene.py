"""What browsers are shown in the tests."""

import math

import torch

from neural3d.cameras import Cameras
from neural3d.scene import Photo, Scene, Similarity
from neural3d.splats.gaussians import Gaussians

BLOBS = {
    "red": ([0.0, 0.0, 0.0], [0.9, 0.1, 0.1]),
    "green": ([0.0, 0.8, 0.0], [0.1, 0.7, 0.1]),
    "blue": ([0.0, 0.0, 0.8], [0.1, 0.1, 0.9]),
}
"""Where they are and their colours; +z is up."""


def three_blobs() -> Gaussians:
    """Three balls of 200 splats each."""
    torch.manual_seed(0)
    centers = torch.cat([0.08 * torch.randn(200, 3) + torch.tensor(center) for center, _ in BLOBS.values()])
    colors = torch.cat([torch.tensor(color).expand(200, 3) for _, color in BLOBS.values()])
    return Gaussians(
        means_world=centers,
        log_scales=torch.full((600, 3), math.log(0.05)),
        quats_wxyz=torch.tensor([[1.0, 0.0, 0.0, 0.0]]).repeat(600, 1),
        logit_opacities=torch.full((600,), 3.0),
        sh=((colors - 0.5) / 0.28209479177387814)[:, None],
    )


def two_cameras() -> Scene:
    """Two cameras; the first looks along -x from (4, 0, 0), so +y is on its right."""
    camera_from_world = torch.tensor(
        [[0.0, 1.0, 0.0, 0.0], [0.0, 0.0, -1.0, 0.0], [-1.0, 0.0, 0.0, 4.0], [0, 0, 0, 1.0]]
    )
    aside = camera_from_world.clone()
    aside[0, 3] = 2.0
    return Scene(
        cameras=Cameras(
            torch.stack([camera_from_world, aside]),
            torch.full((2, 2), 60.0),
            torch.tensor([[32.0, 24.0]]).repeat(2, 1),
            torch.tensor([[64, 48]]).repeat(2, 1),
        ),
        photos=tuple(Photo(f"{i}.png", torch.full((48, 64, 3), 128, dtype=torch.uint8)) for i in range(2)),
        train_indices=torch.tensor([0]),
        test_indices=torch.tensor([1]),
        points=None,
        capture_from_scene=Similarity.identity(),
        extent=1.0,
        up_world=torch.tensor([0.0, 0.0, 1.0]),
        has_alpha=False,
        downscale=1.0,
    )
