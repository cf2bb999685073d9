"""The training step in plain torch, by the twins of the native operators."""

import torch

from neural3d.reference.adam import adam_step
from neural3d.reference.bin import bin_gaussians
from neural3d.reference.photometric import photometric_loss
from neural3d.reference.project import project
from neural3d.reference.rasterize import rasterize
from neural3d.reference.sh import sh_colors
from neural3d.train.photos import TrainingPhoto
from neural3d.train.state import SplatState


def twin_step(state: SplatState, photo: TrainingPhoto) -> None:
    """Forward, backward and Adam for one photo, in place; without exposure and densification."""
    leaves = state.gaussians.map(lambda tensor: tensor.detach().clone().requires_grad_())
    view, black = photo.view, torch.zeros(3)
    projected = project(
        leaves.means_world,
        leaves.quats_wxyz,
        leaves.log_scales,
        leaves.logit_opacities,
        view.camera_from_world,
        view.focal_px,
        view.principal_px,
        width=view.width,
        height=view.height,
    )
    colors = sh_colors(leaves.means_world, leaves.sh, view.center_world, leaves.sh_degree, projected.extents_px)
    bins = bin_gaussians(projected, width=view.width, height=view.height)
    image, _ = rasterize(projected.means_px, projected.conics, projected.opacities, colors, bins, black)
    loss = photometric_loss(image, photo.pixels, background=black)
    grads = torch.autograd.grad(loss, list(leaves.tensors().values()))
    moments = (state.first_moments.tensors(), state.second_moments.tensors())
    for (name, parameter), grad in zip(state.gaussians.tensors().items(), grads, strict=True):
        rows = [tensor.view(len(state), -1) for tensor in (parameter, grad, *(moment[name] for moment in moments))]
        adam_step(*rows, torch.full((rows[0].shape[1],), 1e-3), step=1, visible=projected.extents_px[:, 0] > 0)
