"""A scene small enough to train on in a second, whose truth is known: photos of a few Gaussians from a ring."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from neural3d.cameras import Cameras
from neural3d.render.splats import render_splats
from neural3d.scene import Photo, Points, Scene, Similarity
from neural3d.splats.gaussians import Gaussians
from neural3d.train.config import SplatConfig
from neural3d.train.densify import StepContext
from neural3d.train.gradients import PhotoGradient, photo_gradient
from neural3d.train.photos import build_pyramid
from neural3d.train.splats import TrainResult, train_splats
from neural3d.train.state import SplatState, fresh_state

WIDTH, HEIGHT = 48, 40
SH_DC = 0.28209479177387814
QUICK = SplatConfig(steps=40, max_seconds=None, exposure="none", max_gaussians=120)


def truth(count: int = 30, *, sh_degree: int = 0) -> Gaussians:
    """Blobs in a ball of radius 0.4."""
    random = torch.Generator().manual_seed(7)
    sh = torch.zeros(count, (sh_degree + 1) ** 2, 3)
    sh[:, 0] = (torch.rand(count, 3, generator=random) - 0.3) / SH_DC
    return Gaussians(
        means_world=0.4 * (2 * torch.rand(count, 3, generator=random) - 1),
        log_scales=math.log(0.08) + 0.3 * torch.randn(count, 3, generator=random),
        quats_wxyz=torch.randn(count, 4, generator=random),
        logit_opacities=torch.full((count,), 2.0),
        sh=sh,
    )


def ring(count: int, *, radius: float = 1.0) -> Cameras:
    """Cameras on a circle, looking at the origin, at heights that differ."""
    poses = [_looking_at_origin(2 * math.pi * i / count, radius, 0.3 * math.sin(2.4 * i)) for i in range(count)]
    return Cameras(
        torch.stack(poses),
        torch.full((count, 2), 45.0),
        torch.tensor([[WIDTH / 2, HEIGHT / 2]]).repeat(count, 1),
        torch.tensor([[WIDTH, HEIGHT]]).repeat(count, 1),
    )


def _looking_at_origin(angle: float, radius: float, height: float) -> Tensor:
    center = torch.tensor([radius * math.cos(angle), radius * math.sin(angle), height])
    forward = -center / center.norm()
    right = torch.linalg.cross(forward, torch.tensor([0.0, 0.0, 1.0]))
    right = right / right.norm()
    pose = torch.eye(4)
    pose[:3, :3] = torch.stack([right, torch.linalg.cross(forward, right), forward])
    pose[:3, 3] = -pose[:3, :3] @ center
    return pose


def make_scene(
    views: int = 8,
    *,
    cameras: Cameras | None = None,
    has_alpha: bool = False,
    gains: Sequence[float] | None = None,
    points: int | None = 40,
    gaussians: Gaussians | None = None,
) -> Scene:
    """Photos of `truth()` over black, each times its gain; points are blobs' centres, repeated with a little noise."""
    cameras = ring(views) if cameras is None else cameras
    gaussians = truth() if gaussians is None else gaussians
    rendering = render_splats(gaussians, cameras)
    photos = []
    for i in range(len(cameras)):
        color, alpha = rendering.colors[i].clamp(0, 1), rendering.alphas[i]
        straight = color / alpha.clamp(min=1e-3) if has_alpha else color * (1.0 if gains is None else gains[i])
        coverage = _bytes(alpha[..., 0]) if has_alpha else None
        photos.append(Photo(f"{i:02d}.png", _bytes(straight), coverage))
    return Scene(
        cameras=cameras,
        photos=tuple(photos),
        train_indices=torch.arange(len(cameras)),
        test_indices=torch.arange(0),
        points=None if points is None else points_near(gaussians, points),
        capture_from_scene=Similarity.identity(),
        extent=1.0,
        up_world=torch.tensor([0.0, 0.0, 1.0]),
        has_alpha=has_alpha,
        downscale=1.0,
    )


def points_near(gaussians: Gaussians, count: int) -> Points:
    """What structure from motion would find."""
    random = torch.Generator().manual_seed(3)
    rows = torch.arange(count) % len(gaussians)
    means = gaussians.means_world[rows] + 0.02 * torch.randn(count, 3, generator=random)
    return Points(means, _bytes((0.5 + SH_DC * gaussians.sh[rows, 0]).clamp(0, 1)))


def _bytes(values: Tensor) -> Tensor:
    return (values.clamp(0, 1) * 255).round().to(torch.uint8)


def train(
    scene: Scene,
    *,
    densifier=None,
    gradient_of=None,
    run=None,
    observers=(),
    initial=None,
    device="cpu",
    **options,
) -> TrainResult:
    """`train_splats` with a quick configuration, changed by `options`."""
    config = replace(QUICK, **options)
    seams = {"run": run, "observers": observers, "densifier": densifier, "gradient_of": gradient_of}
    return train_splats(scene, config, **seams, initial=initial, device=device)


def psnr_of(gaussians: Gaussians, scene: Scene, background: Tensor | None = None) -> float:
    """Over the training photos of a scene without alpha."""
    rendered = render_splats(gaussians, scene.cameras[scene.train_indices], background=background).colors.clamp(0, 1)
    photos = torch.stack([scene.photos[i].pixels for i in scene.train_indices.tolist()]) / 255
    return -10 * math.log10((rendered.detach() - photos).square().mean().item())


def same(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> bool:
    """Equal to the byte."""
    return one.keys() == other.keys() and all(
        one[name].dtype == other[name].dtype and torch.equal(one[name], other[name]) for name in one
    )


def is_finite(gaussians: Gaussians) -> bool:
    return all(tensor.isfinite().all() for tensor in gaussians.tensors().values())


def state_with_moments(gaussians: Gaussians) -> SplatState:
    """As if Adam remembered something of every row: its own number, from 1."""
    state = fresh_state(gaussians)
    for moments in (state.first_moments, state.second_moments):
        for tensor in moments.tensors().values():
            tensor += torch.arange(1.0, len(tensor) + 1).view(-1, *(1,) * (tensor.dim() - 1))
    return state


def gradient_for(gaussians: Gaussians, scene: Scene, index: int = 0) -> PhotoGradient:
    """Of one photo over black, without exposure."""
    photo = build_pyramid(scene, 0).levels[0][index]
    return photo_gradient(
        gaussians, photo, torch.zeros(3), sh_degree=gaussians.sh_degree, exposure=None, ssim_weight=0.2
    )


def context(count: int, *, step: int = 100, fraction: float = 0.1, visible: Tensor | None = None) -> StepContext:
    """Of a step in which every Gaussian was seen, unless `visible` says otherwise."""
    seen = torch.ones(count, dtype=torch.bool) if visible is None else visible
    return StepContext(step, fraction, seed=0, extent=1.0, means_rate=4e-4, visible=seen)


class Watcher:
    """An observer that asks for what a function of the number of steps asked about says."""

    def __init__(self, request: Callable[[int], str] = lambda asked: "run") -> None:
        self.asked, self.told, self.request = 0, [], request

    def on_progress(self, progress, snapshot) -> None:
        self.told.append((progress, snapshot()))

    def requested(self):
        self.asked += 1
        return self.request(self.asked - 1)


def stop_at(step: int) -> Watcher:
    """Lets `step` steps happen."""
    return Watcher(lambda asked: "stop" if asked >= step else "run")
