"""A contrastive embedding of texts and images, small enough to be trained beside a prior; CLIPModel's interface."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn
from torch.nn import functional

from neural3d.priors.fitting import Stage, fit_stage
from neural3d.priors.networks.convolution import Encoder
from neural3d.priors.patches import PatchSource
from neural3d.priors.records import Budget, Images, StageReport, Watch, watch_nothing
from neural3d.priors.text.captions import Vocabulary, drawn_captions

_BATCH = 48
_LARGEST_LOG_SCALE = math.log(100)
_PADDING = 0


class TextImageModel(Protocol):
    """What priors ask of an embedding: unit vectors of one space; a user's CLIP answers likewise."""

    def embed_texts(self, texts: Sequence[str]) -> Float[Tensor, "B E"]:
        """Raises: InputError for a text that it cannot read."""
        ...

    def embed_images(self, images: Images) -> Float[Tensor, "B E"]:
        """Differentiable in the images, which may be of any size."""
        ...


@dataclass(frozen=True)
class Features:
    """Vectors as `transformers` wraps them."""

    pooler_output: Float[Tensor, "B E"]
    """Not of unit length."""


@dataclass(frozen=True)
class TextImageOutput:
    """How well texts and images fit, in the names of `transformers`' CLIPOutput."""

    logits_per_image: Float[Tensor, "B T"]
    logits_per_text: Float[Tensor, "T B"]
    text_embeds: Float[Tensor, "T E"]
    image_embeds: Float[Tensor, "B E"]


class TextImageEmbedding(nn.Module):
    """Words of a vocabulary, and images of any size from 8 x 8, as vectors whose angle says how well they fit.

    Its methods are named and called as those of `transformers`' CLIPModel.

    Source: Radford et al., Learning Transferable Visual Models From Natural Language Supervision, 2021, section 2.3.
    Limits: a text is a set of words: their order says nothing.
    """

    def __init__(self, vocabulary: Vocabulary, size: int = 64, width: int = 32) -> None:
        super().__init__()
        self.vocabulary, self.size = vocabulary, size
        self.words = nn.Embedding(len(vocabulary.words) + 1, 2 * size, padding_idx=_PADDING)
        self.text_layers = nn.Sequential(nn.Linear(2 * size, 2 * size), nn.SiLU(), nn.Linear(2 * size, size))
        self.image_layers = Encoder(3, width, 4, width)
        self.image_head = nn.Sequential(nn.Linear(2 * width + 6, 2 * size), nn.SiLU(), nn.Linear(2 * size, size))
        self.logit_scale = nn.Parameter(torch.tensor(math.log(10.0)))

    def get_text_features(
        self, input_ids: Int64[Tensor, "T L"], attention_mask: Int64[Tensor, "T L"] | None = None
    ) -> Features:
        """Of word numbers, which count from 1; 0 is padding."""
        mask = (input_ids != _PADDING) if attention_mask is None else attention_mask > 0
        kept = mask[..., None].float()
        mean = (self.words(input_ids) * kept).sum(1) / kept.sum(1).clamp_min(1)
        return Features(self.text_layers(mean))

    def get_image_features(self, pixel_values: Images) -> Features:
        """Of display sRGB in [-1, 1]; the mean and the spread of what convolutions see anywhere."""
        cells = self.image_layers(pixel_values)
        told = [part for layer in (cells, pixel_values) for part in _moments(layer)]
        return Features(self.image_head(torch.cat(told, 1)))

    def forward(
        self,
        input_ids: Int64[Tensor, "T L"],
        pixel_values: Images,
        attention_mask: Int64[Tensor, "T L"] | None = None,
    ) -> TextImageOutput:
        """Cosines of all pairs, scaled."""
        texts = functional.normalize(self.get_text_features(input_ids, attention_mask).pooler_output, dim=1)
        images = functional.normalize(self.get_image_features(pixel_values).pooler_output, dim=1)
        logits = self.logit_scale.clamp_max(_LARGEST_LOG_SCALE).exp() * images @ texts.T
        return TextImageOutput(logits, logits.T, texts, images)

    def embed_texts(self, texts: Sequence[str]) -> Float[Tensor, "B E"]:
        """Raises: InputError for words that the vocabulary lacks."""
        numbers = [self.vocabulary.numbers(text) for text in texts]
        ids = torch.full((len(numbers), max(map(len, numbers))), _PADDING)
        for row, told in zip(ids, numbers, strict=True):
            row[: len(told)] = torch.tensor(told) + 1
        return functional.normalize(self.get_text_features(ids).pooler_output, dim=1)

    def embed_captions(self, captions: Bool[Tensor, "B words"]) -> Float[Tensor, "B E"]:
        """Of captions by word."""
        return functional.normalize(self.get_text_features(caption_numbers(captions)).pooler_output, dim=1)

    def embed_images(self, images: Images) -> Float[Tensor, "B E"]:
        """Unit vectors."""
        return functional.normalize(self.get_image_features(images).pooler_output, dim=1)


def fit_embedding(
    model: TextImageEmbedding,
    source: PatchSource,
    budget: Budget,
    generator: torch.Generator,
    watch: Watch = watch_nothing,
) -> StageReport:
    """Train it on patches and the words that fit them.

    Raises: NumericError.
    """

    def loss_of(step: int) -> Tensor:
        batch = source.draw(_BATCH, generator)
        fitting = model.vocabulary.fitting(batch.images, batch.labels)
        captions = drawn_captions(fitting, generator)
        output = model(caption_numbers(captions), batch.images)
        return contrastive_loss(output.logits_per_image, fits(fitting, captions))

    return fit_stage(Stage("embedding", model, budget), loss_of, watch)


def fits(fitting: Bool[Tensor, "B words"], captions: Bool[Tensor, "T words"]) -> Bool[Tensor, "B T"]:
    """Whether all words of a caption fit an image."""
    return (~fitting).float() @ captions.float().T == 0


def contrastive_loss(logits_per_image: Float[Tensor, "B T"], is_fit: Bool[Tensor, "B T"]) -> Float[Tensor, ""]:
    """Cross-entropy over texts and over images, evenly over all that fit: short captions fit many images.

    Source: Radford et al. 2021, figure 3; several that fit: Yang et al., Unified Contrastive Learning in
        Image-Text-Label Space, 2022, equations 2 and 3.
    """
    losses = []
    for logits, good in ((logits_per_image, is_fit), (logits_per_image.T, is_fit.T)):
        shares = good.float() / good.sum(1, keepdim=True).clamp_min(1)
        losses.append(-(shares * logits.log_softmax(1)).sum(1).mean())
    return (losses[0] + losses[1]) / 2


def caption_numbers(captions: Bool[Tensor, "B words"]) -> Int64[Tensor, "B L"]:
    """Word numbers from 1, padded with 0."""
    most = int(captions.sum(1).max())
    told, places = captions.byte().sort(dim=1, descending=True, stable=True)
    return torch.where(told[:, :most] > 0, places[:, :most] + 1, _PADDING)


def _moments(layer: Float[Tensor, "B C H W"]) -> tuple[Tensor, Tensor]:
    return layer.mean((2, 3)), (layer.var((2, 3), correction=0) + 1e-5).sqrt()
