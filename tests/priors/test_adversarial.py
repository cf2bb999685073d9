"""The games: where each stalls, what is clipped, what a label does."""

import pytest
import torch
from torch import nn

from neural3d.priors.adversarial import (
    AdversarialConfig,
    Draws,
    Match,
    Players,
    fit_adversarially,
    generator_loss,
    gradient_penalty,
)
from neural3d.priors.fitting import seeded
from neural3d.priors.patches import PatchSource, Picture
from neural3d.priors.prior import PriorConfig
from neural3d.priors.records import Budget, Condition
from neural3d.priors.registry import make_prior

from .textures import flat


class Shift(nn.Module):
    """A generator of one number: latent plus what it learns."""

    def __init__(self) -> None:
        super().__init__()
        self.by = nn.Parameter(torch.tensor(-6.0))

    def forward(self, latents: torch.Tensor) -> torch.Tensor:
        return latents + self.by


class Judge(nn.Module):
    """A critic of one number."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.Sequential(nn.Linear(1, 16), nn.LeakyReLU(0.2), nn.Linear(16, 1))

    def forward(self, points: torch.Tensor, labels: torch.Tensor | None) -> torch.Tensor:
        return self.layers(points)[:, 0]


def draw_near_zero(generator: torch.Generator) -> Draws:
    return Draws(torch.randn(64, 1, generator=generator), torch.randn(64, 1, generator=generator), None)


def moved(game: str) -> float:
    """How far the generator comes in 20 moves against a critic that is sure of itself."""
    generator, players = seeded(0), Players(Shift(), Judge())
    rules = AdversarialConfig(game, step_size=1e-2, r1=0.0)
    match = Match(players, rules)
    # Plain descent: Adam would enlarge whatever gradient is left.
    match.optimizers[1] = torch.optim.SGD(players.generator.parameters(), lr=0.1)
    for _ in range(100):
        draws = draw_near_zero(generator)
        match.move_critic(draws.real, players.generator(draws.latents), None)
    before = float(players.generator.by.detach())
    for _ in range(20):
        match.move_generator(players.generator(draw_near_zero(generator).latents), None)
    return float(players.generator.by.detach()) - before


def test_minimax_stalls_where_non_saturating_does_not():
    assert moved("non-saturating") > 0.5
    assert abs(moved("minimax")) < 0.1 * moved("non-saturating")


def test_a_sure_critic_leaves_minimax_no_slope():
    answers = torch.tensor([-12.0], requires_grad=True)
    slopes = [torch.autograd.grad(generator_loss(game, answers), answers)[0] for game in ("minimax", "non-saturating")]
    assert slopes[0].abs() < 1e-4 and slopes[1] == pytest.approx(-1, abs=1e-4)


def test_wasserstein_weights_stay_in_the_clip_and_the_gap_falls():
    generator, players = seeded(0), Players(Shift(), Judge())
    config = AdversarialConfig("wasserstein", step_size=3e-2, critic_steps=5, r1=0.0, clip=0.1)
    gaps = []

    def watch(progress) -> bool:
        assert all(parameter.abs().max() <= config.clip for parameter in players.critic.parameters())
        gaps.append(-progress.loss)
        return False

    fit_adversarially(players, config, lambda: draw_near_zero(generator), Budget(None, 300), watch)
    early, late = max(gaps[:60]), sum(gaps[-30:]) / 30
    assert early > 0 and abs(late) < 0.3 * early
    assert abs(float(players.generator.by.detach())) < 1


@pytest.mark.parametrize("game", ["minimax", "non-saturating"])
def test_the_games_without_a_clip_bring_the_generator_home(game):
    """From nearby, where minimax has a slope."""
    generator, players = seeded(0), Players(Shift(), Judge())
    with torch.no_grad():
        players.generator.by.fill_(-1.5)
    config = AdversarialConfig(game, step_size=1e-2)
    fit_adversarially(players, config, lambda: draw_near_zero(generator), Budget(None, 400))
    assert abs(float(players.generator.by.detach())) < 0.7


def test_the_penalty_is_half_the_squared_slope():
    images = torch.randn(5, 3, requires_grad=True)
    weights = torch.tensor([1.0, -2.0, 2.0])
    assert float(gradient_penalty(images @ weights, images)) == pytest.approx(4.5)


def test_a_label_decides_what_is_made():
    """Dark and bright images, one a label: what is made is as dark or bright as asked."""
    source = PatchSource([Picture(flat(24, 60), None, 0), Picture(flat(24, 190), None, 1)], 8, ("dark", "bright"))
    prior = make_prior(PriorConfig("cgan", 8, ("dark", "bright")))
    prior.fit(source, Budget(None, 100))
    means = [prior.sample(16, Condition(torch.full((16,), label))).mean() for label in (0, 1)]
    assert means[0] < -0.2 and means[1] > 0.2


def test_a_hole_is_filled_with_what_was_asked_for(monkeypatch: pytest.MonkeyPatch):
    """The search for latents that fit moves what is free; a label stays 1 for its class and 0 for the others."""
    prior = make_prior(PriorConfig("cgan", 8, ("low", "steep")))
    seen, decode = [], prior.codec.decode
    monkeypatch.setattr(prior.codec, "decode", lambda latents: seen.append(latents.detach()) or decode(latents))
    unknown = torch.zeros(1, 1, 8, 8, dtype=torch.bool)
    unknown[..., 2:6, 2:6] = True
    prior.inpaint(torch.zeros(1, 3, 8, 8), unknown, Condition(torch.tensor([1])), seed=1)
    labels = torch.stack([latents[0, -2:, 0, 0] for latents in seen])
    assert len(seen) > 50 and torch.equal(labels, torch.tensor([0.0, 1.0]).expand_as(labels))
    assert not torch.equal(seen[0], seen[-1])
