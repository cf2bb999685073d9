"""gsplat's own way to train, as far as its package holds it: its strategies, and the loop of its example around them.

The example (`simple_trainer.py`) is not in the wheel. From it are the learning rates, the schedules and how `steps`
scales them, torch's fused Adam, the initial opacities and sizes, and the loss. Where this loop differs, it is to
gsplat's advantage: the photos lie on the GPU already, the first Gaussians are ours, the loss is one fused operator, and
nothing is logged.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor

from neural3d.bench.gpu.timing import wait_for
from neural3d.ops.photometric import photometric_loss
from neural3d.scene import Scene
from neural3d.splats.gaussians import Gaussians
from neural3d.train.config import SplatConfig
from neural3d.train.initial import initial_gaussians
from neural3d.train.photos import TrainingPhoto, background_color, build_pyramid, photo_index
from neural3d.train.splats import gaussian_cap

STEPS, SH_INTERVAL, SSIM_WEIGHT, MEANS_DECAY, EXTENT_FACTOR = 30_000, 1000, 0.2, 0.01, 1.1
"""Of the example: steps of a run, steps by a degree of the harmonics, the loss, the end of the positions' step size
relative to its start, and the scene's scale relative to the radius of its cameras."""
RATES = {"means": 1.6e-4, "scales": 5e-3, "quats": 1e-3, "opacities": 5e-2, "sh0": 2.5e-3, "shN": 2.5e-3 / 20}
Watcher = Callable[[float, int, Callable[[], Gaussians]], None]


@dataclass(frozen=True)
class Preset:
    """What differs between the example's two presets."""

    strategy: Literal["default", "mcmc"]
    opacity: float
    size: float
    """Of the first Gaussians, relative to the gaps between them."""
    penalty: float
    """Weight of the mean opacity and of the mean scale in the loss."""


PRESETS = {"default": Preset("default", 0.1, 1.0, 0.0), "mcmc": Preset("mcmc", 0.5, 0.1, 0.01)}


@dataclass(frozen=True)
class GsplatResult:
    """What the loop leaves."""

    gaussians: Gaussians
    seconds: float


def train_with_gsplat(
    scene: Scene,
    config: SplatConfig,
    preset: Preset,
    *,
    device: torch.device,
    watcher: Watcher = lambda seconds, step, snapshot: None,
) -> GsplatResult:
    """Train for `config.steps` steps; of the configuration also seed, background, cap and first Gaussians count.

    The watcher is told the seconds, the step and a way to the Gaussians after every step. A capture with alpha is
    trained over white, as the example has no random background by default and papers evaluate over white.
    """
    extent = EXTENT_FACTOR * scene.extent
    photos = [photo.to(device) for photo in build_pyramid(scene, 0).levels[0]]
    background = background_color("white" if scene.has_alpha else "black", config.seed, 0).to(device)
    parameters = _first_parameters(scene, config, preset, device)
    optimizers = {name: _optimizer(tensor, name, extent) for name, tensor in parameters.items()}
    decay = torch.optim.lr_scheduler.ExponentialLR(optimizers["means"], gamma=MEANS_DECAY ** (1 / config.steps))
    densify = _densifier(preset, parameters, optimizers, config.steps / STEPS, extent, gaussian_cap(scene, config))
    interval = max(1, int(SH_INTERVAL * config.steps / STEPS))
    torch.manual_seed(config.seed)
    wait_for(device)
    begun = time.perf_counter()
    for step in range(config.steps):
        photo = photos[photo_index(config.seed, step, len(photos))]
        image, about = _render(parameters, photo, background, min(step // interval, config.sh_degree))
        loss = photometric_loss(image, photo.pixels, **_target(photo, background), ssim_weight=SSIM_WEIGHT)
        if preset.penalty > 0:
            loss = loss + preset.penalty * (
                parameters["opacities"].sigmoid().mean() + parameters["scales"].exp().mean()
            )
        densify.before_backward(step, about)
        loss.backward()
        for optimizer in optimizers.values():
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        decay.step()
        densify.after_step(step, about, decay.get_last_lr()[0])
        watcher(time.perf_counter() - begun, step + 1, lambda: _gaussians(parameters))
    wait_for(device)
    return GsplatResult(_gaussians(parameters), time.perf_counter() - begun)


def _first_parameters(
    scene: Scene, config: SplatConfig, preset: Preset, device: torch.device
) -> "torch.nn.ParameterDict":
    """Our first Gaussians with the example's opacities and sizes."""
    cap, degree = gaussian_cap(scene, config), config.sh_degree
    first = initial_gaussians(scene, max_gaussians=cap, sh_degree=degree, antialiased=False, seed=config.seed)
    first = replace(
        first,
        log_scales=first.log_scales + torch.tensor(preset.size).log(),
        logit_opacities=torch.full_like(first.logit_opacities, preset.opacity).logit(),
    ).to(device)
    parts = {
        "means": first.means_world,
        "scales": first.log_scales,
        "quats": first.quats_wxyz,
        "opacities": first.logit_opacities,
        "sh0": first.sh[:, :1],
        "shN": first.sh[:, 1:],
    }
    return torch.nn.ParameterDict({name: torch.nn.Parameter(part.clone()) for name, part in parts.items()})


def _optimizer(parameter: Tensor, name: str, extent: float) -> torch.optim.Adam:
    rate = RATES[name] * (extent if name == "means" else 1.0)
    return torch.optim.Adam([{"params": parameter, "lr": rate, "name": name}], eps=1e-15, fused=True)


class _Densifier:
    """One of gsplat's strategies, its steps scaled to the run as the example scales them."""

    def __init__(self, strategy: Any, state: dict[str, Any], with_rate: bool, parameters: Any, optimizers: Any) -> None:
        strategy.check_sanity(parameters, optimizers)
        self.strategy, self.state, self.with_rate = strategy, state, with_rate
        self.models = (parameters, optimizers)

    def before_backward(self, step: int, about: dict[str, Any]) -> None:
        self.strategy.step_pre_backward(*self.models, self.state, step, about)

    def after_step(self, step: int, about: dict[str, Any], rate: float) -> None:
        own = {"lr": rate} if self.with_rate else {"packed": False}
        self.strategy.step_post_backward(*self.models, self.state, step, about, **own)


def _densifier(preset: Preset, parameters: Any, optimizers: Any, factor: float, extent: float, cap: int) -> _Densifier:
    from gsplat import DefaultStrategy, MCMCStrategy

    strategy = DefaultStrategy() if preset.strategy == "default" else MCMCStrategy(cap_max=cap)
    for name in ("refine_start_iter", "refine_stop_iter", "refine_every", "reset_every"):
        if hasattr(strategy, name):
            setattr(strategy, name, max(1, int(getattr(strategy, name) * factor)))
    own = {"scene_scale": extent} if preset.strategy == "default" else {}
    return _Densifier(strategy, strategy.initialize_state(**own), preset.strategy == "mcmc", parameters, optimizers)


def _render(parameters: Any, photo: TrainingPhoto, background: Tensor, degree: int) -> tuple[Tensor, dict[str, Any]]:
    """The picture, planar, and what gsplat says about it."""
    from gsplat import rasterization

    view = photo.view
    lens = torch.nn.functional.pad(torch.cat([view.focal_px.diag(), view.principal_px[:, None]], dim=1), (0, 0, 0, 1))
    lens[2, 2] = 1
    colors, _, about = rasterization(
        means=parameters["means"],
        quats=parameters["quats"],
        scales=parameters["scales"].exp(),
        opacities=parameters["opacities"].sigmoid(),
        colors=torch.cat([parameters["sh0"], parameters["shN"]], dim=1),
        viewmats=view.camera_from_world[None],
        Ks=lens[None],
        width=view.width,
        height=view.height,
        sh_degree=degree,
        packed=False,
        backgrounds=background[None],
    )
    return colors[0].permute(2, 0, 1).contiguous(), about


def _target(photo: TrainingPhoto, background: Tensor) -> dict[str, Tensor | None]:
    return {"target_alpha": photo.alpha, "valid": photo.valid, "background": background}


def _gaussians(parameters: Any) -> Gaussians:
    """A copy as our record."""
    now = {name: tensor.detach() for name, tensor in parameters.items()}
    sh = torch.cat([now["sh0"], now["shN"]], dim=1)
    return Gaussians(now["means"], now["scales"], now["quats"], now["opacities"], sh).clone()
