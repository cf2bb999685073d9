"""Maps that say where things shall be: given ones, and those that are computed from the images themselves."""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from neural3d.priors.records import Images

GIVEN = "given"
COMPUTED = ("edges", "x4")
"""edges: white lines on black where brightness changes; x4: the image at a quarter of its size, enlarged again."""
ENLARGEMENT = 4
_EDGE_ABOVE = 0.35
_LUMA = (0.299, 0.587, 0.114)


def computed_maps(kind: str, images: Images) -> Images:
    """Of `COMPUTED`, the kind that is asked for."""
    if kind == "edges":
        return edge_maps(images)
    shape = [max(1, side // ENLARGEMENT) for side in images.shape[-2:]]
    return enlarged(functional.adaptive_avg_pool2d(images, shape), images.shape[-2], images.shape[-1])


def edge_maps(images: Images) -> Images:
    """1 where the luma's slope is steep, -1 elsewhere.

    Source: Sobel's operator, with the border repeated.
    """
    luma = (images * torch.tensor(_LUMA)[:, None, None]).sum(1, keepdim=True)
    kernel = torch.tensor([[-1.0, 0, 1], [-2, 0, 2], [-1, 0, 1]])[None, None] / 4
    padded = functional.pad(luma, (1, 1, 1, 1), mode="replicate")
    slopes = functional.conv2d(padded, kernel), functional.conv2d(padded, kernel.mT)
    is_edge = (slopes[0].square() + slopes[1].square()).sqrt() > _EDGE_ABOVE
    return (2 * is_edge.float() - 1).expand(-1, 3, -1, -1)


def enlarged(images: Float[Tensor, "B C _ _"], height: int, width: int) -> Float[Tensor, "B C _ _"]:
    """By bicubic interpolation, in [-1, 1]."""
    return functional.interpolate(images, size=(height, width), mode="bicubic").clamp(-1, 1)
