"""A surface in the texels of an image: what resembles what was there, window by window."""

from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from neural3d.errors import InputError
from neural3d.priors.exemplar.quilting import QuiltConfig, Texels, quilt
from neural3d.priors.fitting import seeded
from neural3d.texture.atlas import Atlas
from neural3d.texture.charts import Chart, chart_of, nearest_known
from neural3d.texture.complete import CompleteConfig, Progress, Windowed, in_windows
from neural3d.texture.proposals import Propose, box_of, filled

_GUIDANCE = 4.0


def restyled(
    atlas: Atlas, style: Texels, up: Float[Tensor, "3"], config: CompleteConfig, progress: Progress
) -> Windowed:
    """The same surface, every texel copied from the style; those that no window shows take the nearest one's colour.

    Blocks are chosen that look like what lies there, after both have the same mean and spread of colour: light and dark
    stay where they are, their texture becomes the style's.

    Source: Efros and Freeman 2001, Image Quilting for Texture Synthesis and Transfer, section 3.
    Raises: InputError where the style is too small.
    """
    original = nearest_known(atlas)
    guide = original.with_colors(_matched(original.colors, style), original.known)
    painted = original.with_colors(original.colors, torch.zeros_like(atlas.known))
    copying = seeded(config.seed + 1)

    def fill(chart: Chart) -> Tensor:
        wanted = chart_of(guide, chart.frame).image[(slice(None), *box_of(chart.unknown))]
        return filled(chart, _laid(wanted, config), (), copying, style)

    done = in_windows(painted, up, fill, config, progress)
    return replace(done, atlas=nearest_known(done.atlas))


def _laid(wanted: Float[Tensor, "3 H W"], config: CompleteConfig) -> Propose:
    blocks = QuiltConfig(num_blocks=2000 if config.is_fast else 6000, guidance=_GUIDANCE)

    def propose(image: Tensor, unknown: Tensor, texels: Texels, generator: torch.Generator) -> Tensor:
        return quilt(image, unknown, texels, generator, wanted, blocks)

    return propose


def _matched(colors: Float[Tensor, "N 3"], style: Texels) -> Float[Tensor, "N 3"]:
    """Colours with the style's mean and spread, channel by channel.

    Source: Reinhard et al. 2001, Color Transfer between Images.
    """
    image = (style.images[0].flatten(1).T + 1) / 2
    if len(image) < 9:
        raise InputError("the style is smaller than 3 x 3; give a larger image")
    spread = image.std(0) / colors.std(0).clamp_min(1e-3)
    return ((colors - colors.mean(0)) * spread + image.mean(0)).clamp(0, 1)
