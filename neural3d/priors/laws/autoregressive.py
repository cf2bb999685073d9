"""Token after token: a transformer over the whole numbers of a discrete codec."""

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor
from torch.nn import functional

from neural3d.priors.laws.law import Law
from neural3d.priors.networks.transformer import CausalTransformer, Memory
from neural3d.priors.records import NOTHING_ASKED, Condition

CANDIDATES = 4
"""Completions that are drawn for each image; the one that best explains what comes after the hole is kept."""
_UNASKED = 0.1
"""Share of training samples whose label is withheld, so that samples can be drawn without one."""


class Autoregressive(Law):
    """p(tokens) as the product of p(token | those before it), row by row.

    Source: Chen et al., Generative Pretraining from Pixels, 2020; Esser et al., Taming Transformers, 2021, section 3.2.
    """

    is_trained = fills = True

    def __init__(self, num_tokens: int, side: int, width: int, depth: int, num_labels: int = 0) -> None:
        super().__init__()
        self.side, self.num_labels = side, num_labels
        self.network = CausalTransformer(num_tokens, side * side, width, depth, num_labels + 1)

    def loss(self, latents: Int64[Tensor, "B h w"], condition: Condition, generator: torch.Generator) -> Tensor:
        """Nats a token."""
        tokens = latents.flatten(1)
        logits = self.network(tokens, self._withheld(self._starts(len(tokens), condition), generator))
        return functional.cross_entropy(logits.flatten(0, 1), tokens.flatten())

    def log_probabilities(
        self, latents: Int64[Tensor, "B h w"], condition: Condition = NOTHING_ASKED
    ) -> Float[Tensor, "B h w K"]:
        """Of every token at every place, given the tokens before it."""
        tokens = latents.flatten(1)
        logits = self.network(tokens, self._starts(len(tokens), condition))
        return logits.log_softmax(-1).view(*latents.shape, -1)

    def draw(self, shape: tuple[int, ...], condition: Condition, generator: torch.Generator) -> Int64[Tensor, "B h w"]:
        """Whole images of tokens."""
        return self._drawn(torch.full(shape, -1), self._starts(shape[0], condition), generator)

    def fill(
        self,
        latents: Int64[Tensor, "B h w"],
        unknown: Bool[Tensor, "B h w"],
        condition: Condition,
        generator: torch.Generator,
    ) -> Int64[Tensor, "B h w"]:
        """Draw what is unknown given what comes before it; of several, keep what best foretells what comes after."""
        asked = latents.masked_fill(unknown, -1).repeat_interleave(CANDIDATES, 0)
        starts = self._starts(len(latents), condition).repeat_interleave(CANDIDATES, 0)
        drawn = self._drawn(asked, starts, generator)
        logits = self.network(drawn.flatten(1), starts).log_softmax(-1)
        told = logits.gather(2, drawn.flatten(1)[..., None])[..., 0] * (asked.flatten(1) >= 0)
        best = told.sum(1).view(-1, CANDIDATES).argmax(1)
        return drawn.view(-1, CANDIDATES, *latents.shape[1:])[torch.arange(len(latents)), best]

    def _drawn(self, asked: Int64[Tensor, "B h w"], starts: Tensor, generator: torch.Generator) -> Tensor:
        """Tokens where `asked` has -1, the others as they are."""
        flat = asked.flatten(1).clone()
        entry, memory = self.network.starts(starts), Memory()
        for place in range(flat.shape[1]):
            logits, memory = self.network.step(entry, place, memory)
            drawn = torch.multinomial(logits.softmax(-1), 1, generator=generator)[:, 0]
            flat[:, place] = torch.where(flat[:, place] < 0, drawn, flat[:, place])
            entry = self.network.tokens(flat[:, place])
        return flat.view_as(asked)

    def _starts(self, count: int, condition: Condition) -> Int64[Tensor, "B"]:
        """The token before the first: the label, or what stands for none."""
        if condition.labels is None or not self.num_labels:
            return torch.full((count,), self.num_labels)
        return condition.labels

    def _withheld(self, starts: Int64[Tensor, "B"], generator: torch.Generator) -> Int64[Tensor, "B"]:
        """The same, but of some samples no label; without labels nothing is drawn at random."""
        if not self.num_labels:
            return starts
        return starts.masked_fill(torch.rand(len(starts), generator=generator) < _UNASKED, self.num_labels)
