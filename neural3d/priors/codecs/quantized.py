"""Vector quantisation: an autoencoder whose latents are words of a learnt codebook."""

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn import functional

from neural3d.priors.codecs.codec import DiscreteCodec
from neural3d.priors.codecs.palette import squared_distances
from neural3d.priors.networks.convolution import Decoder, Encoder
from neural3d.priors.records import Images

COMMITMENT = 0.25
FORGETTING = 0.98
"""Of the codebook's running averages, a step."""
DEAD_BELOW = 0.02
"""Mean uses a batch under which a word is moved to where it is needed."""


class VectorQuantized(DiscreteCodec):
    """Cells of `stride` pixels, each told by the nearest of `num_words` vectors.

    The words are running averages of the cells that chose them; words that nobody chooses restart at a cell.

    Source: van den Oord et al., Neural Discrete Representation Learning, 2017, equation 3 and appendix A.1; restarts:
        Dhariwal et al., Jukebox, 2020, section 3.
    """

    is_trained = True

    def __init__(self, stride: int, num_words: int, word_size: int, width: int) -> None:
        super().__init__()
        self.stride, self.num_tokens, self.channels = stride, num_words, word_size
        self.encoder, self.decoder = Encoder(3, width, stride, word_size), Decoder(3, width, stride, word_size)
        self.register_buffer("words", torch.randn(num_words, word_size))
        self.register_buffer("uses", torch.ones(num_words))
        self.register_buffer("sums", self.words.clone())

    def encode(self, images: Images) -> Int64[Tensor, "B h w"]:
        """The nearest word's number, a cell."""
        return self.closeness(images).argmax(-1)

    def decode(self, latents: Int64[Tensor, "B h w"]) -> Images:
        """Images of words."""
        return self.decoder(self.words[latents].movedim(-1, 1))

    def closeness(self, images: Images) -> Float[Tensor, "B h w K"]:
        """Minus the squared distance of each cell to each word."""
        return -squared_distances(self.encoder(images).movedim(1, -1), self.words)

    def nearest(self, vectors: Float[Tensor, "*S D"]) -> Int64[Tensor, "*S"]:
        """The number of the nearest word."""
        return squared_distances(vectors, self.words).argmin(-1)

    def loss(self, images: Images, generator: torch.Generator) -> Tensor:
        """Error of the pixels, and of the cells around their words; the words learn by the way."""
        return self.reconstructed(images, generator)[1]

    def reconstructed(self, images: Images, generator: torch.Generator) -> tuple[Images, Tensor]:
        """The decoded images, with gradients that pass straight through the choice of words, and the loss."""
        cells = self.encoder(images)
        vectors = cells.movedim(1, -1)
        chosen = self.nearest(vectors.detach())
        words = self.words[chosen].movedim(-1, 1)
        if self.training:
            self._learn(vectors.detach().flatten(0, 2), chosen.flatten(), generator)
        decoded = self.decoder(straight_through(cells, words))
        error = functional.mse_loss(decoded, images)
        return decoded, error + COMMITMENT * functional.mse_loss(cells, words)

    @torch.no_grad()
    def _learn(self, vectors: Float[Tensor, "N D"], chosen: Int64[Tensor, "N"], generator: torch.Generator) -> None:
        counts = torch.bincount(chosen, minlength=self.num_tokens).float()
        sums = torch.zeros_like(self.words).index_add_(0, chosen, vectors)
        self.uses.lerp_(counts, 1 - FORGETTING)
        self.sums.lerp_(sums, 1 - FORGETTING)
        is_dead = self.uses < DEAD_BELOW * max(1.0, len(vectors) / self.num_tokens)
        others = vectors[torch.randint(len(vectors), (self.num_tokens,), generator=generator)]
        self.uses.copy_(torch.where(is_dead, torch.ones_like(self.uses), self.uses))
        self.sums.copy_(torch.where(is_dead[:, None], others, self.sums))
        self.words.copy_(self.sums / self.uses[:, None])


def straight_through(cells: Float[Tensor, "*S"], words: Float[Tensor, "*S"]) -> Float[Tensor, "*S"]:
    """The words' values with the cells' gradient."""
    return cells + (words - cells).detach()


def perplexity(tokens: Int64[Tensor, "*S"], num_tokens: int) -> float:
    """How many words are in use, as exp of the entropy of their frequencies."""
    counts = torch.bincount(tokens.flatten(), minlength=num_tokens).double()
    shares = counts / counts.sum()
    return float(torch.exp(-torch.special.xlogy(shares, shares).sum()))
