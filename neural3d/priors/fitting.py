"""The one training loop of codecs and laws: AdamW until the budget is spent, the weights' average kept."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from neural3d.errors import NumericError
from neural3d.priors.records import Budget, Countdown, FitProgress, StageReport, Watch, watch_nothing

DECAY_BEGINS = 0.5
"""Fraction of the budget after which the step size falls."""
MAX_GRADIENT_NORM = 1.0
MAX_AVERAGING = 0.995


@dataclass(frozen=True)
class Stage:
    """What is trained, and how."""

    name: str
    module: nn.Module
    budget: Budget
    learning_rate: float = 2e-3
    is_averaged: bool = False
    """End with the exponential average of the weights, which diffusion samples better from."""


def fit_stage(stage: Stage, loss_of: Callable[[int], Tensor], watch: Watch = watch_nothing) -> StageReport:
    """Take steps on `loss_of(step)` until the budget is spent or `watch` says stop.

    Raises: NumericError when the loss is no longer finite.
    """
    stage.module.train()
    parameters = [parameter for parameter in stage.module.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=stage.learning_rate, betas=(0.9, 0.95), weight_decay=0.0)
    average = [parameter.detach().clone() for parameter in parameters] if stage.is_averaged else None
    countdown, losses, step, was_stopped = Countdown(stage.budget), [], 0, False
    while step == 0 or (not was_stopped and countdown.spent(step) < 1):
        set_step_size(optimizer, stage.learning_rate * decay(countdown.spent(step)))
        losses.append(take_step(optimizer, loss_of(step), f"{stage.name}, step {step}"))
        step += 1
        _follow(average, parameters, step)
        was_stopped = watch(FitProgress(stage.name, step, min(1.0, countdown.spent(step)), losses[-1]))
    _install(average, parameters)
    stage.module.eval()
    seconds = time.monotonic() - countdown.started
    ends = [math.fsum(part) / len(part) for part in (losses[:10], losses[-10:])]
    return StageReport(stage.name, step, seconds, ends[0], ends[1], was_stopped)


def take_step(optimizer: torch.optim.Optimizer, loss: Tensor, where: str) -> float:
    """One update; the loss.

    Raises: NumericError.
    """
    value = float(loss.detach())
    if not math.isfinite(value):
        raise NumericError(f"the prior's loss is {value} at {where}; train with another --seed or on other images")
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    for group in optimizer.param_groups:
        nn.utils.clip_grad_norm_(group["params"], MAX_GRADIENT_NORM)
    optimizer.step()
    return value


def decay(fraction: float) -> float:
    """Of the step size: constant, then to zero.

    Source: Haegele et al., Scaling Laws and Compute-Optimal Training Beyond Fixed Training Durations, 2024 (1-sqrt).
    """
    left = max(0.0, fraction - DECAY_BEGINS) / (1 - DECAY_BEGINS)
    return max(0.0, 1 - math.sqrt(left))


def set_step_size(optimizer: torch.optim.Optimizer, value: float) -> None:
    """For all parameters."""
    for group in optimizer.param_groups:
        group["lr"] = value


def seeded(seed: int) -> torch.Generator:
    """The random numbers of one fit or one draw."""
    return torch.Generator().manual_seed(seed)


@torch.no_grad()
def _follow(average: list[Tensor] | None, parameters: list[Tensor], step: int) -> None:
    """Young averages forget faster, so that they are not of the first weights."""
    if average is not None:
        torch._foreach_lerp_(average, parameters, 1 - min((1 + step) / (10 + step), MAX_AVERAGING))


@torch.no_grad()
def _install(average: list[Tensor] | None, parameters: list[Tensor]) -> None:
    for parameter, value in zip(parameters, average or [], strict=False):
        parameter.copy_(value)
