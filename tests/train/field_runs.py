"""Small trainings of every kind of field, and what there is to ask of them."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from neural3d.checkpoints import Checkpoint
from neural3d.fields.field import RadianceField
from neural3d.render.fields import render_field
from neural3d.run import Run
from neural3d.scene import Scene
from neural3d.train.fields import FieldConfig, FieldResult, train_field
from neural3d.train.hashgrid_config import HashGridConfig
from neural3d.train.mlp_config import MlpConfig
from neural3d.train.points_config import PointsConfig

from .small_scenes import make_scene, stop_at

SMALL_MLP = MlpConfig(
    steps=12,
    max_seconds=None,
    rays=130,
    coarse_samples=8,
    fine_samples=8,
    depth=3,
    width=16,
    skip=1,
    position_frequencies=3,
    direction_frequencies=1,
    occupancy_cells=16,
    density_noise=0.1,
)
SMALL_HASHGRID = HashGridConfig(
    steps=40,
    max_seconds=None,
    samples=4000,
    levels=4,
    log2_rows=10,
    coarsest=4,
    finest=32,
    width=16,
    appearance=2,
    occupancy_cells=16,
    open_rays=128,
    ray_samples=16,
    distortion=0.01,
)
SMALL_POINTS = PointsConfig(
    points_from="capture",
    steps=30,
    max_seconds=None,
    splat_steps=40,
    max_points=1500,
    samples=4000,
    features=16,
    width=16,
    occupancy_cells=16,
    change_steps=9,
    prune_below=0.75,
    grow_opacity=0.01,
    grow_distance=0.3,
)


@dataclass(frozen=True)
class Trained:
    """What a training left in its run."""

    result: FieldResult
    checkpoint: Checkpoint

    @property
    def tensors(self) -> dict[str, Tensor]:
        return self.checkpoint.tensors


def trained(path: Path, config: FieldConfig, scene: Scene | None = None) -> Trained:
    """A whole training, by default on photos with alpha."""
    return trained_in_parts(path, config, make_scene(has_alpha=True) if scene is None else scene, ())


def trained_in_parts(path: Path, config: FieldConfig, scene: Scene, stops: Sequence[int]) -> Trained:
    """A training that is stopped after so many steps, each time by somebody else."""
    with Run.create(path, {}):
        pass
    done = 0
    for stop in (*stops, config.steps):
        with Run.resume(path) as run:
            result = train_field(
                scene, config, run=run, observers=[stop_at(stop - done)] if stop < config.steps else []
            )
        assert (result.step, result.completed) == (stop, stop == config.steps)
        done = stop
    checkpoint = Run.open(path).latest_checkpoint()
    assert checkpoint is not None and checkpoint.step == config.steps
    return Trained(result, checkpoint)


def field_psnr(field: RadianceField, scene: Scene, background: Tensor | None = None) -> float:
    """Over all photos, on black unless told otherwise."""
    background = torch.zeros(3) if background is None else background
    errors = []
    for i, photo in enumerate(scene.photos):
        seen = render_field(field, scene.cameras[i], background=background).colors[0].clamp(0, 1)
        alpha = 1 if photo.alpha is None else photo.alpha[..., None] / 255
        errors.append((seen - alpha * photo.pixels / 255 - (1 - alpha) * background).square().mean())
    return -10 * math.log10(float(torch.stack(errors).mean()))
