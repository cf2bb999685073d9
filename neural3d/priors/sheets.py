"""Many images on one sheet, to look at."""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from neural3d.priors.records import Images

_GAP_PX = 2


def contact_sheet(images: Images, enlarge: int = 1) -> Float[Tensor, "rows columns 3"]:
    """Rows and columns on white, display sRGB in [0, 1]; each pixel `enlarge` pixels wide; one image alone fills it."""
    count, _, height, width = images.shape
    columns = math.ceil(math.sqrt(count))
    rows = math.ceil(count / columns)
    gap = _GAP_PX if count > 1 else 0
    tall, wide = (enlarge * side + gap for side in (height, width))
    sheet = torch.ones(rows * tall + gap, columns * wide + gap, 3)
    shown = ((images.clamp(-1, 1) + 1) / 2).repeat_interleave(enlarge, 2).repeat_interleave(enlarge, 3)
    for i, image in enumerate(shown):
        top, left = gap + i // columns * tall, gap + i % columns * wide
        sheet[top : top + enlarge * height, left : left + enlarge * width] = image.movedim(0, -1)
    return sheet
