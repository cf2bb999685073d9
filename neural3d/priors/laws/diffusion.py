"""Diffusion: noise is added step by step, and a network learns to take it away; also its newer form, flow matching."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from neural3d.priors.laws.law import Standardized
from neural3d.priors.networks.unet import Control, UNet
from neural3d.priors.records import NOTHING_ASKED, Condition

Prediction = Literal["eps", "x0", "v", "flow"]
LATEST = 0.998
"""The noisiest time that is used: at 1 nothing of the image is left to predict noise from."""
EARLIEST = 0.002
_UNASKED = 0.1
"""Share of training samples whose label is withheld, for guidance without a classifier."""
_ALL_UNKNOWN = 0.5
"""Share of training samples of which nothing is known, for sampling; the others have holes, for inpainting."""
_GUIDE_TIMES = (0.1, 0.6)


@dataclass(frozen=True)
class DiffusionConfig:
    """How noise is added, what the network predicts, and how samples are drawn."""

    prediction: Prediction = "v"
    """eps: the noise; x0: the image; v: Salimans and Ho 2022; flow: noise minus image, on a straight path."""
    draw_steps: int = 20
    """Network evaluations for a sample."""
    noise: float = 1.0
    """Fresh noise in drawing: 1 is DDPM's ancestral sampling, 0 DDIM or the flow's differential equation."""
    clip: float = 1.0
    """Largest value of an image, in the latents' units; infinity for no bound."""
    guidance: float = 2.0
    """How much further than the plain prediction a label pulls: 1 is not at all further."""
    learns_holes: bool = True
    """Train on patches with holes, too."""


def signal_and_noise(
    time: Float[Tensor, "B"], prediction: Prediction
) -> tuple[Float[Tensor, "B 1 1 1"], Float[Tensor, "B 1 1 1"]]:
    """Factors (a, s) of x_t = a x + s e at times in [0, 1].

    Source: Nichol and Dhariwal 2021 (the cosine schedule, without its offset); Lipman et al., Flow Matching for
        Generative Modeling, 2023, example 2 with sigma_min = 0 (the straight path).
    """
    t = time[:, None, None, None]
    return (1 - t, t) if prediction == "flow" else ((0.5 * math.pi * t).cos(), (0.5 * math.pi * t).sin())


class Diffusion(Standardized):
    """A denoiser of latents that also sees what is known of them.

    Source: Ho et al., Denoising Diffusion Probabilistic Models, 2020, equation 14; Song et al., DDIM, 2021, equation
        12; Ho and Salimans, Classifier-Free Diffusion Guidance, 2022, equation 6; holes: Cherel et al. 2024.
    """

    is_trained = fills = is_averaged = True

    def __init__(
        self,
        network: nn.Module,
        channels: int,
        config: DiffusionConfig,
        *,
        standardizes: bool,
        num_labels: int = 0,
        vector_size: int = 0,
    ) -> None:
        """With a network from 2 * channels + 1 channels (noisy, known, where), a time, and what is asked."""
        super().__init__(channels)
        self.network, self.config = network, config
        self.num_labels, self.vector_size = num_labels, vector_size
        self._standardizes = standardizes
        # Set by a prior that has a branch for maps, which is no part of this law.
        self.control_of: Callable[[Tensor], Control] | None = None
        self.takes_any_size = isinstance(network, UNet)

    def prepare(self, latents: Tensor) -> None:
        """Measure latents whose units are not known beforehand."""
        if self._standardizes:
            super().prepare(latents)

    def loss(self, latents: Tensor, condition: Condition, generator: torch.Generator) -> Tensor:
        """Mean squared error of the prediction where latents are unknown."""
        clean = self.standardized(latents)
        count = len(clean)
        time = EARLIEST + (LATEST - EARLIEST) * torch.rand(count, generator=generator)
        unknown = random_holes(clean.shape, generator) if self.config.learns_holes else torch.ones_like(clean[:, :1])
        noise = torch.randn(clean.shape, generator=generator)
        signal, level = signal_and_noise(time, self.config.prediction)
        asked = self._withheld(self._asked(condition), generator)
        predicted = self._predict(signal * clean + level * noise, time, clean, unknown, asked, condition.maps)
        error = (predicted - self._target(clean, noise, signal, level)).square() * unknown
        return error.sum() / (unknown.sum() * clean.shape[1])

    def denoised(
        self,
        noisy: Tensor,
        time: float,
        asked: Tensor | None = None,
        known: Tensor | None = None,
        unknown: Tensor | None = None,
        maps: Tensor | None = None,
    ) -> Float[Tensor, "B D h w"]:
        """The expected clean latents, standardized, given noisy ones."""
        known = torch.zeros_like(noisy) if known is None else known
        unknown = torch.ones_like(noisy[:, :1]) if unknown is None else unknown
        times = torch.full((len(noisy),), time)
        predicted = self._predict(noisy, times, known, unknown, asked, maps)
        if asked is not None and self.config.guidance != 1:
            plain = self._predict(noisy, times, known, unknown, None, maps)
            predicted = plain + self.config.guidance * (predicted - plain)
        return self._clean_of(predicted, noisy, times)

    def score(self, noisy: Tensor, time: float, asked: Tensor | None = None) -> Float[Tensor, "B D h w"]:
        """The gradient of the logarithm of the noisy latents' density.

        Source: Song et al., Score-Based Generative Modeling through Stochastic Differential Equations, 2021, with
            Tweedie's formula: (a E[x | x_t] - x_t) / s^2.
        """
        signal, level = signal_and_noise(torch.full((len(noisy),), time), self.config.prediction)
        return (signal * self.denoised(noisy, time, asked) - noisy) / level**2

    def draw(
        self, shape: tuple[int, ...], condition: Condition, generator: torch.Generator
    ) -> Float[Tensor, "B D h w"]:
        """Out of noise."""
        nothing = torch.zeros(shape)
        return self.restored(self._reversed(nothing, torch.ones_like(nothing[:, :1]), condition, generator))

    def fill(
        self, latents: Tensor, unknown: Bool[Tensor, "B h w"], condition: Condition, generator: torch.Generator
    ) -> Float[Tensor, "B D h w"]:
        """Out of noise, where unknown; the network sees the rest clean at every step."""
        where = unknown[:, None].float()
        clean = self.standardized(latents)
        filled = self._reversed(clean, where, condition, generator)
        return self.restored(torch.where(where > 0, filled, clean))

    def vary(
        self, latents: Tensor, strength: float, condition: Condition, generator: torch.Generator
    ) -> Float[Tensor, "B D h w"]:
        """Latents like these, as what is asked: noise is added up to the time `strength`, and taken away again.

        Source: Meng et al., SDEdit, 2022, algorithm 1.
        """
        clean = self.standardized(latents)
        nothing, everywhere = torch.zeros_like(clean), torch.ones_like(clean[:, :1])
        return self.restored(self._reversed(nothing, everywhere, condition, generator, clean, strength))

    def unlikeliness(self, latents: Tensor, generator: torch.Generator, condition: Condition = NOTHING_ASKED) -> Tensor:
        """Half the squared distance to what the network would make of the latents after some noise.

        Its gradient is that of score distillation, weighted by level / signal.

        Source: Poole et al., DreamFusion, 2022, equation 3.
        """
        clean = self.standardized(latents)
        first, last = _GUIDE_TIMES
        time = float(first + (last - first) * torch.rand(1, generator=generator))
        signal, level = signal_and_noise(torch.full((len(clean),), time), self.config.prediction)
        noise = torch.randn(clean.shape, generator=generator)
        with torch.no_grad():
            target = self.denoised(signal * clean + level * noise, time, self._asked(condition), maps=condition.maps)
        return 0.5 * (clean - target).square().mean()

    def _reversed(
        self,
        clean: Tensor,
        unknown: Tensor,
        condition: Condition,
        generator: torch.Generator,
        start: Tensor | None = None,
        first: float = LATEST,
    ) -> Float[Tensor, "B D h w"]:
        """From noise, or from `start` with the noise of the time `first`, to latents, standardized."""
        config, asked = self.config, self._asked(condition)
        times = torch.linspace(first, 0, max(2, round(config.draw_steps * first / LATEST) + 1)).tolist()
        x = torch.randn(clean.shape, generator=generator)
        if start is not None:
            signal, level = signal_and_noise(torch.full((1,), first), config.prediction)
            x = signal * start + level * x
        for now, then in zip(times, times[1:], strict=False):
            guess = self.denoised(x, now, asked, clean, unknown, condition.maps).clamp(-config.clip, config.clip)
            (signal, level), (next_signal, next_level) = (
                signal_and_noise(torch.full((1,), time), config.prediction) for time in (now, then)
            )
            noise = (x - signal * guess) / level
            fresh = config.noise * fresh_noise(signal, level, next_signal, next_level)
            x = next_signal * guess + (next_level**2 - fresh**2).clamp_min(0).sqrt() * noise
            x = x + fresh * torch.randn(clean.shape, generator=generator)
        return x

    def _predict(
        self, noisy: Tensor, time: Tensor, known: Tensor, unknown: Tensor, asked: Tensor | None, maps: Tensor | None
    ) -> Float[Tensor, "B D h w"]:
        seen = known * (1 - unknown)
        entry = torch.cat([noisy * unknown + seen, seen, 2 * unknown - 1], 1)
        if maps is None:
            return self.network(entry, time, asked)
        if self.control_of is None:
            raise ValueError("condition.maps: this prior was not made for maps; leave them out")
        return self.network(entry, time, asked, self.control_of(maps))

    def _asked(self, condition: Condition) -> Tensor | None:
        """What of a condition the network was trained to go by."""
        if self.vector_size:
            return condition.vectors
        return condition.labels if self.num_labels else None

    def _target(self, clean: Tensor, noise: Tensor, signal: Tensor, level: Tensor) -> Tensor:
        match self.config.prediction:
            case "eps":
                return noise
            case "x0":
                return clean
            case "v":
                return signal * noise - level * clean
            case "flow":
                return noise - clean

    def _clean_of(self, predicted: Tensor, noisy: Tensor, time: Tensor) -> Tensor:
        signal, level = signal_and_noise(time, self.config.prediction)
        match self.config.prediction:
            case "eps":
                return (noisy - level * predicted) / signal
            case "x0":
                return predicted
            case "v":
                return signal * noisy - level * predicted
            case "flow":
                return noisy - level * predicted

    def _withheld(self, asked: Tensor | None, generator: torch.Generator) -> Tensor | None:
        """What is asked, but of some samples nothing: the last label, or a vector of zeros."""
        if asked is None:
            return None
        is_withheld = torch.rand(len(asked), generator=generator) < _UNASKED
        if self.vector_size:
            return asked.masked_fill(is_withheld[:, None], 0.0)
        return asked.masked_fill(is_withheld, self.num_labels)


def fresh_noise(signal: Tensor, level: Tensor, next_signal: Tensor, next_level: Tensor) -> Tensor:
    """Standard deviation of the noise that the true reverse process adds in a step.

    Source: Song et al., DDIM, 2021, equation 16 with eta = 1, for any path.
    """
    kept = (level**2 - (signal / next_signal) ** 2 * next_level**2).clamp_min(0)
    return next_level / level * kept.sqrt()


def random_holes(shape: torch.Size, generator: torch.Generator) -> Float[Tensor, "B 1 h w"]:
    """1 where unknown: all of a sample, or a rectangle or two."""
    count, _, height, width = shape
    unknown = torch.zeros(count, 1, height, width)
    rows, columns = torch.arange(height)[:, None], torch.arange(width)
    for sample in range(count):
        draws = torch.rand(9, generator=generator).tolist()
        if draws[8] < _ALL_UNKNOWN:
            unknown[sample] = 1
            continue
        for y, x, tall, wide in (draws[:4], draws[4:8]):
            tall, wide = max(1, round(0.7 * tall * height)), max(1, round(0.7 * wide * width))
            top, left = round(y * (height - tall)), round(x * (width - wide))
            is_inside = (rows >= top) & (rows < top + tall) & (columns >= left) & (columns < left + wide)
            unknown[sample, 0][is_inside] = 1
    return unknown
