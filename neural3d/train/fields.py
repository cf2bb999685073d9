"""Training radiance fields: every kind of field through the same loop as splats."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

from torch import Tensor

from neural3d.cameras import Cameras
from neural3d.checkpoints import Checkpoint
from neural3d.errors import InputError
from neural3d.fields.field import RadianceField
from neural3d.fields.nerfacc_composite import CompositeFn
from neural3d.ops.composite import composite
from neural3d.ops.library import native
from neural3d.run import Run
from neural3d.scene import Scene
from neural3d.train.hashgrid import HashGridLearner, hashgrid_model
from neural3d.train.hashgrid_config import HashGridConfig
from neural3d.train.hashgrid_place import hashgrid_place
from neural3d.train.limits import check_names
from neural3d.train.loop import Budget, Learner, TrainingLoop
from neural3d.train.mlp import MlpLearner, mlp_model
from neural3d.train.mlp_config import MlpConfig
from neural3d.train.mlp_place import mlp_place
from neural3d.train.observer import TrainingObserver
from neural3d.train.points import PointsLearner, points_model, points_place
from neural3d.train.points_config import PointsConfig

FieldName = Literal["mlp", "hashgrid", "points"]
FieldConfig = MlpConfig | HashGridConfig | PointsConfig


class FieldLearner(Learner, Protocol):
    """A learner that can be begun and gone on with."""

    def begin(self, observers: Sequence[TrainingObserver] = ()) -> None:
        """Make the first field; raises InputError where the capture does not suit it.

        Where that takes long, it ends early if an observer wants to stop.
        """

    def load(self, checkpoint: Checkpoint) -> None:
        """Go on from a checkpoint; raises InputError where it was left by another kind of training."""

    def refined_cameras(self) -> Cameras | None:
        """Of the training photos, where they are refined."""


@dataclass(frozen=True)
class FieldMethod:
    """One kind of field: what can be chosen, how it learns, and how it is made of a checkpoint."""

    config: type[FieldConfig]
    place: Callable[[Scene, Any], object]
    """Where the field would lie; raises InputError where the capture does not suit the configuration."""
    learner: Callable[[Scene, Any, CompositeFn], FieldLearner]
    model: Callable[[Mapping[str, Tensor], Mapping[str, Any], Any], RadianceField]


METHODS: dict[FieldName, FieldMethod] = {
    "mlp": FieldMethod(
        MlpConfig,
        mlp_place,
        lambda scene, config, _: MlpLearner(scene, config),
        mlp_model,
    ),
    "hashgrid": FieldMethod(HashGridConfig, lambda scene, _: hashgrid_place(scene), HashGridLearner, hashgrid_model),
    "points": FieldMethod(PointsConfig, points_place, PointsLearner, points_model),
}
"""By the names that --field knows."""


@dataclass(frozen=True)
class FieldResult:
    """What training leaves."""

    field: RadianceField
    step: int
    train_seconds: float
    completed: bool
    """False when somebody asked to stop before the end."""
    poisoned_steps: int
    """Steps in which some gradients were not finite; what they belong to was left alone."""
    cameras: Cameras | None = None
    """Of the training photos, as they were refined; None where they were not."""


def train_field(
    scene: Scene,
    config: FieldConfig = MlpConfig(),
    *,
    run: Run | None = None,
    observers: Sequence[TrainingObserver] = (),
    composite: CompositeFn = composite,
) -> FieldResult:
    """Train the radiance field that the configuration is for, as `train_splats` trains splats.

    `composite` renders packed samples, which the networks of `MlpConfig` have not.

    Raises:
        InputError: There is nothing to train on, or the capture does not suit the configuration.
        NumericError: The numbers are no longer finite; the last checkpoint stands.
    """
    if len(scene.train_indices) == 0:
        raise InputError("the capture has no training photos; give it some, or hold out fewer")
    native().keep_memory()
    learner = METHODS[field_name(config)].learner(scene, config, composite)
    checkpoint = run.latest_checkpoint() if run is not None else None
    if checkpoint is None:
        started = time.perf_counter()
        learner.begin(observers)
        # What the first field takes is training time: it may be a training of its own.
        step, earlier = 0, {"train_seconds": time.perf_counter() - started, "poisoned_steps": 0}
    else:
        require_resumable_field(checkpoint, config, run.path)
        learner.load(checkpoint)
        step, earlier = checkpoint.step, checkpoint.meta
    budget = Budget(config.steps, config.max_seconds, config.checkpoint_seconds)
    ending = TrainingLoop(learner, budget, run=run, observers=observers, step=step, earlier=earlier).go()
    return FieldResult(learner.snapshot(), **vars(ending), cameras=learner.refined_cameras())


def require_field_place(scene: Scene, config: FieldConfig) -> None:
    """Hold a capture against a configuration, before a run is touched.

    Raises:
        InputError: The capture does not suit it.
    """
    METHODS[field_name(config)].place(scene, config)


def field_name(config: FieldConfig) -> FieldName:
    """Of the kind of field that a configuration is for."""
    return next(name for name, method in METHODS.items() if type(config) is method.config)


def field_config_from_json(name: str, content: Mapping[str, Any]) -> FieldConfig:
    """The inverse of `dataclasses.asdict`, for a configuration out of a file.

    Raises:
        InputError: There is no such field, or a setting is unknown, missing, or holds what cannot be trained.
    """
    if name not in METHODS:
        raise InputError(f"field: expected {' or '.join(METHODS)}, got {name!r}")
    check_names(METHODS[name].config, content)
    return METHODS[name].config(**content)


def field_of(checkpoint: Checkpoint, config: FieldConfig) -> RadianceField:
    """The field that a checkpoint holds.

    Raises:
        InputError: It was left by a training of another kind.
    """
    return METHODS[field_name(config)].model(checkpoint.tensors, checkpoint.meta, config)


def require_resumable_field(checkpoint: Checkpoint, config: FieldConfig, path: Path) -> None:
    """Hold a checkpoint of the run at `path` against a configuration, before anything of the run is touched.

    Raises:
        InputError: It was left by a training of another kind.
    """
    try:
        field_of(checkpoint, config)
    except InputError as error:
        raise InputError(f"{path}/checkpoints/step-{checkpoint.step:08d}: {error}") from error
