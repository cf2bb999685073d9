"""VQGAN+CLIP: words of a codebook, moved until what they decode to fits a text."""

from collections.abc import Callable

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from neural3d.priors.codecs.quantized import VectorQuantized, straight_through
from neural3d.priors.fitting import seeded
from neural3d.priors.inpainting import unknown_cells
from neural3d.priors.laws.law import Law
from neural3d.priors.patches import PatchSource
from neural3d.priors.prior import ComposedPrior, PriorConfig
from neural3d.priors.records import (
    NOTHING_ASKED,
    Budget,
    Condition,
    Images,
    StageReport,
    Unknown,
    Watch,
    watch_nothing,
)
from neural3d.priors.text.captions import Vocabulary
from neural3d.priors.text.embedding import TextImageEmbedding, TextImageModel, fit_embedding

STEPS = 60
_STEP_SIZE = 0.15
"""In standard deviations of the codebook's numbers."""
_CANDIDATES = 4
"""Draws for each sample, of which the one that fits the text best is moved on."""
_VIEWS = 4
"""Random crops of an image, all of which shall fit: one alone is fooled by a pattern too fine to see."""
_LEAST_CROP = 0.6
_NOISE = 0.05
_EYE_SHARE = 0.25

ImageLoss = Callable[[Images], Tensor]


class TextGuidedPrior(ComposedPrior):
    """A codebook with its law, and an eye that compares what is decoded with a text.

    Source: Crowson et al., VQGAN-CLIP: Open Domain Image Generation and Editing with Natural Language Guidance, 2022,
        section 3; the choice of the best draw: Ramesh et al., Zero-Shot Text-to-Image Generation, 2021, section 2.6.
    """

    codec: VectorQuantized

    def __init__(self, config: PriorConfig, codec: VectorQuantized, law: Law) -> None:
        super().__init__(config, codec, law)
        self.model = TextImageEmbedding(Vocabulary(config.labels)).eval()
        self.modules["model"] = self.model
        self.eye: TextImageModel = self.model

    def fit(
        self, source: PatchSource, budget: Budget, seed: int = 0, watch: Watch = watch_nothing
    ) -> list[StageReport]:
        """The eye, then the codebook, then its law."""
        eye_budget, rest = budget.split(_EYE_SHARE, 1 - _EYE_SHARE)
        report = fit_embedding(self.model, source, eye_budget, seeded(seed), watch)
        return [report, *super().fit(source, rest, seed, watch)]

    @torch.no_grad()
    def sample(self, count: int, condition: Condition = NOTHING_ASKED, seed: int = 0) -> Images:
        """Draws; with a text the best of several, moved towards it."""
        if condition.text is None:
            return super().sample(count, condition, seed)
        generator, text = seeded(seed), self.eye.embed_texts([condition.text])
        shape = (count * _CANDIDATES, *self.codec.latent_shape(self.config.size))
        tokens = self.law.draw(shape, NOTHING_ASKED, generator)
        fit = (self.eye.embed_images(self.decode(tokens).clamp(-1, 1)) @ text.T).view(count, _CANDIDATES)
        best = tokens.view(count, _CANDIDATES, *tokens.shape[1:])[torch.arange(count), fit.argmax(1)]
        everywhere = torch.ones(best.shape, dtype=torch.bool)
        return follow_text(self.codec, best, everywhere, self._misfit(text, generator)).clamp(-1, 1)

    def guide(self, images: Images, condition: Condition = NOTHING_ASKED, seed: int = 0) -> Float[Tensor, ""]:
        """With a text, how far the images are from it; else what the law finds."""
        if condition.text is None:
            return super().guide(images, condition, seed)
        return self._misfit(self.eye.embed_texts([condition.text]).detach(), seeded(seed))(images)

    def _fill_window(self, window: Images, hole: Unknown, condition: Condition, generator: torch.Generator) -> Images:
        filled = super()._fill_window(window, hole, condition, generator)
        if condition.text is None:
            return filled
        misfit = self._misfit(self.eye.embed_texts([condition.text]), generator)
        tokens = self.codec.encode(torch.where(hole, filled, window))
        cells = unknown_cells(hole, self.codec.stride)
        return follow_text(self.codec, tokens, cells, lambda images: misfit(torch.where(hole, images, window)))

    def _misfit(self, text: Float[Tensor, "1 E"], generator: torch.Generator) -> ImageLoss:
        def loss(images: Images) -> Tensor:
            views = [random_view(images, generator) for _ in range(_VIEWS)]
            return torch.stack([1 - (self.eye.embed_images(view) @ text.T).mean() for view in views]).mean()

        return loss


def follow_text(
    codec: VectorQuantized, tokens: Tensor, is_free: Bool[Tensor, "B h w"], loss: ImageLoss, steps: int = STEPS
) -> Images:
    """Move the free cells until the decoded images have a low loss; what is decoded are always words."""
    start = codec.words[tokens].movedim(-1, 1)
    with torch.enable_grad():
        cells = start.clone().requires_grad_(True)
        optimizer = torch.optim.Adam([cells], lr=_STEP_SIZE * float(codec.words.std()))
        for _ in range(steps):
            decoded = codec.decoder(_quantized(codec, torch.where(is_free[:, None], cells, start)))
            # A sum over images, so that one does not move less because there are others.
            (cells.grad,) = torch.autograd.grad(len(tokens) * loss(decoded), cells)
            optimizer.step()
    return codec.decoder(_quantized(codec, torch.where(is_free[:, None], cells.detach(), start)))


def random_view(images: Images, generator: torch.Generator) -> Images:
    """A crop at a random place of random size, with a little noise."""
    height, width = images.shape[-2:]
    share, down, right = torch.rand(3, generator=generator).tolist()
    tall, wide = (
        max(min(8, side), round(side * (_LEAST_CROP + (1 - _LEAST_CROP) * share))) for side in (height, width)
    )
    tall, wide = tall - tall % 4, wide - wide % 4
    top, left = round(down * (height - tall)), round(right * (width - wide))
    crop = images[..., top : top + tall, left : left + wide]
    return crop + _NOISE * torch.randn(crop.shape, generator=generator)


def _quantized(codec: VectorQuantized, cells: Float[Tensor, "B D h w"]) -> Float[Tensor, "B D h w"]:
    vectors = cells.movedim(1, -1)
    words = codec.words[codec.nearest(vectors)]
    return straight_through(vectors, words).movedim(-1, 1)
