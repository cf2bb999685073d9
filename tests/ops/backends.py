"""The native operators and their twins behind one face, and the pipeline from Gaussians to an image."""

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from types import ModuleType

import torch
from device_operators import on_device, tests_drivers_on_gpu
from emulator.operators import emulated_module
from torch import Tensor

from neural3d.ops.records import Projected, RaySamples, RayViews, TileBins

MODULES: dict[str, Callable[[str], ModuleType]] = {
    "reference": lambda name: import_module(f"neural3d.reference.{name}"),
    "native": lambda name: import_module(f"neural3d.ops.{name}"),
    "emulated": emulated_module,  # the CUDA drivers, run on the CPU
    "cuda": lambda name: import_module(f"neural3d.ops.{name}"),  # the same wrappers; tensors go to the GPU and back
}
DRIVERS = ("emulated", "cuda") if tests_drivers_on_gpu() else ("emulated",)
"""The CUDA drivers: always on the emulator, and on the GPU where tests are to run on one."""
BACKENDS = ("reference", "native", *DRIVERS)
FUNCTIONS = {
    "project": "project",
    "sh_colors": "sh",
    "sh_pulls": "sh",
    "bin_gaussians": "bin",
    "bin_gaussians_within": "bin",
    "rasterize": "rasterize",
    "photometric_loss": "photometric",
    "adam_step": "adam",
    "adam_step_sh": "adam",
    "adam_step_hash": "adam",
    "color_affine": "color_affine",
    "bilateral_slice": "bilateral_slice",
    "hash_encode": "hash_encode",
    "march": "march",
    "composite": "composite",
    "radiance_mlp": "radiance_mlp",
    "density_mlp": "radiance_mlp",
    "update_occupancy": "occupancy",
    "proposal_edges": "proposal",
    "interlevel": "proposal",
    "nearest_points": "nearest_points",
    "blend_points": "blend_points",
}


@dataclass(frozen=True)
class Backend:
    """The operators of one kind."""

    name: str
    project: Callable[..., Projected]
    sh_colors: Callable[..., Tensor]
    sh_pulls: Callable[..., tuple[Tensor, Tensor]]
    bin_gaussians: Callable[..., TileBins]
    bin_gaussians_within: Callable[..., tuple[TileBins, Tensor]]
    rasterize: Callable[..., tuple[Tensor, Tensor]]
    photometric_loss: Callable[..., Tensor]
    adam_step: Callable[..., Tensor]
    adam_step_sh: Callable[..., Tensor]
    adam_step_hash: Callable[..., Tensor]
    color_affine: Callable[..., Tensor]
    bilateral_slice: Callable[..., Tensor]
    hash_encode: Callable[..., Tensor]
    march: Callable[..., RaySamples]
    composite: Callable[..., RayViews]
    radiance_mlp: Callable[..., tuple[Tensor, Tensor]]
    density_mlp: Callable[..., Tensor]
    update_occupancy: Callable[..., None]
    proposal_edges: Callable[..., Tensor]
    interlevel: Callable[..., Tensor]
    nearest_points: Callable[..., Tensor]
    blend_points: Callable[..., tuple[Tensor, Tensor]]


def load_backend(name: str) -> Backend:
    """Import the operators of one kind, a key of `MODULES`."""
    functions = {function: getattr(MODULES[name](module), function) for function, module in FUNCTIONS.items()}
    if name == "cuda":
        functions = {function: on_device(call, "cuda") for function, call in functions.items()}
    return Backend(name, **functions)


@dataclass(frozen=True)
class View:
    """One camera and its image."""

    camera_from_world: Tensor
    focal_px: Tensor
    principal_px: Tensor
    width: int
    height: int

    @property
    def center_world(self) -> Tensor:
        """The optical centre."""
        return -self.camera_from_world[:3, :3].T @ self.camera_from_world[:3, 3]

    def to(self, dtype: torch.dtype) -> "View":
        """The same camera in another precision."""
        tensors = (self.camera_from_world, self.focal_px, self.principal_px)
        return View(*(tensor.to(dtype) for tensor in tensors), self.width, self.height)


@dataclass(frozen=True)
class Cutoffs:
    """Where Gaussians end; with both at 0 the image is a smooth function."""

    alpha_min: float = 1 / 255
    transmittance_min: float = 1e-4


SMOOTH = Cutoffs(0.0, 0.0)


def project(backend: Backend, gaussians: dict[str, Tensor], view: View, **options) -> Projected:
    """Project a dict of Gaussians."""
    names = ("means_world", "quats_wxyz", "log_scales", "logit_opacities")
    parameters = [gaussians[name] for name in names]
    camera = (view.camera_from_world, view.focal_px, view.principal_px)
    return backend.project(*parameters, *camera, width=view.width, height=view.height, **options)


def render(
    backend: Backend,
    gaussians: dict[str, Tensor],
    view: View,
    background: Tensor,
    *,
    degree: int = 3,
    cutoffs: Cutoffs = Cutoffs(),
    antialiased: bool = False,
) -> tuple[Tensor, Tensor]:
    """Gaussians to (image, alphas), every operator in turn."""
    projected = project(backend, gaussians, view, alpha_min=cutoffs.alpha_min, antialiased=antialiased)
    colors = backend.sh_colors(
        gaussians["means_world"], gaussians["sh"], view.center_world, degree, projected.extents_px
    )
    bins = backend.bin_gaussians(projected, width=view.width, height=view.height, alpha_min=cutoffs.alpha_min)
    return backend.rasterize(
        projected.means_px,
        projected.conics,
        projected.opacities,
        colors,
        bins,
        background,
        alpha_min=cutoffs.alpha_min,
        transmittance_min=cutoffs.transmittance_min,
    )


def gradients(function: Callable[..., Tensor | tuple[Tensor, ...]], inputs: dict[str, Tensor]) -> dict[str, Tensor]:
    """Gradients of a fixed random weighting of all outputs with respect to every input."""
    leaves = {name: tensor.detach().clone().requires_grad_() for name, tensor in inputs.items()}
    outputs = function(leaves)
    outputs = (outputs,) if isinstance(outputs, Tensor) else outputs
    grads = torch.autograd.grad(weighted_sum(outputs), list(leaves.values()), allow_unused=True)
    return {
        name: torch.zeros_like(leaf) if grad is None else grad
        for (name, leaf), grad in zip(leaves.items(), grads, strict=True)
    }


def weighted_sum(outputs: tuple[Tensor, ...]) -> Tensor:
    """A scalar that depends on every output, with weights that are the same in every call and precision."""
    generator = torch.Generator().manual_seed(7)
    weights = [torch.randn(output.shape, generator=generator, dtype=torch.float64) for output in outputs]
    return sum((output * weight.to(output)).sum() for output, weight in zip(outputs, weights, strict=True))
