"""Milliseconds of each stage of a training step, ours and gsplat's, forward and backward."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from neural3d.bench.gpu.timing import device_ms, interleaved_device_ms
from neural3d.bench.gpu.workloads import SPECS, Workload, workload
from neural3d.bench.scenes import SceneSpec
from neural3d.ops.library import native
from neural3d.ops.records import TILE_PX
from neural3d.train.gradients import ALPHA_MIN, BLUR_PX2, NEAR, TRANSMITTANCE_MIN, photo_gradient
from neural3d.train.gsplat_gradients import gsplat_photo_gradient

STAGES = ("project", "sh", "bin", "rasterize", "photometric", "rasterize_vjp", "sh_vjp", "project_vjp", "adam")
"""In the order of a step; gsplat has no loss of its own, and its optimiser is torch's."""


def measure_operators(
    device: torch.device, *, specs: tuple[SceneSpec, ...] = SPECS, repeats: int = 50
) -> dict[str, Any]:
    """Our native operators, by scene and stage."""
    works = [workload(spec, device) for spec in specs]
    return {work.name: _timed(our_stages(work), device, repeats) for work in works}


def measure_gsplat_operators(
    device: torch.device, *, specs: tuple[SceneSpec, ...] = SPECS, repeats: int = 50
) -> dict[str, Any]:
    """The operators of gsplat on the same scenes; the stages that it has."""
    works = [workload(spec, device) for spec in specs]
    return {work.name: _timed(gsplat_stages(work), device, repeats) for work in works}


def measure_gradients(
    device: torch.device, *, specs: tuple[SceneSpec, ...] = SPECS, repeats: int = 50
) -> dict[str, Any]:
    """From a photo to the gradient of every parameter, our chain of operators and gsplat's by autograd, in turns."""
    found = {}
    for work in (workload(spec, device) for spec in specs):
        given = {"sh_degree": 3, "exposure": None, "ssim_weight": 0.2}
        chains = {"native": photo_gradient, "gsplat": gsplat_photo_gradient}
        calls = {name: partial(f, work.gaussians, work.photo, work.background, **given) for name, f in chains.items()}
        found[work.name] = interleaved_device_ms(calls, device, repeats=repeats)
    return found


def our_stages(work: Workload) -> dict[str, Callable[[], object]]:
    """Each operator with what the one before it returned, as training calls them."""
    engine, gaussians, view, photo = native(), work.gaussians, work.view, work.photo
    parameters = (gaussians.means_world, gaussians.quats_wxyz, gaussians.log_scales, gaussians.logit_opacities)
    camera = (view.camera_from_world, view.focal_px, view.principal_px, view.width, view.height)
    geometry = (*parameters, *camera, NEAR, BLUR_PX2, ALPHA_MIN, gaussians.antialiased)
    means_px, conics, opacities, depths, extents = engine.project(*geometry)
    looks = (gaussians.means_world, gaussians.sh, view.center_world, 3, extents)
    colors = engine.sh_colors(*looks)
    ellipses = (means_px, conics, depths, extents, view.width, view.height)
    blended = (means_px, conics, opacities, colors, work.background, *engine.bin_gaussians(*ellipses))
    cutoffs = (view.width, view.height, ALPHA_MIN, TRANSMITTANCE_MIN)
    image, alphas, state = engine.rasterize(*blended, *cutoffs, True)
    compared = (image, photo.pixels, photo.alpha, photo.valid, work.background, 0.2)
    d_image = engine.photometric(*compared)[2]
    pulled = (*blended, *cutoffs, image, alphas, state, d_image, None)
    d_means_px, d_conics, d_opacities, d_colors = engine.rasterize_vjp(*pulled)
    colored = (*looks, colors, d_colors)
    d_means, color_pulls = engine.sh_pulls(*colored)
    pulls = (extents, d_means_px, d_conics, d_opacities, None, d_means)
    sh = gaussians.sh.clone()
    rates = torch.full((sh[0].numel(),), 1e-3, device=gaussians.device)
    directed = (sh, color_pulls, gaussians.means_world, view.center_world, 3)
    adam = (*directed, 0 * sh, 0 * sh, rates, engine.visible_rows(extents), 1, 0.9, 0.999, 1e-15)
    return {
        "project": partial(engine.project, *geometry),
        "sh": partial(engine.sh_colors, *looks),
        "bin": partial(engine.bin_gaussians, *ellipses),
        "rasterize": partial(engine.rasterize, *blended, *cutoffs, True),
        "photometric": partial(engine.photometric, *compared),
        "rasterize_vjp": partial(engine.rasterize_vjp, *pulled),
        "sh_vjp": partial(engine.sh_pulls, *colored),
        "project_vjp": partial(engine.project_vjp, *geometry, *pulls),
        "adam": partial(engine.adam_sh, *adam),
    }


@dataclass(frozen=True)
class _Stage:
    """A differentiable call of gsplat's, and its outputs' pulls on its inputs."""

    call: Callable[[], tuple[Tensor, ...]]
    inputs: tuple[Tensor, ...]

    def backward(self) -> Callable[[], object]:
        outputs = [output for output in self.call() if output.requires_grad]
        pulls = [torch.ones_like(output) for output in outputs]
        return partial(torch.autograd.grad, outputs, self.inputs, pulls, retain_graph=True, allow_unused=True)


def gsplat_stages(work: Workload) -> dict[str, Callable[[], object]]:
    """The functions of gsplat itself, in the order in which its `rasterization` calls them."""
    import gsplat

    leaves, view = work.gaussians.map(lambda tensor: tensor.detach().requires_grad_()), work.view
    size, tiles = (view.width, view.height), [math.ceil(side / TILE_PX) for side in (view.width, view.height)]
    lens = torch.eye(3, device=leaves.device)
    lens[0, 0], lens[1, 1] = view.focal_px[0], view.focal_px[1]
    lens[:2, 2] = view.principal_px
    scales, opacities = (
        t.detach().requires_grad_() for t in (leaves.log_scales.exp(), leaves.logit_opacities.sigmoid())
    )
    camera = (view.camera_from_world[None], lens[None], *size)

    def seen() -> tuple[Tensor, ...]:
        outputs = gsplat.fully_fused_projection(
            leaves.means_world, None, leaves.quats_wxyz, scales, *camera, opacities=opacities.detach()
        )
        return tuple(output for output in outputs if output is not None)

    radii, means_px, depths, conics = (tensor.detach() for tensor in seen()[:4])
    directions = leaves.means_world[None].detach() - view.center_world
    harmonics, masks = leaves.sh[None], (radii > 0).all(dim=-1)

    def colored() -> tuple[Tensor, ...]:
        return ((gsplat.spherical_harmonics(3, directions, harmonics, masks=masks) + 0.5).clamp_min(0),)

    def listed() -> tuple[Tensor, Tensor]:
        _, keys, rows = gsplat.isect_tiles(means_px, radii, depths, TILE_PX, *tiles, packed=False, n_images=1)
        return gsplat.isect_offset_encode(keys, 1, *tiles).reshape(1, tiles[1], tiles[0]), rows

    ellipses = [t.detach().requires_grad_() for t in (means_px, conics, colored()[0], opacities[None])]
    offsets, rows = listed()

    def blended() -> tuple[Tensor, ...]:
        options = (*size, TILE_PX, offsets, rows)
        return gsplat.rasterize_to_pixels(*ellipses, *options, backgrounds=work.background[None], packed=False)

    geometry = (leaves.means_world, leaves.quats_wxyz, scales)
    parts = {
        "project": _Stage(seen, geometry),
        "sh": _Stage(colored, (leaves.sh,)),
        "rasterize": _Stage(blended, tuple(ellipses)),
    }
    stages: dict[str, Callable[[], object]] = {name: part.call for name, part in parts.items()} | {"bin": listed}
    stages |= {f"{name}_vjp": part.backward() for name, part in parts.items()}
    return stages | {"adam": _torch_adam(leaves.sh)}


def _torch_adam(parameter: Tensor) -> Callable[[], object]:
    """The optimiser that gsplat's trainer uses, over the same tensor as our line."""
    mine = parameter.detach().clone().requires_grad_()
    mine.grad = torch.ones_like(mine)
    return torch.optim.Adam([mine], lr=1e-3, eps=1e-15, fused=True).step


def _timed(stages: dict[str, Callable[[], object]], device: torch.device, repeats: int) -> dict[str, float]:
    return {name: device_ms(stages[name], device, repeats=repeats) for name in STAGES if name in stages}
