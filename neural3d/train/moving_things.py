"""What moves: parts of a photo that the scene, as the other photos show it, speaks against are left out of its loss."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.functional import avg_pool2d, max_pool2d

from neural3d.errors import InputError
from neural3d.train.light import display_target
from neural3d.train.photos import TrainingPhoto

BLOCKS_ACROSS = 32
"""Of a photo's longest side: what moves is larger than one block."""
SMALLEST_BLOCK_PX = 6
FLOOR = 0.1
"""Differences of colour, 0 to 1, that no photo is ever doubted for."""
FACTOR = 3.0
"""Times the typical difference that one must be for a block to be doubted."""
SHARE = 3 / 9
"""Of a block and its neighbours that must differ so for the block to be left out, which excuses lone ones."""
QUANTILE = 0.9
"""Of a photo's differences, that is followed."""
LEAST = 1e-3
"""What is typical is never less."""
STEP = 1.05
"""Factor by which what is typical moves towards each photo's: it finds the median over photos, not their mean."""
BEGIN = 0.05
"""Fraction of the run from which on parts are left out: before, everything differs."""
UNKNOWN = 2.0
"""More than colours can differ by: nothing has been seen yet."""
_NAME = "moving.typical"


@dataclass(frozen=True)
class MovingThings:
    """What differences between photos and renders are typical; steps change the number in place.

    Render and photo are compared by the mean colours of blocks: detail that the model still lacks leaves these alone,
    a thing that is not there in other photos does not. A block that differs by more than `FLOOR` and `FACTOR` times
    what is typical, along with its neighbours, is left out of the photo's loss. What is left out of one photo is learnt
    from the others, so that what was doubted wrongly comes back.

    Source: Sabour et al. 2023, RobustNeRF, eq. 8-10 (trimmed residuals, smoothed over neighbourhoods), on means of
    blocks and with a running scale in the place of a fixed share of outliers.
    Limits: a thing of the colours of what is behind it is not seen, nor one that stands still in most photos.
    """

    typical: Float[Tensor, "1"]
    """Running median over photos of a high quantile of their blocks' differences, 0 to 1."""

    @staticmethod
    def fresh(device: torch.device = torch.device("cpu")) -> "MovingThings":
        """Nothing is known yet."""
        return MovingThings(torch.full((1,), UNKNOWN, device=device))

    def believed(
        self,
        shown: Float[Tensor, "3 H W"],
        photo: TrainingPhoto,
        background: Float[Tensor, "3"],
        fraction: float,
        before: Float[Tensor, "1"] | None = None,
    ) -> Bool[Tensor, "H W"] | None:
        """Which pixels of the photo count, `shown` being the render with its exposure; None: all.

        Who may ask twice in a step gives what was typical `before` it: then only the last answer is learnt from.
        """
        height, width = photo.pixels.shape[:2]
        block = max(SMALLEST_BLOCK_PX, round(max(height, width) / BLOCKS_ACROSS))
        differences = block_differences(shown, target_of(photo, background), photo.valid, block)
        before = self.typical if before is None else before
        self.typical.copy_(_learnt(before, differences.flatten().nanquantile(QUANTILE).view(1)))
        if fraction < BEGIN:
            return photo.valid
        doubted = doubtful(differences, (FACTOR * self.typical).clamp(min=FLOOR))
        kept = ~doubted.repeat_interleave(block, 0)[:height].repeat_interleave(block, 1)[:, :width]
        return (kept if photo.valid is None else kept & photo.valid).contiguous()

    def tensors(self) -> dict[str, Tensor]:
        """For a checkpoint."""
        return {_NAME: self.typical}

    @staticmethod
    def loaded(tensors: Mapping[str, Tensor]) -> "MovingThings":
        """Out of a whole checkpoint.

        Raises:
            InputError: Its run did not look for what moves.
        """
        if _NAME not in tensors:
            raise InputError("--ignore-moving: the run to resume was trained otherwise; leave it as it was")
        return MovingThings(tensors[_NAME])


def _learnt(before: Float[Tensor, "1"], high: Float[Tensor, "1"]) -> Float[Tensor, "1"]:
    """What is typical, after a photo with this quantile of differences; as before where none of its blocks counts."""
    nearer = before * torch.where(high > before, STEP, 1 / STEP)
    # A photo without any difference says 0, from which no factor leads away.
    learnt = torch.where(before < UNKNOWN, nearer, high).clamp(min=LEAST)
    return torch.where(high.isnan(), before, learnt)


def target_of(photo: TrainingPhoto, background: Float[Tensor, "3"]) -> Float[Tensor, "3 H W"]:
    """The photo's colours, 0 to 1 or above where it holds light, over the background where it is transparent."""
    if photo.light is not None:
        return display_target(photo, background)
    pixels = photo.pixels.permute(2, 0, 1).float() / 255
    if photo.alpha is None:
        return pixels
    alpha = photo.alpha.float() / 255
    return pixels * alpha + background[:, None, None] * (1 - alpha)


def block_differences(
    shown: Float[Tensor, "3 H W"], target: Float[Tensor, "3 H W"], valid: Bool[Tensor, "H W"] | None, block: int
) -> Float[Tensor, "h w"]:
    """How much the mean colours of blocks of so many pixels a side differ, mean over channels; NaN without pixels."""
    apart = shown - target
    pooling = {"kernel_size": block, "ceil_mode": True, "count_include_pad": False}
    if valid is None:
        return avg_pool2d(apart[None], **pooling)[0].abs().mean(dim=0)
    weights = valid[None, None].to(apart)
    shares = avg_pool2d(weights, **pooling)[0]
    means = avg_pool2d((apart * weights[0])[None], **pooling)[0] / shares.clamp(min=1e-6)
    # Of hidden blocks nothing is known: as zeros, where a mask leaves little, they would say that all is as it should.
    return torch.where(shares[0] > 0, means.abs().mean(dim=0), torch.nan)


def doubtful(differences: Float[Tensor, "h w"], threshold: Float[Tensor, "1"]) -> Bool[Tensor, "h w"]:
    """Blocks that differ along with their neighbours, and the rims of these; NaN differs from nothing."""
    apart = (differences > threshold).float()[None, None]
    around = avg_pool2d(apart, 3, stride=1, padding=1, count_include_pad=False)
    seeds = (apart > 0) & (around >= SHARE - 1e-6)
    return max_pool2d(seeds.float(), 3, stride=1, padding=1)[0, 0] > 0
