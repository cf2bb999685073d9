"""Features to densities and colours through small dense layers: the native operator, its fake and its gradient."""

import torch
from jaxtyping import Float, Int32
from torch import Tensor

from neural3d.ops.library import native
from neural3d.ops.records import RadianceLayers
from neural3d.ops.validation import check_floats, check_integers


def radiance_mlp(
    features: Float[Tensor, "S I"],
    weights: Float[Tensor, "W"],
    ray_features: Float[Tensor, "R J"],
    ray_offsets: Int32[Tensor, "R_plus_1"],
    layers: RadianceLayers,
) -> tuple[Float[Tensor, "S"], Float[Tensor, "S 3"]]:
    """Densities and colours of packed samples; `neural3d.reference.radiance_mlp` is the specification.

    Raises:
        ValueError: An argument does not fit.
    """
    rays = len(ray_features)
    check_floats(
        features=(features, (None, layers.inputs)),
        weights=(weights, (layers.num_weights,)),
        ray_features=(ray_features, (rays, layers.ray_inputs)),
    )
    check_integers("ray_offsets", ray_offsets, (rays + 1,), features)
    return native().radiance_mlp(features, weights, ray_features, ray_offsets, layers.width, layers.geometry)


def density_mlp(
    features: Float[Tensor, "S I"], weights: Float[Tensor, "W"], layers: RadianceLayers
) -> Float[Tensor, "S"]:
    """The densities of `radiance_mlp` alone, from all of its weights.

    Raises:
        ValueError: An argument does not fit.
    """
    check_floats(features=(features, (None, layers.inputs)), weights=(weights, (layers.num_weights,)))
    first = weights[: layers.num_density_weights]
    return native().radiance_mlp(features, first, None, None, layers.width, layers.geometry)[0]


native()


@torch.library.register_fake("neural3d::radiance_mlp")
def _(features, weights, ray_features, *_rest):
    samples = features.shape[0]
    return features.new_empty((samples,)), features.new_empty((0 if ray_features is None else samples, 3))


@torch.library.register_fake("neural3d::radiance_mlp_vjp")
def _(features, weights, ray_features, *_rest):
    rays = features.new_empty((0, 0)) if ray_features is None else torch.empty_like(ray_features)
    return torch.empty_like(features), torch.empty_like(weights), rays


def _setup(ctx, inputs, output):
    features, weights, ray_features, ray_offsets, *ctx.sizes = inputs
    ctx.save_for_backward(features, weights, ray_features, ray_offsets)


def _backward(ctx, grad_densities, grad_colors):
    grads = (grad_densities.contiguous(), grad_colors.contiguous())
    d_features, d_weights, d_rays = native().radiance_mlp_vjp(*ctx.saved_tensors, *ctx.sizes, *grads)
    return d_features, d_weights, None if ctx.saved_tensors[2] is None else d_rays, None, None, None


torch.library.register_autograd("neural3d::radiance_mlp", _backward, setup_context=_setup)
