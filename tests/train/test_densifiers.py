"""What densifiers do to the picture, to Adam's memory and to the number of Gaussians."""

import math
from dataclasses import fields

import numpy as np
import pytest
import torch

from neural3d.errors import InputError
from neural3d.render.splats import render_splats
from neural3d.train.adc import Adc, AdcConfig, reset_opacities, split
from neural3d.train.densify import Densifier, draw, opacities_of
from neural3d.train.mcmc import Mcmc, McmcConfig, grow, relocate, shared_opacity
from neural3d.train.random_numbers import Purpose, generator

from .small_scenes import context, gradient_for, make_scene, ring, same, state_with_moments, truth

KEPT = 0.08
"""Largest change of a pixel that Gaussians in the places of others may make: profiles agree in the integral only."""


@pytest.fixture
def random() -> np.random.Generator:
    return generator(0, Purpose.GROW)


def largest_change(before, after) -> float:
    """In [0, 1], over all pixels of all views."""
    images = [render_splats(gaussians, ring(4)).colors for gaussians in (before, after)]
    return (images[0] - images[1]).abs().max().item()


def moments_by_row(state) -> list[float]:
    return state.first_moments.log_scales[:, 0].tolist()


def test_both_are_densifiers():
    assert isinstance(Mcmc(10), Densifier) and isinstance(Adc(10), Densifier)


@pytest.mark.parametrize("opacity", [0.05, 0.5, 0.99])
@pytest.mark.parametrize("copies", [1, 2, 7, 50])
def test_copies_together_are_as_opaque_as_the_one(opacity, copies):
    """In the middle exactly, and along a ray through a profile in the integral (Kheradmand et al., eq. 8-9)."""
    (each,), (factor,) = shared_opacity(np.array([opacity]), np.array([copies]))
    assert 1 - (1 - each) ** copies == pytest.approx(opacity)
    x = np.linspace(-12, 12, 20_001)
    together = 1 - (1 - each * np.exp(-(x**2) / (2 * factor**2))) ** copies
    assert together.sum() == pytest.approx((opacity * np.exp(-(x**2) / 2)).sum(), rel=1e-3)


def test_draws_follow_the_weights(random):
    weights = np.array([0.0, 3.0, 1.0, 0.0, 6.0])
    counts = np.bincount(draw(weights, 100_000, random), minlength=5)
    assert counts / 100_000 == pytest.approx(weights / 10, abs=0.01)


def test_relocation_keeps_the_picture_and_brings_the_dead_to_life(random):
    gaussians = truth()
    gaussians.logit_opacities[::3] = -8.0
    state, before = state_with_moments(gaussians), gaussians.clone()
    relocate(state, 0.005, random)
    assert largest_change(before, state.gaussians) < KEPT
    assert (opacities_of(state) > 0.005).all()
    moved = (state.gaussians.logit_opacities != before.logit_opacities).tolist()
    assert all(moved[::3]) and not all(moved)
    for row, remembered in enumerate(moments_by_row(state)):
        assert remembered == (0 if moved[row] else row + 1)


def test_nothing_is_relocated_when_all_or_none_are_dead(random):
    for logit in (-9.0, 2.0):
        gaussians = truth()
        gaussians.logit_opacities.fill_(logit)
        state = state_with_moments(gaussians)
        relocate(state, 0.005, random)
        assert same(gaussians.tensors(), state.gaussians.tensors()) and all(moments_by_row(state))


def test_growth_keeps_the_picture_and_adam_forgets_who_took_part(random):
    before = truth()
    state = grow(state_with_moments(before), 10, random)
    assert len(state) == 40
    assert largest_change(before, state.gaussians) < KEPT
    sources = {row for row in range(30) if state.gaussians.logit_opacities[row] != before.logit_opacities[row]}
    remembered = moments_by_row(state)
    assert 1 < len(sources) <= 10
    assert {row for row in range(40) if remembered[row] == 0} == sources | set(range(30, 40))
    assert not any(state.second_moments.sh[30:].flatten().tolist())


def test_a_copy_that_changes_the_picture_is_noticed():
    """The bound of the two tests above lies below what plain copies do."""
    before = truth()
    state = state_with_moments(before)
    assert largest_change(before, state.append(before[torch.arange(10)]).gaussians) > 2 * KEPT


def test_growth_of_nothing_and_by_nothing(random):
    state = state_with_moments(truth())
    assert grow(state, 0, random) is state
    empty = state.select(torch.arange(0))
    assert len(grow(empty, 5, random)) == 0


def test_mcmc_grows_to_the_cap_and_not_beyond():
    densifier = Mcmc(48, McmcConfig(interval=1, start_step=0, grown_by=0.4))
    state, counts = state_with_moments(truth(3)), []
    for step in range(11):
        state = densifier.after_update(state, context(len(state), step=step, fraction=step * 0.05))
        counts.append(len(state))
    # Evenly in the logarithm: four doublings in eight steps, then no more.
    assert counts == [3, 4, 6, 8, 12, 17, 24, 34, 48, 48, 48]


def test_a_resumed_chain_grows_as_if_it_had_never_stopped():
    begun, resumed = Mcmc(48, McmcConfig(interval=1, start_step=0)), Mcmc(48, McmcConfig(interval=1, start_step=0))
    state = begun.after_update(state_with_moments(truth(3)), context(3, step=1, fraction=0.0))
    resumed.load(begun.tensors())
    ends = [d.after_update(state, context(len(state), step=2, fraction=0.2)) for d in (begun, resumed)]
    assert len(ends[0]) == len(ends[1]) == 12


def test_mcmc_rests_before_between_and_behind():
    densifier, gaussians = Mcmc(100, McmcConfig(interval=10, start_step=20, noise=0.0)), truth()
    quiet = [(10, 0.1), (25, 0.1), (30, 0.9)]
    for step, fraction in quiet:
        state = state_with_moments(gaussians)
        assert densifier.after_update(state, context(30, step=step, fraction=fraction)) is state
    assert len(densifier.after_update(state, context(30, step=30, fraction=0.5))) == 100


def test_mcmc_pulls_opacity_and_size_of_the_seen_down():
    scene, state = make_scene(), state_with_moments(truth())
    gradient, plain = gradient_for(state.gaussians, scene), gradient_for(state.gaussians, scene)
    visible = torch.arange(30) % 2 == 0
    Mcmc(100).before_update(state, gradient, context(30, visible=visible))
    leaves = [state.gaussians.log_scales.clone().requires_grad_(), state.gaussians.logit_opacities.clone()]
    penalty = 0.01 * leaves[0].exp().mean() + 0.01 * leaves[1].requires_grad_().sigmoid().mean()
    for name, expected in zip(("log_scales", "logit_opacities"), torch.autograd.grad(penalty, leaves), strict=True):
        added = gradient.gaussians.tensors()[name] - plain.gaussians.tensors()[name]
        assert torch.allclose(added[visible], expected[visible], rtol=1e-3, atol=1e-8)
        assert not added[~visible].any()


def adc_after(pulls: list[float], *, cap: int = 100, sizes: list[float] | None = None, **options):
    """The state after one densification of Gaussians that were pulled at in normalised device units; and before."""
    gaussians = truth(len(pulls))
    gaussians.log_scales.copy_(torch.tensor([[size] for size in sizes or [1e-3] * len(pulls)]).log())
    densifier = Adc(cap, AdcConfig(interval=1, start_step=0, reset_steps=10**9, **options))
    state = state_with_moments(gaussians)
    densifier.pulls, densifier.views = torch.tensor(pulls) * 4, torch.full((len(pulls),), 4.0)
    return densifier, densifier.after_update(state, context(len(pulls))), gaussians


def test_adc_copies_what_is_small_and_pulled_hard():
    densifier, state, before = adc_after([1e-3, 1e-5, 3e-4])
    assert moments_by_row(state) == [1, 2, 3, 0, 0]
    assert torch.equal(state.gaussians.means_world[3:], before.means_world[[0, 2]])
    assert densifier.views.tolist() == [0] * 5 == densifier.pulls.tolist()


def test_adc_splits_what_is_large_and_pulled_hard():
    _, state, before = adc_after([1e-5, 1e-3, 1e-3], sizes=[0.1, 0.1, 1e-3])
    assert moments_by_row(state) == [1, 3, 0, 0, 0]
    copy, parts = state.gaussians[2:3], state.gaussians[3:]
    assert torch.equal(copy.means_world, before.means_world[2:])
    assert torch.allclose(parts.log_scales.exp(), torch.tensor(0.1 / 1.6))
    assert (parts.means_world != before.means_world[1]).all()
    assert torch.equal(parts.sh, before.sh[[1, 1]])


def test_adc_drops_the_transparent_however_hard_it_is_pulled():
    gaussians = truth(4)
    gaussians.logit_opacities[2] = math.log(0.004)
    densifier = Adc(100, AdcConfig(interval=1, start_step=0))
    densifier.pulls, densifier.views = torch.tensor([0.0, 0.0, 1.0, 0.0]), torch.ones(4)
    state = densifier.after_update(state_with_moments(gaussians), context(4))
    assert moments_by_row(state) == [1, 2, 4]


@pytest.mark.parametrize("cap, expected", [(9, [3, 1, 2, 0]), (7, [3, 1]), (6, [3]), (5, []), (2, [])])
def test_the_cap_goes_to_those_pulled_hardest(cap, expected):
    _, state, before = adc_after([3e-4, 5e-4, 4e-4, 9e-4, 1e-5], cap=cap)
    assert torch.equal(state.gaussians.means_world[5:], before.means_world[expected])


def test_adc_looks_at_mean_gradients_in_normalised_device_units():
    scene, gaussians = make_scene(), truth()
    densifier, state = Adc(100), state_with_moments(gaussians)
    seen, expected = torch.zeros(30), torch.zeros(30)
    for index, visible in ((0, torch.arange(30) < 20), (3, torch.arange(30) >= 10)):
        gradient = gradient_for(gaussians, scene, index)
        gradient.means_px[5 + index] = math.nan
        densifier.before_update(state, gradient, context(30, visible=visible))
        counted = visible & gradient.means_px.isfinite().all(dim=1)
        on_screen = gradient.means_px * torch.tensor([48 / 2, 40 / 2])
        expected[counted] += on_screen.norm(dim=1)[counted]
        seen[counted] += 1
    assert sorted(set(seen.tolist())) == [0, 1, 2]
    assert torch.equal(densifier.views, seen)
    assert torch.allclose(densifier.pulls, expected) and expected.max() > 0


def test_the_mean_is_over_the_views_that_see_the_gaussian():
    densifier = Adc(100, AdcConfig(interval=1, start_step=0, gradient_threshold=2e-4))
    densifier.pulls, densifier.views = torch.tensor([9e-4, 9e-4, 0.0]), torch.tensor([3.0, 9.0, 0.0])
    gaussians = truth(3)
    gaussians.log_scales.fill_(-9)
    state = densifier.after_update(state_with_moments(gaussians), context(3))
    assert torch.equal(state.gaussians.means_world[3:], gaussians.means_world[:1])


def test_parts_are_drawn_from_the_whole(random):
    """Thousands of like Gaussians: the parts' centres have its mean and covariance."""
    one = truth(1)
    parts = split(one[torch.zeros(20_000, dtype=torch.long)], random)
    assert len(parts) == 40_000
    offsets = (parts.means_world - one.means_world).double()
    w, x, y, z = torch.nn.functional.normalize(one.quats_wxyz[0].double(), dim=0)
    rotation = torch.tensor(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
        ],
        dtype=torch.float64,
    )
    axes = rotation * one.log_scales[0].double().exp()
    covariance = axes @ axes.T
    assert offsets.mean(dim=0).abs().max() < 0.03 * covariance.max().sqrt()
    assert (offsets.T @ offsets / 40_000 - covariance).abs().max() < 0.03 * covariance.max()


def test_a_reset_makes_all_faint_and_adam_forget_opacity_alone():
    gaussians = truth(3)
    gaussians.logit_opacities[1] = -7.0
    state = state_with_moments(gaussians)
    reset_opacities(state, 0.01)
    assert opacities_of(state) == pytest.approx([0.01, 1 / (1 + math.exp(7)), 0.01], rel=1e-4)
    assert not state.first_moments.logit_opacities.any() and not state.second_moments.logit_opacities.any()
    assert moments_by_row(state) == [1, 2, 3]


def test_resets_come_in_fractions_of_the_run_with_time_to_recover():
    config = AdcConfig(interval=10**9, start_step=0, until=0.5, reset_interval=0.125, reset_steps=30)

    def resets(total: int) -> list[int]:
        densifier, steps = Adc(10, config), []
        for step in range(1, total + 1):
            state = state_with_moments(truth(2))
            densifier.after_update(state, context(2, step=step, fraction=(step - 1) / total))
            steps += [step] if state.gaussians.logit_opacities.max() < 0 else []
        return steps

    assert resets(64) == [30]
    assert resets(1024) == [129, 257, 385, 513]


def test_what_adc_remembers_survives_a_checkpoint():
    one, other = Adc(10), Adc(10)
    one.pulls, one.views, one.reset_step, one.reset_fraction = torch.rand(3), torch.ones(3), 77, 0.3
    other.load(one.tensors())
    assert same(one.tensors(), other.tensors()) and (other.reset_step, other.reset_fraction) == (77, 0.3)


@pytest.mark.parametrize("mine, others", [(Mcmc(10), Adc(10)), (Adc(10), Mcmc(10))])
def test_the_memory_of_another_densifier_is_refused(mine, others):
    for tensors in (others.tensors(), {}, {**mine.tensors(), "pull": torch.zeros(1)}):
        with pytest.raises(InputError, match=f"^densifier: .*{type(mine).__name__}.*go on with the one that"):
            mine.load(tensors)


WRONG = {
    "interval": [0, -1],
    "start_step": [-1],
    "until": [-0.1, 1.1, math.nan],
    "dead_opacity": [-0.1, 2.0, math.nan],
}
WRONG_MCMC = {"grown_by": [0.0, 1.5, math.nan], "opacity_weight": [-1.0], "scale_weight": [math.inf], "noise": [-1e-9]}
WRONG_ADC = {
    "gradient_threshold": [-1.0, math.nan],
    "small": [0.0, math.inf],
    "reset_interval": [-0.1, 1.5],
    "reset_steps": [0],
    "reset_opacity": [0.0, 1.0, math.nan],
}


@pytest.mark.parametrize("kind, wrong", [(McmcConfig, WRONG | WRONG_MCMC), (AdcConfig, WRONG | WRONG_ADC)])
def test_settings_that_make_no_sense_are_named(kind, wrong):
    assert set(wrong) == {field.name for field in fields(kind)}
    for name, values in wrong.items():
        for value in values:
            with pytest.raises(InputError, match=rf"^{kind.__name__}\.{name}: expected .*, got "):
                kind(**{name: value})


@pytest.mark.parametrize("kind", [Mcmc, Adc])
@pytest.mark.parametrize("cap", [0, -3])
def test_a_cap_that_is_none_is_refused(kind, cap):
    with pytest.raises(InputError, match=f"{kind.__name__}.max_gaussians: expected a whole number, 1 or more"):
        kind(cap)
