"""One photo's gradient with gsplat's rasterizer in the place of ours; loss and exposure are the engine's own."""

import torch
from jaxtyping import Float
from torch import Tensor

from neural3d.ops.library import native
from neural3d.render.gsplat_view import gsplat_view
from neural3d.splats.gaussians import Gaussians
from neural3d.train.exposure import ColorMap
from neural3d.train.gradients import GaussiansGradient, PhotoGradient
from neural3d.train.photos import TrainingPhoto


def gsplat_photo_gradient(
    gaussians: Gaussians,
    photo: TrainingPhoto,
    background: Float[Tensor, "3"],
    *,
    sh_degree: int,
    exposure: ColorMap | None,
    ssim_weight: float,
) -> PhotoGradient:
    """A `GradientFn`; everything from the parameters to the image and back is gsplat's and autograd's."""
    engine, leaves = native(), gaussians.map(lambda tensor: tensor.detach().requires_grad_())
    with torch.enable_grad():
        seen = gsplat_view(leaves, photo.view, background, sh_degree=sh_degree)
    image = seen.image.detach()
    shown = image if exposure is None else exposure.apply(image)
    target = (photo.pixels, photo.alpha, photo.valid, background)
    loss, squared_error, d_image = engine.photometric(shown, *target, ssim_weight)
    d_exposure = None
    if exposure is not None:
        d_image, d_exposure = exposure.vjp(image, d_image)
    parameters = leaves.tensors()
    *grads, d_means_px = torch.autograd.grad(seen.image, [*parameters.values(), seen.means_px], d_image)
    gradient = GaussiansGradient(**dict(zip(parameters, map(_contiguous, grads), strict=True)))
    return PhotoGradient(photo.view, loss, squared_error, gradient, d_means_px[0], d_exposure, seen.visible)


def _contiguous(gradient: Tensor) -> Tensor:
    """What the optimiser's operator takes; autograd may hand back a view."""
    return gradient.contiguous()
