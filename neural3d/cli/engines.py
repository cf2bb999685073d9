"""--backend: whose engine renders while a model is trained."""

from dataclasses import dataclass
from functools import partial

import torch

from neural3d.cli.progress import say
from neural3d.cli.runs import BackendName
from neural3d.devices import DeviceName, require_kernels
from neural3d.errors import InputError
from neural3d.fields.nerfacc_composite import CompositeFn, nerfacc_composite
from neural3d.ops.composite import composite
from neural3d.scene import Scene
from neural3d.train.config import SplatConfig
from neural3d.train.fields import FieldConfig
from neural3d.train.gradients import GradientFn
from neural3d.train.gsplat_gradients import gsplat_photo_gradient
from neural3d.train.hashgrid_config import HashGridConfig
from neural3d.train.points_config import PointsConfig


@dataclass(frozen=True)
class Engine:
    """Who renders while a model is trained."""

    gradient_of: GradientFn | None = None
    """What renders a photo's view and pulls the difference back, for splats; None: the engine."""
    composite: CompositeFn = composite
    """What renders samples along rays, for fields."""


def require_backend(backend: BackendName, config: SplatConfig | FieldConfig) -> None:
    """Refuse an engine of another kind of model.

    Raises: InputError.
    """
    if backend == "gsplat" and not isinstance(config, SplatConfig):
        raise InputError("--backend gsplat: this is for splats; leave it out, or use neural3d train splat")
    if backend == "nerfacc" and not isinstance(config, HashGridConfig | PointsConfig):
        raise InputError("--backend nerfacc: this is for the fields hashgrid and points; leave it out")


def engine_of(backend: BackendName) -> Engine:
    """What renders and pulls back.

    Raises: InputError where another library was asked for and does not work here.
    """
    if backend == "native":
        return Engine()
    require_kernels(backend)
    if backend == "gsplat":
        return Engine(gradient_of=gsplat_photo_gradient)
    return Engine(composite=partial(nerfacc_composite, device=torch.device("cuda")))


def asked_device(backend: BackendName, asked: DeviceName | None) -> DeviceName | None:
    """Where to compute: gsplat needs a GPU. nerfacc does, too, for its own part.

    Raises: InputError where another device was asked for, or there is none.
    """
    if backend != "gsplat":
        return asked
    if asked == "cpu":
        raise InputError(f"--device cpu: --backend {backend} computes on a GPU only; leave one of them out")
    return "cuda"


def say_of_light(scene: Scene, config: SplatConfig | FieldConfig, backend: BackendName) -> None:
    """Splats of our own engine learn light; what does not says so.

    Raises: InputError where another library would train splats.
    """
    if scene.is_linear and backend != "native" and isinstance(config, SplatConfig):
        raise InputError(f"--backend {backend}: it knows no linear light, which the photos hold; use --backend native")
    if scene.is_linear and not isinstance(config, SplatConfig):
        say("neural3d: warning: the photos hold linear light; a field learns what a display shows, cut off at white")
