"""What a visitor sees of a model: which of its outputs, in which colours, over what; the same for splats and fields."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from neural3d.cameras import Cameras
from neural3d.render.colormaps import ColormapName, colored
from neural3d.render.layers import color_bands, cropped, layer_tiles
from neural3d.render.model import Model
from neural3d.render.rendering import RenderFn
from neural3d.splats.gaussians import Gaussians
from neural3d.viewer.comparison import Comparison, compared, comparison_cameras

Output = Literal["Colour", "Depth", "Normals", "Opacity"]
OUTPUTS: tuple[Output, ...] = get_args(Output)
NEAREST, FARTHEST = 0.02, 0.98
"""Quantiles of the depths in a picture that its colours begin and end with."""
MAX_SAMPLES = 100_000
"""Of the depths, to find these; torch sorts no more than 16 million."""


@dataclass(frozen=True)
class Display:
    """One visitor's choice."""

    output: Output = "Colour"
    colormap: ColormapName = "turbo"
    """Of depths."""
    background: tuple[float, float, float] = (0.0, 0.0, 0.0)
    """Display sRGB in [0, 1]."""
    scale: float = 1.0
    """Resolution of the full picture as a part of the window's, in (0, 1]."""
    comparison: Comparison | None = None
    """A photo beside the render, for who stands where it was taken."""


@dataclass(frozen=True)
class Drawing:
    """A model, and what draws it."""

    render_fn: RenderFn
    """Over black."""
    model: Model | None = None
    """None where only colour and opacity can be drawn."""

    def channels(self, cameras: Cameras, output: Output) -> Float[Tensor, "H W C"]:
        """What the model has for the one view; its opacity last.

        Raises: ValueError where only colours can be drawn.
        """
        return torch.cat(tuple(self.bands(cameras, output, int(cameras.size_px[0, 1]))))

    def bands(self, cameras: Cameras, output: Output, rows: int) -> Iterator[Float[Tensor, "R W C"]]:
        """The same, so many rows at a time from the top; a band is drawn when it is asked for.

        Raises: ValueError where only colours can be drawn.
        """
        if output not in ("Colour", "Opacity"):
            if self.model is None:
                raise ValueError(f"{output}: this model is drawn in colour alone")
            for tile in layer_tiles(self.model, cameras, rows=rows):
                yield torch.cat([tile.depths if output == "Depth" else tile.normals, tile.alphas], dim=-1)
            return
        height = int(cameras.size_px[0, 1])
        if isinstance(self.model, Gaussians) and rows < height:
            # Projected once: in a camera of its own a band would show those near its border otherwise.
            yield from color_bands(self.model, cameras, rows)
            return
        for top in range(0, height, rows):
            seen = self.render_fn(cropped(cameras, 0, top, int(cameras.size_px[0, 0]), min(rows, height - top)))
            yield torch.cat([seen.colors[0], seen.alphas[0]], dim=-1).detach().float().cpu()


def drawn_cameras(cameras: Cameras, display: Display) -> Cameras:
    """The view that is rendered for a picture of these cameras: half as wide where the photo takes the other half."""
    return cameras if display.comparison is None else comparison_cameras(cameras, display.comparison)


def picture(channels: Float[Tensor, "H W C"], cameras: Cameras, display: Display) -> UInt8[Tensor, "H W2 3"]:
    """The picture of what `Drawing.channels` found for `drawn_cameras`."""
    shown = _colors(channels[..., :-1], channels[..., -1:], display)
    if display.comparison is not None:
        shown = compared(shown, cameras, display.comparison, display.background)
    return (shown.clamp(0, 1) * 255 + 0.5).byte()


def _colors(values: Tensor, alphas: Float[Tensor, "H W 1"], display: Display) -> Float[Tensor, "H W 3"]:
    background = torch.tensor(display.background)
    match display.output:
        case "Colour":
            return values + (1 - alphas) * background
        case "Opacity":
            return colored(alphas[..., 0], "gray")
        case "Normals":
            return alphas * (0.5 + 0.5 * values) + (1 - alphas) * background
        case "Depth":
            depths = colored(_normalised(values[..., 0], alphas[..., 0]), display.colormap)
            return alphas * depths + (1 - alphas) * background


def _normalised(depths: Float[Tensor, "H W"], alphas: Float[Tensor, "H W"]) -> Float[Tensor, "H W"]:
    """From 0 for the nearest to 1 for what is farthest away, stray pixels left out."""
    there = depths[alphas > 0.5]
    there = there[:: max(1, len(there) // MAX_SAMPLES)]
    if not len(there):
        return torch.zeros_like(depths)
    low, high = torch.quantile(there, torch.tensor([NEAREST, FARTHEST]))
    return (depths - low) / (high - low).clamp(min=1e-6)
