"""torch's own check of each raw operator: schema, fake tensors, gradient registration, ahead-of-time graphs."""

import sys
import warnings
from pathlib import Path

import torch
from native_arguments import COUNT, HEIGHT, OPS, WIDTH, camera, scene
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parents[2]))
from ops.random_rays import field_arguments

EVERYTHING = ("test_schema", "test_autograd_registration", "test_faketensor", "test_aot_dispatch_dynamic")


def arguments() -> dict[str, tuple]:
    """For every operator, what a render and a training step would pass."""
    leaves = scene()
    parameters = tuple(leaves[name] for name in ("means_world", "quats_wxyz", "log_scales", "logit_opacities"))
    options = (WIDTH, HEIGHT, 0.01, 0.3, 1 / 255, True)
    with torch.no_grad():
        seen = OPS.project(*parameters, *camera(), *options)
        means_px, conics, opacities, depths, extents_px = seen
        bins = OPS.bin_gaussians(means_px, conics, depths, extents_px, WIDTH, HEIGHT)
        sh_inputs = (leaves["means_world"], leaves["sh"], torch.zeros(3), 2, extents_px)
        colors = OPS.sh_colors(*sh_inputs)
    ellipses = tuple(tensor.detach().requires_grad_() for tensor in (means_px, conics, opacities, colors))
    raster = (*ellipses, torch.ones(3), *bins, WIDTH, HEIGHT, 1 / 255, 1e-4)
    image, alphas, kept = (tensor.detach() for tensor in OPS.rasterize(*raster, True))
    target = torch.randint(0, 256, (HEIGHT, WIDTH, 3), dtype=torch.uint8)
    mask = torch.rand(HEIGHT, WIDTH) < 0.5
    state = tuple(torch.rand(COUNT, 5) for _ in range(4))
    last = (torch.rand(COUNT) < 0.5, 3, 0.9, 0.999, 1e-15)
    sh, *moments = (torch.rand(COUNT, 16, 3) for _ in range(3))
    matrix, grid = torch.rand(3, 4), torch.rand(12, 4, 3, 5)
    geometry = detached(*parameters)
    gradients = (torch.zeros(COUNT, 3), torch.zeros(COUNT))
    grads = (means_px, conics, opacities, depths, leaves["means_world"])
    return {
        "project": (*parameters, *camera(), *options),
        "project_vjp": detached(*parameters, *camera(), *options, extents_px, *grads),
        "visible_rows": (extents_px,),
        "sh_colors": sh_inputs,
        "sh_colors_vjp": detached(*sh_inputs, colors, colors),
        "sh_pulls": detached(*sh_inputs, colors, colors),
        "bin_gaussians": (means_px, conics, depths, extents_px, WIDTH, HEIGHT),
        "bin_gaussians_within": (means_px, conics, depths, extents_px, WIDTH, HEIGHT, 1000),
        "rasterize": (*raster, True),
        "rasterize_vjp": detached(*raster, image, alphas, kept, image, alphas),
        "photometric": (image.clone().requires_grad_(), target, target[..., 0].contiguous(), mask, torch.ones(3), 0.2),
        "adam": (*state, torch.rand(5), *last),
        "adam_sh": detached(sh, colors, leaves["means_world"], torch.zeros(3), 2, *moments, torch.rand(48), *last),
        "add_penalties": (*geometry[2:], torch.rand(COUNT) < 0.5, 0.1, 0.2, *gradients),
        "shake": (*geometry, torch.rand(COUNT) < 0.5, 1.0, 3, 4),
        "neighbor_distances": (torch.rand(COUNT, 3), 3),
        "color_affine": (image.clone().requires_grad_(), matrix.clone().requires_grad_()),
        "color_affine_vjp": (image, matrix, image),
        "bilateral_slice": (image.clone().requires_grad_(), grid.clone().requires_grad_()),
        "bilateral_slice_vjp": (image, grid, image),
    }


LEARNT = {"hash_encode": (0, 1), "march": (0, 1), "composite": (0, 1), "radiance_mlp": (0, 1, 2), "interlevel": (0,)}
LEARNT["blend_points"] = (2, 3, 4)
"""Which arguments of a field's operators get gradients."""


def of_fields() -> dict[str, tuple]:
    """For the operators of fields."""
    found = field_arguments(torch.float32)
    for name, places in LEARNT.items():
        for place in places:
            found[name][place].requires_grad_()
    return found


def detached(*values: object) -> tuple:
    """A vjp is not differentiated again."""
    return tuple(value.detach() if isinstance(value, Tensor) else value for value in values)


warnings.simplefilter("ignore")  # torch's checker uses what torch has deprecated
checked = arguments() | of_fields()
names = {name.split("::")[1].split(".")[0] for name in torch._C._dispatch_get_all_op_names() if "neural3d::" in name}
with_tensors = {name for name in names if "Tensor" in str(getattr(OPS, name).default._schema)}
assert with_tensors == set(checked), with_tensors ^ set(checked)
for name, values in checked.items():
    torch.library.opcheck(getattr(OPS, name).default, values, test_utils=EVERYTHING)
