"""Captions without a captioner: words for colour, brightness and roughness are measured, labels add theirs."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Int64
from torch import Tensor

from neural3d.errors import InputError
from neural3d.priors.records import Images, Labels

BRIGHTNESS = ("dark", "dim", "bright")
COLORS = ("gray", "red", "brown", "orange", "yellow", "green", "cyan", "blue", "purple", "pink")
ROUGHNESS = ("smooth", "fine", "rough")
MEASURED = BRIGHTNESS + COLORS + ROUGHNESS
FILLERS = frozenset("a an the and of with in on is to".split())
"""Words of a text that say nothing here, and are passed over."""

_BRIGHTNESS_FROM = (0.38, 0.62)
_ROUGHNESS_FROM = (0.02, 0.07)
_LEAST_SATURATION = 0.15
_HUE_ENDS_DEG = (15, 45, 70, 165, 195, 260, 300, 345)
_HUES = ("red", "orange", "yellow", "green", "cyan", "blue", "purple", "pink", "red")
_BROWN_BELOW = 0.65
_LUMA = (0.299, 0.587, 0.114)


def measured_words(images: Images) -> Bool[Tensor, "B words"]:
    """Which of `MEASURED` fit: one word each for brightness, colour and roughness.

    Brightness is the mean luma of display sRGB; colour is the hue of the mean; roughness is the mean absolute
    difference of the luma of neighbouring pixels, so it is of the scale at which the images are given.

    Limits: one colour for a patch of many, that of their mean.
    """
    pixels = (images.clamp(-1, 1) + 1) / 2
    luma = (pixels * torch.tensor(_LUMA)[:, None, None]).sum(1)
    across, down = luma.diff(dim=2).abs().mean((1, 2)), luma.diff(dim=1).abs().mean((1, 2))
    chosen = torch.stack(
        [
            torch.bucketize(luma.mean((1, 2)), torch.tensor(_BRIGHTNESS_FROM)),
            len(BRIGHTNESS) + _color_numbers(pixels.mean((2, 3))),
            len(BRIGHTNESS) + len(COLORS) + torch.bucketize((across + down) / 2, torch.tensor(_ROUGHNESS_FROM)),
        ],
        1,
    )
    return torch.zeros(len(images), len(MEASURED), dtype=torch.bool).scatter_(1, chosen, True)


def _color_numbers(colors: Tensor) -> Int64[Tensor, "B"]:
    """Indices into `COLORS` of display sRGB colours in [0, 1], by hue, saturation and value."""
    value, least = colors.amax(1), colors.amin(1)
    spread = (value - least).clamp_min(1e-6)
    red, green, blue = colors.unbind(1)
    sextant = torch.where(
        value == red,
        ((green - blue) / spread) % 6,
        torch.where(value == green, (blue - red) / spread + 2, (red - green) / spread + 4),
    )
    hues = torch.tensor([COLORS.index(name) for name in _HUES])
    numbers = hues[torch.bucketize(60 * sextant, torch.tensor(_HUE_ENDS_DEG))]
    is_brown = (numbers == COLORS.index("orange")) & (value < _BROWN_BELOW)
    numbers = torch.where(is_brown, COLORS.index("brown"), numbers)
    is_gray = value - least < _LEAST_SATURATION * value.clamp_min(0.1)
    return torch.where(is_gray, COLORS.index("gray"), numbers)


@dataclass(frozen=True)
class Vocabulary:
    """The words that an embedding knows: the measured ones, and those of the labels."""

    labels: tuple[str, ...] = ()

    @property
    def words(self) -> tuple[str, ...]:
        """In the order of their numbers."""
        told = dict.fromkeys(word for label in self.labels for word in split_words(label) if word not in FILLERS)
        return MEASURED + tuple(word for word in told if word not in MEASURED)

    def fitting(self, images: Images, labels: Labels | None) -> Bool[Tensor, "B words"]:
        """Which words fit each image: what is measured, and the words of its label."""
        fitting = torch.zeros(len(images), len(self.words), dtype=torch.bool)
        fitting[:, : len(MEASURED)] = measured_words(images)
        if labels is not None and self.labels:
            fitting |= self._label_words()[labels]
        return fitting

    def numbers(self, text: str) -> list[int]:
        """Of the words of a text, fillers left out.

        Raises: InputError for words that it does not know, and for none at all.
        """
        told = [word for word in split_words(text) if word not in FILLERS]
        unknown = [word for word in told if word not in self.words]
        if unknown or not told:
            what = f"does not know {', '.join(unknown)}" if unknown else "finds no words in it"
            raise InputError(f"the text {text!r}: this prior {what}; it knows {', '.join(self.words)}")
        return [self.words.index(word) for word in told]

    def _label_words(self) -> Bool[Tensor, "labels words"]:
        rows = [{word for word in split_words(label)} for label in self.labels]
        return torch.tensor([[word in row for word in self.words] for row in rows])


def split_words(text: str) -> list[str]:
    """Lower case, whatever stands between them."""
    return re.findall(r"[^\W_]+", text.lower())


def drawn_captions(fitting: Bool[Tensor, "B words"], generator: torch.Generator) -> Bool[Tensor, "B words"]:
    """Some of the words that fit each image, at least one, so that texts of few words are learnt, too."""
    chances = torch.rand(fitting.shape, generator=generator)
    kept = fitting & (chances < 0.5)
    surest = torch.where(fitting, chances, 2.0).argmin(1, keepdim=True)
    return kept.scatter(1, surest, True)


def caption_texts(captions: Bool[Tensor, "B words"], words: Sequence[str]) -> list[str]:
    """The captions to read."""
    return [" ".join(word for word, is_told in zip(words, row, strict=True) if is_told) for row in captions.tolist()]
