"""What every prior can do, and the one that most are: a codec and a law of its latents."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from neural3d.priors.codecs.codec import Codec, DiscreteCodec
from neural3d.priors.fitting import Stage, fit_stage, seeded
from neural3d.priors.inpainting import fill_box, fill_windows, flattened, search_latents, unknown_cells
from neural3d.priors.laws.autoregressive import Autoregressive
from neural3d.priors.laws.law import Law
from neural3d.priors.patches import PatchSource
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

_LOOKED_AT = 512
"""Patches that are looked at before training begins."""


@dataclass(frozen=True)
class PriorConfig:
    """What a prior was made for; with the name it says everything but the weights."""

    name: str
    """A name of the registry."""
    size: int
    """Side in pixels of the square patches that it learns and draws; a power of 2."""
    labels: tuple[str, ...] = ()
    """Names of the classes that it can be asked for."""
    downscale: float = 1.0
    """By how much images were made smaller before patches were cut."""
    maps: str = ""
    """What maps it goes by: `given` ones, or a kind that is computed; none if empty."""


class Prior(ABC):
    """A probability law of images that was fitted to some, or images to copy from: the same questions to both."""

    config: PriorConfig

    @abstractmethod
    def fit(
        self, source: PatchSource, budget: Budget, seed: int = 0, watch: Watch = watch_nothing
    ) -> list[StageReport]:
        """Learn from patches; the same seed and steps give the same bytes at the same number of threads.

        Raises: InputError where the source lacks what this prior needs; NumericError.
        """

    @abstractmethod
    def sample(self, count: int, condition: Condition = NOTHING_ASKED, seed: int = 0) -> Images:
        """New images of the prior's size."""

    @abstractmethod
    def encode(self, images: Images) -> Any:
        """Latents of images of the prior's size."""

    @abstractmethod
    def decode(self, latents: Any) -> Images:
        """Images of latents."""

    @abstractmethod
    def guide(self, images: Images, condition: Condition = NOTHING_ASKED, seed: int = 0) -> Float[Tensor, ""]:
        """A scalar that falls as images of the prior's size become likelier, differentiable in them."""

    @abstractmethod
    def tensors(self) -> dict[str, Tensor]:
        """Everything that was learnt."""

    @abstractmethod
    def load_tensors(self, tensors: dict[str, Tensor]) -> None:
        """Take what `tensors` gave.

        Raises: ValueError where names, shapes or kinds are others.
        """

    @abstractmethod
    def fill(self, images: Images, unknown: Unknown, condition: Condition, generator: torch.Generator) -> Images:
        """Images with their holes filled; what is known need not be kept to the bit."""

    def inpaint(self, images: Images, unknown: Unknown, condition: Condition = NOTHING_ASKED, seed: int = 0) -> Images:
        """Fill holes in images of any size; known pixels keep their bits, and what is in the hole is never read."""
        if not bool(unknown.any()):
            return images.clone()
        with torch.no_grad():
            filled = self.fill(flattened(images, unknown), unknown, condition, seeded(seed))
        return torch.where(unknown, filled.clamp(-1, 1), images)


class ComposedPrior(Prior):
    """`Prior = Codec . Law`: fitted one after the other, drawn from the other way around."""

    def __init__(self, config: PriorConfig, codec: Codec, law: Law, *, codec_share: float = 0.5) -> None:
        """With the share of a budget that the codec gets where both are trained."""
        self.config, self.codec, self.law = config, codec, law
        self._codec_share = codec_share
        self.modules = nn.ModuleDict({"codec": codec, "law": law}).eval()

    def fit(
        self, source: PatchSource, budget: Budget, seed: int = 0, watch: Watch = watch_nothing
    ) -> list[StageReport]:
        """The codec on patches, then the law on their latents."""
        generator, reports = seeded(seed), []
        shares = (self._codec_share, 1 - self._codec_share)
        is_both = self.codec.is_trained and self.law.is_trained
        codec_budget, law_budget = budget.split(*shares) if is_both else (budget, budget)
        with torch.no_grad():
            self.codec.prepare(source.draw(_LOOKED_AT, generator).images, generator)
        if self.codec.is_trained:
            reports.append(self._fit_codec(source, codec_budget, generator, watch))
        with torch.no_grad():
            self.law.prepare(self.codec.encode(source.draw(_LOOKED_AT, generator).images))
        if self.law.is_trained:
            reports.append(self._fit_law(source, law_budget, generator, watch))
        return reports

    @torch.no_grad()
    def sample(self, count: int, condition: Condition = NOTHING_ASKED, seed: int = 0) -> Images:
        """Draw latents, decode them."""
        shape = (count, *self.codec.latent_shape(self.config.size))
        return self.decode(self.law.draw(shape, condition, seeded(seed))).clamp(-1, 1)

    @torch.no_grad()
    def encode(self, images: Images) -> Any:
        """Latents."""
        return self.codec.encode(images)

    @torch.no_grad()
    def decode(self, latents: Any) -> Images:
        """Images."""
        return self.codec.decode(latents)

    def guide(self, images: Images, condition: Condition = NOTHING_ASKED, seed: int = 0) -> Float[Tensor, ""]:
        """How unlikely the law finds the latents; tokens count by how well they stand for their cells."""
        if isinstance(self.codec, DiscreteCodec) and isinstance(self.law, Autoregressive):
            closeness = self.codec.closeness(images)
            with torch.no_grad():
                logs = self.law.log_probabilities(closeness.argmax(-1), condition)
            return -(closeness.softmax(-1) * logs).sum(-1).mean()
        return self.law.unlikeliness(self.codec.encode(images), seeded(seed), condition)

    def fill(self, images: Images, unknown: Unknown, condition: Condition, generator: torch.Generator) -> Images:
        """Latents that the law draws given the known ones, or that are searched for.

        All at once where codec and law take images of any size, else in windows of the prior's size.
        """

        def fill_window(window: Images, hole: Unknown) -> Images:
            return self._fill_window(flattened(window, hole), hole, condition, generator)

        is_free = self.codec.takes_any_size and self.law.takes_any_size
        return (fill_box if is_free else fill_windows)(images, unknown, self.config.size, fill_window)

    def tensors(self) -> dict[str, Tensor]:
        """Weights and buffers."""
        return dict(self.modules.state_dict())

    def load_tensors(self, tensors: dict[str, Tensor]) -> None:
        """Take them, in place of what is there."""
        check_tensors(self.modules.state_dict(), tensors)
        self.modules.load_state_dict(tensors, assign=True)

    def _fill_window(self, window: Images, hole: Unknown, condition: Condition, generator: torch.Generator) -> Images:
        if self.law.fills:
            cells = unknown_cells(hole, self.codec.stride)
            return self.decode(self.law.fill(self.codec.encode(window), cells, condition, generator))
        return self._searched(window, hole, condition, generator)

    def _searched(self, window: Images, hole: Unknown, condition: Condition, generator: torch.Generator) -> Images:
        start = self.law.draw((len(window), *self.codec.latent_shape(self.config.size)), condition, generator)
        free, asked = start.split([start.shape[1] - self.law.num_asked, self.law.num_asked], dim=1)

        def decoded(latents: Tensor) -> Images:
            return self.codec.decode(torch.cat([latents, asked], 1))

        found = search_latents(0.5 * free, decoded, lambda z: self.law.unlikeliness(z, generator), window, hole)
        return decoded(found)

    def _fit_codec(self, source: PatchSource, budget: Budget, generator: torch.Generator, watch: Watch) -> StageReport:
        count = batch_size(source.size)
        stage = Stage("codec", self.codec, budget)
        return fit_stage(stage, lambda step: self.codec.loss(source.draw(count, generator).images, generator), watch)

    def _fit_law(self, source: PatchSource, budget: Budget, generator: torch.Generator, watch: Watch) -> StageReport:
        count = batch_size(source.size)

        def loss_of(step: int) -> Tensor:
            batch = source.draw(count, generator)
            with torch.no_grad():
                latents = self.codec.encode(batch.images)
            return self.law.loss(latents, Condition(batch.labels), generator)

        return fit_stage(Stage("law", self.law, budget, is_averaged=self.law.is_averaged), loss_of, watch)


def check_tensors(own: dict[str, Tensor], others: dict[str, Tensor]) -> None:
    """Whether the others can take the place of a prior's own.

    Raises: ValueError where names, shapes or kinds are others.
    """
    wrong = own.keys() ^ others.keys()
    wrong |= {
        name
        for name in own.keys() & others.keys()
        if (own[name].shape, own[name].dtype) != (others[name].shape, others[name].dtype)
    }
    if wrong:
        raise ValueError(f"{len(wrong)} of its tensors are missing or of another shape, as {min(wrong)}")


def batch_size(size: int) -> int:
    """Patches a step: fewer of larger ones, so that a step takes about as long."""
    return max(8, min(32, 512 // size))
