"""The embedding as a prior of its own: it draws, by copying, the patches that fit a text."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from neural3d.errors import InputError
from neural3d.priors.fitting import seeded
from neural3d.priors.patches import PatchSource, to_bytes, to_signed
from neural3d.priors.prior import Prior, PriorConfig, check_tensors
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
from neural3d.priors.text.embedding import TextImageEmbedding, fit_embedding

KEPT = 1024
"""Patches that are kept to choose from."""
_SHARPNESS = 30.0
"""Of the choice, in reciprocal cosines."""


class EmbeddingPrior(Prior):
    """Latents are embeddings; decoding one is finding the kept patch whose embedding is nearest.

    Limits: it makes nothing new, and fills no holes.
    """

    def __init__(self, config: PriorConfig) -> None:
        self.config = config
        self.model = TextImageEmbedding(Vocabulary(config.labels))
        self.model.eval()
        self._patches = torch.zeros(KEPT, config.size, config.size, 3, dtype=torch.uint8)
        self._vectors = torch.zeros(KEPT, self.model.size)

    def fit(
        self, source: PatchSource, budget: Budget, seed: int = 0, watch: Watch = watch_nothing
    ) -> list[StageReport]:
        """The embedding, then a look at some patches."""
        generator = seeded(seed)
        report = fit_embedding(self.model, source, budget, generator, watch)
        images = source.draw(KEPT, generator).images
        self._patches = to_bytes(images)
        with torch.no_grad():
            self._vectors = self.model.embed_images(images)
        return [report]

    @torch.no_grad()
    def sample(self, count: int, condition: Condition = NOTHING_ASKED, seed: int = 0) -> Images:
        """Kept patches, likelier the better they fit the text, none of them twice where there are enough."""
        chances = torch.ones(KEPT)
        if condition.text is not None:
            chances = (_SHARPNESS * self._vectors @ self.model.embed_texts([condition.text])[0]).softmax(0)
        elif condition.images is not None:
            chances = (_SHARPNESS * self._vectors @ self.model.embed_images(condition.images)[0]).softmax(0)
        chosen = torch.multinomial(chances.clamp_min(1e-20), count, count > KEPT, generator=seeded(seed))
        return to_signed(self._patches[chosen])

    @torch.no_grad()
    def encode(self, images: Images) -> Float[Tensor, "B E"]:
        """Unit vectors."""
        return self.model.embed_images(images)

    @torch.no_grad()
    def decode(self, latents: Any) -> Images:
        """The kept patches that are nearest."""
        return to_signed(self._patches[(latents @ self._vectors.T).argmax(1)])

    def guide(self, images: Images, condition: Condition = NOTHING_ASKED, seed: int = 0) -> Float[Tensor, ""]:
        """1 minus the cosine with the text; without one, with the nearest kept patch."""
        vectors = self.model.embed_images(images)
        if condition.text is not None:
            return 1 - (vectors @ self.model.embed_texts([condition.text]).detach().T).mean()
        return 1 - (vectors @ self._vectors.T).amax(1).mean()

    def fill(self, images: Images, unknown: Unknown, condition: Condition, generator: torch.Generator) -> Images:
        """Raises: InputError, always."""
        raise InputError(
            f"{self.config.name} tells which texts and images fit and cannot fill holes; "
            "vqgan-clip and unclip, which hold such an embedding, can"
        )

    def tensors(self) -> dict[str, Tensor]:
        """The embedding, and the kept patches."""
        kept = {"kept.patches": self._patches, "kept.vectors": self._vectors}
        return kept | {f"model.{name}": tensor for name, tensor in self.model.state_dict().items()}

    def load_tensors(self, tensors: dict[str, Tensor]) -> None:
        """Take them."""
        check_tensors(self.tensors(), tensors)
        self._patches, self._vectors = tensors["kept.patches"], tensors["kept.vectors"]
        weights = {name.removeprefix("model."): tensor for name, tensor in tensors.items() if name.startswith("model.")}
        self.model.load_state_dict(weights, assign=True)
