"""unCLIP: a text's embedding, from it an image's embedding by one diffusion, from that an image by another."""

import torch
from jaxtyping import Float
from torch import Tensor

from neural3d.priors.codecs.codec import Identity
from neural3d.priors.fitting import Stage, fit_stage, seeded
from neural3d.priors.laws.diffusion import Diffusion, DiffusionConfig
from neural3d.priors.networks.unet import Perceptron, UNet
from neural3d.priors.patches import PatchSource
from neural3d.priors.prior import ComposedPrior, PriorConfig, batch_size
from neural3d.priors.records import (
    NOTHING_ASKED,
    Budget,
    Condition,
    Images,
    StageReport,
    Watch,
    watch_nothing,
)
from neural3d.priors.text.captions import Vocabulary, drawn_captions
from neural3d.priors.text.embedding import TextImageEmbedding, fit_embedding

_BATCH = 128
_CANDIDATES = 2
"""Embeddings that are drawn for each sample; the one nearer to the text is taken."""
_KEPT_PICTURE = 0.6
"""The time up to which a picture is covered by noise where a text shall change it."""


class UnclipPrior(ComposedPrior):
    """Latents are pixels; the law is the decoder, which goes by an image's embedding.

    Source: Ramesh et al., Hierarchical Text-Conditional Image Generation with CLIP Latents, 2022, sections 2.1, 2.2
        and 3.1; a picture that a text changes: Meng et al., SDEdit, 2022.
    """

    law: Diffusion

    def __init__(
        self, config: PriorConfig, width: int = 32, shares: tuple[float, float, float] = (0.25, 0.15, 0.6)
    ) -> None:
        """With the shares of a budget that embedding, prior and decoder get."""
        model = TextImageEmbedding(Vocabulary(config.labels))
        decoder = UNet(2 * 3 + 1, 3, width, vector_size=model.size)
        settings = DiffusionConfig("x0", noise=0.0)  # by "v", minutes of training drew nothing but noise
        super().__init__(
            config, Identity(), Diffusion(decoder, 3, settings, standardizes=False, vector_size=model.size)
        )
        steps = DiffusionConfig("x0", clip=4.0, guidance=1.5, learns_holes=False)
        network = Perceptron(2 * model.size + 1, model.size, 256, vector_size=model.size)
        self.model = model.eval()
        self.embedding_law = Diffusion(network, model.size, steps, standardizes=True, vector_size=model.size).eval()
        self.modules.update({"model": self.model, "embedding_law": self.embedding_law})
        self._shares = shares

    def fit(
        self, source: PatchSource, budget: Budget, seed: int = 0, watch: Watch = watch_nothing
    ) -> list[StageReport]:
        """The embedding, the law of images' embeddings given a text's, the decoder."""
        generator = seeded(seed)
        budgets = budget.split(*self._shares)
        reports = [fit_embedding(self.model, source, budgets[0], generator, watch)]
        with torch.no_grad():
            self.embedding_law.prepare(self._pairs(source, 1024, generator)[0])
        stages = ("prior", self.embedding_law, self._prior_loss), ("decoder", self.law, self._decoder_loss)
        for (name, law, loss), part in zip(stages, budgets[1:], strict=True):
            stage = Stage(name, law, part, is_averaged=True)
            reports.append(fit_stage(stage, lambda step, loss=loss: loss(source, generator), watch))
        return reports

    @torch.no_grad()
    def sample(self, count: int, condition: Condition = NOTHING_ASKED, seed: int = 0) -> Images:
        """Of a text; of an image, variations; of both, the image changed as the text says."""
        generator = seeded(seed)
        resolved = Condition(vectors=self.embeddings(count, condition, generator))
        if condition.images is None or condition.text is None:
            shape = (count, 3, self.config.size, self.config.size)
            return self.law.draw(shape, resolved, generator).clamp(-1, 1)
        pictures = condition.images.expand(count, -1, -1, -1)
        return self.law.vary(pictures, _KEPT_PICTURE, resolved, generator).clamp(-1, 1)

    def fill(self, images: Images, unknown: Tensor, condition: Condition, generator: torch.Generator) -> Images:
        """By the decoder; an image that goes on beyond its border is a hole like any other."""
        vectors = None
        if condition.text is not None or condition.images is not None:
            vectors = self.embeddings(len(images), condition, generator)
        return super().fill(images, unknown, Condition(vectors=vectors), generator)

    def guide(self, images: Images, condition: Condition = NOTHING_ASKED, seed: int = 0) -> Float[Tensor, ""]:
        """Of the decoder, given the text."""
        generator = seeded(seed)
        with torch.no_grad():
            vectors = self.embeddings(len(images), condition, generator)
        return self.law.unlikeliness(images, generator, Condition(vectors=vectors))

    @torch.no_grad()
    def embeddings(self, count: int, condition: Condition, generator: torch.Generator) -> Float[Tensor, "B E"]:
        """Images' embeddings that go with a text, or of an image, or any."""
        if condition.text is None and condition.images is not None:
            return self.model.embed_images(condition.images).expand(count, -1)
        if condition.text is None:
            return self._drawn(torch.zeros(count, self.model.size), generator)
        text = self.model.embed_texts([condition.text])
        drawn = self._drawn(text.expand(count * _CANDIDATES, -1), generator).view(count, _CANDIDATES, -1)
        return drawn[torch.arange(count), (drawn @ text[0]).argmax(1)]

    def _drawn(self, texts: Float[Tensor, "B E"], generator: torch.Generator) -> Float[Tensor, "B E"]:
        drawn = self.embedding_law.draw((*texts.shape, 1, 1), Condition(vectors=texts), generator)
        return torch.nn.functional.normalize(drawn[:, :, 0, 0], dim=1)

    @torch.no_grad()
    def _pairs(self, source: PatchSource, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Embeddings of patches, and of captions that fit them."""
        batch = source.draw(count, generator)
        fitting = self.model.vocabulary.fitting(batch.images, batch.labels)
        texts = self.model.embed_captions(drawn_captions(fitting, generator))
        return self.model.embed_images(batch.images)[:, :, None, None], texts

    def _prior_loss(self, source: PatchSource, generator: torch.Generator) -> Tensor:
        images, texts = self._pairs(source, _BATCH, generator)
        return self.embedding_law.loss(images, Condition(vectors=texts), generator)

    def _decoder_loss(self, source: PatchSource, generator: torch.Generator) -> Tensor:
        images = source.draw(batch_size(source.size), generator).images
        with torch.no_grad():
            vectors = self.model.embed_images(images)
        return self.law.loss(images, Condition(vectors=vectors), generator)
