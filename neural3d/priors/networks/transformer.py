"""A causal transformer over a short sequence of tokens, with a memory so that drawing costs one token a step."""

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.nn import functional

Memory = list[tuple[Tensor, Tensor]]
"""Keys and values of what was read so far, one pair a block."""


class Block(nn.Module):
    """Attention to what came before, then a perceptron, both beside the identity."""

    def __init__(self, width: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.norms = nn.ModuleList([nn.LayerNorm(width), nn.LayerNorm(width)])
        self.attention, self.merge = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.perceptron = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(
        self, x: Float[Tensor, "B L W"], memory: tuple[Tensor, Tensor] | None
    ) -> tuple[Float[Tensor, "B L W"], tuple[Tensor, Tensor]]:
        """With a memory, `x` is one token that comes after all of it."""
        batch, length, width = x.shape
        split = self.attention(self.norms[0](x)).view(batch, length, 3, self.num_heads, -1)
        query, key, value = split.permute(2, 0, 3, 1, 4)
        if memory is not None:
            key, value = torch.cat([memory[0], key], 2), torch.cat([memory[1], value], 2)
        seen = functional.scaled_dot_product_attention(query, key, value, is_causal=memory is None)
        x = x + self.merge(seen.transpose(1, 2).reshape(batch, length, width))
        return x + self.perceptron(self.norms[1](x)), (key, value)


class CausalTransformer(nn.Module):
    """What the next token may be, given those before it.

    Source: Radford et al., Language Models are Unsupervised Multitask Learners, 2019; Chen et al., Generative
        Pretraining from Pixels, 2020.
    """

    def __init__(self, vocabulary: int, length: int, width: int, depth: int, num_starts: int) -> None:
        super().__init__()
        self.tokens, self.starts = nn.Embedding(vocabulary, width), nn.Embedding(num_starts, width)
        self.places = nn.Parameter(0.02 * torch.randn(length, width))
        self.blocks = nn.ModuleList([Block(width, max(1, width // 32)) for _ in range(depth)])
        self.norm, self.exit = nn.LayerNorm(width), nn.Linear(width, vocabulary)

    def forward(self, tokens: Int64[Tensor, "B L"], starts: Int64[Tensor, "B"]) -> Float[Tensor, "B L K"]:
        """Logits of every token from those before it; the last token is not read."""
        entries = torch.cat([self.starts(starts)[:, None], self.tokens(tokens[:, :-1])], 1)
        x = entries + self.places[: tokens.shape[1]]
        for block in self.blocks:
            x, _ = block(x, None)
        return self.exit(self.norm(x))

    def step(self, entry: Float[Tensor, "B W"], place: int, memory: Memory) -> tuple[Float[Tensor, "B K"], Memory]:
        """Logits of token number `place`, after reading one more entry (the start, or the token before it)."""
        x, kept = (entry + self.places[place])[:, None], []
        for i, block in enumerate(self.blocks):
            x, pair = block(x, memory[i] if memory else None)
            kept.append(pair)
        return self.exit(self.norm(x[:, 0])), kept
