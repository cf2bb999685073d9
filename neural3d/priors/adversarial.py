"""Training a generator against a critic: minimax, non-saturating, Wasserstein; labels; R1."""

import copy
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from neural3d.errors import NumericError
from neural3d.priors.fitting import decay, set_step_size
from neural3d.priors.records import Budget, Countdown, FitProgress, StageReport, Watch, watch_nothing

Game = Literal["minimax", "non-saturating", "wasserstein"]
_AVERAGING = 0.99
R1_EVERY = 4


@dataclass(frozen=True)
class AdversarialConfig:
    """Which game, and how it is played."""

    game: Game = "non-saturating"
    """What the generator minimises; see `generator_loss`."""
    step_size: float = 1e-3
    critic_steps: int = 1
    """Steps of the critic for one of the generator."""
    r1: float = 1.0
    """Weight of the critic's squared gradient at real images; 0 in a Wasserstein game, whose critic is clipped."""
    clip: float = 0.01
    """Largest weight of a Wasserstein critic."""


def critic_loss(game: Game, real: Float[Tensor, "B"], made: Float[Tensor, "B"]) -> Tensor:
    """What the critic minimises, of its answers to real and made images.

    Source: Goodfellow et al., Generative Adversarial Nets, 2014, equation 1; Arjovsky et al., Wasserstein GAN, 2017,
        equation 2.
    """
    if game == "wasserstein":
        return made.mean() - real.mean()
    return functional.softplus(-real).mean() + functional.softplus(made).mean()


def generator_loss(game: Game, made: Float[Tensor, "B"]) -> Tensor:
    """What the generator minimises.

    minimax: log(1 - D), which is flat where the critic is sure; non-saturating: -log D, which is steep there;
    wasserstein: minus the critic's number.

    Source: Goodfellow et al. 2014, equation 1 and the remark after it; Arjovsky et al. 2017, algorithm 1.
    """
    match game:
        case "minimax":
            return -functional.softplus(made).mean()
        case "non-saturating":
            return functional.softplus(-made).mean()
        case "wasserstein":
            return -made.mean()


def gradient_penalty(answers: Float[Tensor, "B"], images: Tensor) -> Tensor:
    """R1: half the squared gradient of the critic at real images.

    Source: Mescheder et al., Which Training Methods for GANs do actually Converge?, 2018, equation 9.
    """
    (gradient,) = torch.autograd.grad(answers.sum(), images, create_graph=True)
    return 0.5 * gradient.square().flatten(1).sum(1).mean()


def clip_weights(critic: nn.Module, bound: float) -> None:
    """Keep every weight in [-bound, bound], which bounds the critic's slope."""
    with torch.no_grad():
        for parameter in critic.parameters():
            parameter.clamp_(-bound, bound)


@dataclass(frozen=True)
class Players:
    """Who plays."""

    generator: nn.Module
    """Latents to images."""
    critic: nn.Module
    """Images, and labels or None, to a number each."""


class Match:
    """A game under way: the two optimisers, and one move of each."""

    def __init__(self, players: Players, config: AdversarialConfig) -> None:
        self._players, self._config, self._num_moves = players, config, 0
        self.optimizers = [_optimizer(player, config) for player in (players.critic, players.generator)]
        if config.game == "wasserstein":
            clip_weights(players.critic, config.clip)

    def move_critic(self, real: Tensor, made: Tensor, labels: Tensor | None) -> float:
        """One step of the critic; its loss without the penalty."""
        config, critic, optimizer = self._config, self._players.critic, self.optimizers[0]
        is_penalized = config.game != "wasserstein" and config.r1 > 0 and self._num_moves % R1_EVERY == 0
        self._num_moves += 1
        real = real.detach().requires_grad_(is_penalized)
        answers = critic(real, labels)
        loss = critic_loss(config.game, answers, critic(made.detach(), labels))
        penalty = R1_EVERY * config.r1 * gradient_penalty(answers, real) if is_penalized else 0.0
        _step(optimizer, loss + penalty)
        if config.game == "wasserstein":
            clip_weights(critic, config.clip)
        return float(loss.detach())

    def move_generator(self, made: Tensor, labels: Tensor | None) -> float:
        """One step of the generator; its loss."""
        loss = generator_loss(self._config.game, self._players.critic(made, labels))
        _step(self.optimizers[1], loss)
        return float(loss.detach())


@dataclass(frozen=True)
class Draws:
    """What a step is made of: real images with their labels, and latents of the same labels."""

    real: Tensor
    latents: Tensor
    labels: Tensor | None


DrawFn = Callable[[], Draws]


def fit_adversarially(
    players: Players, config: AdversarialConfig, draw: DrawFn, budget: Budget, watch: Watch = watch_nothing
) -> StageReport:
    """Play until the budget is spent; the generator ends as the average of its last weights.

    Raises: NumericError.
    """
    game, average, countdown = Match(players, config), copy.deepcopy(players.generator), Countdown(budget)
    losses: list[float] = []
    was_stopped = False
    while not losses or (not was_stopped and countdown.spent(len(losses)) < 1):
        for optimizer in game.optimizers:
            set_step_size(optimizer, config.step_size * max(0.05, decay(countdown.spent(len(losses)))))
        for _ in range(config.critic_steps):
            draws = draw()
            with torch.no_grad():
                made = players.generator(draws.latents)
            loss = game.move_critic(draws.real, made, draws.labels)
        game.move_generator(players.generator(draws.latents), draws.labels)
        if not math.isfinite(loss):
            raise NumericError(f"the critic's loss is {loss} at step {len(losses)}; try another --seed")
        losses.append(loss)
        _follow(average, players.generator)
        was_stopped = watch(FitProgress("adversarial", len(losses), min(1.0, countdown.spent(len(losses))), loss))
    players.generator.load_state_dict(average.state_dict())
    seconds = time.monotonic() - countdown.started
    first, last = (math.fsum(part) / len(part) for part in (losses[:10], losses[-10:]))
    return StageReport("adversarial", len(losses), seconds, first, last, was_stopped)


def _optimizer(player: nn.Module, config: AdversarialConfig) -> torch.optim.Optimizer:
    if config.game == "wasserstein":
        return torch.optim.RMSprop(player.parameters(), lr=config.step_size)  # as the paper, section 4.3
    return torch.optim.Adam(player.parameters(), lr=config.step_size, betas=(0.0, 0.99))


def _step(optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    for parameter, gradient in zip(parameters, torch.autograd.grad(loss, parameters), strict=True):
        parameter.grad = gradient
    optimizer.step()


@torch.no_grad()
def _follow(average: nn.Module, module: nn.Module) -> None:
    torch._foreach_lerp_(list(average.parameters()), list(module.parameters()), 1 - _AVERAGING)
