"""What makes each law what it is."""

import math

import pytest
import torch

from neural3d.priors.fitting import Stage, fit_stage, seeded
from neural3d.priors.laws.autoregressive import Autoregressive
from neural3d.priors.laws.diffusion import Diffusion, DiffusionConfig, fresh_noise, random_holes, signal_and_noise
from neural3d.priors.laws.flow import Flow
from neural3d.priors.laws.normal import FittedNormal, StandardNormal
from neural3d.priors.networks.dit import DiffusionTransformer
from neural3d.priors.networks.unet import Perceptron, UNet
from neural3d.priors.records import NOTHING_ASKED, Budget, Condition

CENTRES = torch.tensor([[-1.0, -0.5], [1.0, 0.5]])
WIDTH = 0.3


def mixture(count: int, generator: torch.Generator) -> torch.Tensor:
    """Points of two Gaussians of equal weight, as images of one pixel."""
    chosen = CENTRES[torch.randint(2, (count,), generator=generator)]
    return (chosen + WIDTH * torch.randn(count, 2, generator=generator))[:, :, None, None]


def mixture_score(points: torch.Tensor, signal: float, level: float) -> torch.Tensor:
    """Of the mixture after noise, in closed form."""
    variance = (signal * WIDTH) ** 2 + level**2
    away = signal * CENTRES - points[:, None]
    weights = (-away.square().sum(-1) / (2 * variance)).softmax(1)
    return (weights[..., None] * away).sum(1) / variance


def fit_law(law, steps: int, latents_of, learning_rate: float = 2e-3):
    generator = seeded(0)
    stage = Stage("law", law, Budget(None, steps), learning_rate, is_averaged=law.is_averaged)
    return fit_stage(stage, lambda step: law.loss(latents_of(generator), NOTHING_ASKED, generator))


LONG = pytest.mark.long


@pytest.mark.parametrize("prediction", ["eps", pytest.param("x0", marks=LONG), pytest.param("v", marks=LONG), "flow"])
def test_the_score_is_that_of_a_gaussian_mixture(prediction):
    torch.manual_seed(0)
    config = DiffusionConfig(prediction, draw_steps=30, noise=0.0, clip=2.5, learns_holes=False)
    law = Diffusion(Perceptron(5, 2, 64), 2, config, standardizes=False)
    fit_law(law, 600, lambda g: mixture(256, g))
    generator = seeded(9)
    for time in (0.3, 0.6):
        signal, level = (float(x) for x in signal_and_noise(torch.tensor([time]), prediction))
        points = signal * mixture(400, generator) + level * torch.randn(400, 2, 1, 1, generator=generator)
        true = mixture_score(points[:, :, 0, 0], signal, level)
        with torch.no_grad():
            error = law.score(points, time)[:, :, 0, 0] - true
        assert error.square().mean() < 0.05 * true.square().mean(), time
        drawn = law.draw((400, 2, 1, 1), NOTHING_ASKED, generator).detach()[:, :, 0, 0]
    near = (drawn[:, None] - CENTRES).norm(dim=-1).argmin(1)
    assert 0.35 < near.float().mean() < 0.65
    for i, centre in enumerate(CENTRES):
        assert (drawn[near == i].mean(0) - centre).norm() < 0.15
        assert 0.6 * WIDTH < drawn[near == i].std() < 1.5 * WIDTH


@pytest.mark.parametrize("prediction", ["eps", "x0", "v", "flow"])
def test_target_and_clean_image_tell_the_same(prediction):
    law = Diffusion(UNet(7, 3, 8), 3, DiffusionConfig(prediction), standardizes=False)
    clean, noise = torch.randn(4, 3, 4, 4), torch.randn(4, 3, 4, 4)
    time = torch.tensor([0.1, 0.4, 0.7, 0.95])
    signal, level = signal_and_noise(time, prediction)
    target = law._target(clean, noise, signal, level)
    assert torch.allclose(law._clean_of(target, signal * clean + level * noise, time), clean, atol=1e-5)


def test_the_reverse_steps_noise_is_the_posteriors():
    """DDPM's variance of q(x_s | x_t, x_0), by the products of Gaussians."""
    signal, level, next_signal, next_level = (torch.tensor(x) for x in (0.6, 0.8, 0.8, 0.6))
    kept, added = signal / next_signal, level**2 - (signal / next_signal * next_level) ** 2
    variance = 1 / (kept**2 / added + 1 / next_level**2)
    assert float(fresh_noise(signal, level, next_signal, next_level)) == pytest.approx(float(variance.sqrt()), rel=1e-5)


def test_holes_leave_something_known_or_nothing():
    holes = random_holes(torch.Size([200, 3, 16, 16]), seeded(0))
    shares = holes.mean((1, 2, 3))
    assert set(holes.unique().tolist()) == {0.0, 1.0} and shares.min() > 0
    assert 0.35 < (shares == 1).float().mean() < 0.65 and (shares < 0.5).any()


def test_a_denoiser_takes_any_size_and_starts_at_nothing():
    network = UNet(7, 3, 8)
    assert network(torch.randn(2, 7, 13, 6), torch.rand(2)).shape == (2, 3, 13, 6)
    assert network(torch.randn(2, 7, 8, 8), torch.rand(2)).abs().max() == 0


def test_a_transformer_hears_every_cell_and_its_label_and_starts_at_nothing():
    network = DiffusionTransformer(3, 2, side=4, width=32, depth=2, num_labels=2)
    x, time = torch.randn(1, 3, 4, 4), torch.tensor([0.4])
    assert network(x, time).abs().max() == 0
    for layer in (network.exit, *(block.modulation for block in network.blocks)):
        torch.nn.init.normal_(layer.weight, std=0.3)
    plain = network(x, time)
    changed = x.clone()
    changed[..., 3, 3] += 1
    assert (network(changed, time) - plain)[..., 0, 0].abs().max() > 1e-4
    assert not torch.equal(network(x, time, torch.tensor([0])), network(x, time, torch.tensor([1])))
    assert torch.equal(network(x, time), network(x, time, torch.tensor([2]))), "the last label asks for nothing"


def test_a_label_is_heard():
    """Diffusion of two labelled points: asked for one, it draws that one."""
    torch.manual_seed(0)
    config = DiffusionConfig("x0", clip=math.inf, learns_holes=False)
    law = Diffusion(Perceptron(3, 1, 32, 2), 1, config, standardizes=False, num_labels=2)
    generator = seeded(0)

    def loss_of(step: int) -> torch.Tensor:
        labels = torch.randint(2, (128,), generator=generator)
        points = (2.0 * labels - 1)[:, None, None, None] + 0.1 * torch.randn(128, 1, 1, 1, generator=generator)
        return law.loss(points, Condition(labels), generator)

    fit_stage(Stage("law", law, Budget(None, 250), is_averaged=True), loss_of)
    labels = torch.tensor([0, 1]).repeat(50)
    drawn = law.draw((100, 1, 1, 1), Condition(labels), generator).detach().flatten()
    assert ((drawn > 0).long() == labels).float().mean() > 0.97


def test_half_an_image_is_completed_in_several_coherent_ways():
    """Above always 0; below either all 1 or all 2: what is drawn is one or the other, never a mixture."""
    torch.manual_seed(0)
    law = Autoregressive(3, 4, width=32, depth=2)

    def images(generator: torch.Generator) -> torch.Tensor:
        below = 1 + torch.randint(2, (64, 1, 1), generator=generator)
        return torch.cat([torch.zeros(64, 2, 4, dtype=torch.long), below.expand(-1, 2, 4)], 1)

    fit_law(law, 150, images)
    unknown = torch.zeros(40, 4, 4, dtype=torch.bool)
    unknown[:, 2:] = True
    with torch.no_grad():
        drawn = law.fill(torch.zeros(40, 4, 4, dtype=torch.long), unknown, NOTHING_ASKED, seeded(1))
    assert (drawn[:, :2] == 0).all()
    is_coherent = (drawn[:, 2:].flatten(1) == drawn[:, 2, :1]).all(1)
    assert is_coherent.float().mean() > 0.9
    assert 4 < int((drawn[is_coherent][:, 3, 3] == 1).sum()) < 36


def test_tokens_are_drawn_with_a_label_and_without():
    """Images of one colour, the label's: asked for nothing, it draws either, each of one colour."""
    torch.manual_seed(0)
    law, generator = Autoregressive(5, 3, width=32, depth=2, num_labels=2), seeded(0)

    def loss_of(step: int) -> torch.Tensor:
        labels = torch.randint(2, (64,), generator=generator)
        return law.loss((1 + 2 * labels)[:, None, None].expand(-1, 3, 3), Condition(labels), generator)

    untrained = law.network.starts.weight[2].clone()
    fit_stage(Stage("law", law, Budget(None, 150)), loss_of)
    assert not torch.equal(law.network.starts.weight[2], untrained)
    labels = torch.tensor([0, 1]).repeat(20)
    with torch.no_grad():
        asked = law.draw((40, 3, 3), Condition(labels), seeded(1))
        free = law.draw((200, 3, 3), NOTHING_ASKED, seeded(1)).flatten(1)
    assert (asked == (1 + 2 * labels)[:, None, None]).float().mean() > 0.97
    is_whole = (free == free[:, :1]).all(1)
    assert is_whole.float().mean() > 0.95 and 0.3 < (free[is_whole, 0] == 1).float().mean() < 0.7


def test_without_labels_nothing_is_withheld():
    law, generator = Autoregressive(3, 2, width=32, depth=1), seeded(0)
    before = generator.get_state()
    law.loss(torch.zeros(4, 2, 2, dtype=torch.long), Condition(torch.zeros(4, dtype=torch.long)), generator)
    assert torch.equal(generator.get_state(), before)


def test_what_comes_after_a_hole_is_heard_too():
    """The whole image is one colour; the first row is asked for, of which only what follows speaks."""
    torch.manual_seed(0)
    law = Autoregressive(2, 4, width=32, depth=2)
    fit_law(law, 150, lambda g: torch.randint(2, (64, 1, 1), generator=g).expand(-1, 4, 4))
    asked = torch.tensor([0, 1]).repeat(16)[:, None, None].expand(-1, 4, 4)
    unknown = torch.zeros(32, 4, 4, dtype=torch.bool)
    unknown[:, 0] = True
    with torch.no_grad():
        drawn = law.fill(asked, unknown, NOTHING_ASKED, seeded(1))
    assert (drawn == asked).float().mean() > 0.85  # blind draws would be right half the time in that row: 0.875 of all
    assert (drawn[:, 0] == asked[:, 0]).float().mean() > 0.8


def test_drawing_with_a_memory_is_reading_it_all():
    law = Autoregressive(5, 3, width=32, depth=2)
    tokens = torch.randint(5, (2, 9), generator=seeded(0))
    whole = law.network(tokens, torch.zeros(2, dtype=torch.long))
    entry, memory, steps = law.network.starts(torch.zeros(2, dtype=torch.long)), [], []
    for place in range(9):
        logits, memory = law.network.step(entry, place, memory)
        steps.append(logits)
        entry = law.network.tokens(tokens[:, place])
    assert torch.allclose(torch.stack(steps, 1), whole, atol=1e-5)


def test_a_flow_inverts_and_its_density_integrates_to_one():
    torch.manual_seed(0)
    law = Flow(2, width=32, depth=6)
    law.prepare(mixture(2000, seeded(4)))
    report = fit_law(law, 400, lambda g: mixture(256, g))
    assert report.last_loss < report.first_loss - 0.05
    points = law.standardized(mixture(500, seeded(5)))[:, :, 0, 0]
    with torch.no_grad():
        normal, _ = law.normalized(points)
        assert (law.denormalized(normal) - points).abs().max() < 1e-4
        axis = torch.linspace(-4, 4, 321)
        grid = torch.cartesian_prod(axis, axis)[:, :, None, None]
        mass = law.log_density(grid).exp().sum() * (axis[1] - axis[0]) ** 2
    assert float(mass) == pytest.approx(1, abs=0.02)


def test_a_flows_determinant_is_the_jacobians():
    law = Flow(4, width=16, depth=4)
    for coupling in law.couplings:
        torch.nn.init.normal_(coupling.network[-1].weight, std=0.3)
    point = torch.randn(1, 4)
    jacobian = torch.autograd.functional.jacobian(lambda x: law.normalized(x)[0].sum(0), point)[:, 0]
    assert float(torch.linalg.slogdet(jacobian)[1]) == pytest.approx(float(law.normalized(point)[1].detach()), abs=1e-4)


def test_a_fitted_normal_has_the_latents_moments():
    generator = seeded(0)
    root = torch.tensor([[1.0, 0.0], [0.8, 0.3]])
    latents = (torch.randn(4000, 2, generator=generator) @ root.T + torch.tensor([2.0, -1.0]))[:, :, None, None]
    law = FittedNormal(2)
    law.prepare(latents)
    drawn = law.draw((20_000, 2, 1, 1), NOTHING_ASKED, generator)[:, :, 0, 0]
    assert torch.allclose(torch.cov(drawn.T), root @ root.T, atol=0.05)
    assert torch.allclose(drawn.mean(0), torch.tensor([2.0, -1.0]), atol=0.05)
    assert float(law.unlikeliness(latents, generator)) == pytest.approx(0.5, abs=0.01)


def test_labels_are_part_of_a_standard_normals_draw():
    drawn = StandardNormal(3).draw((4, 5, 1, 1), Condition(torch.tensor([2, 0, 1, 1])), seeded(0))
    assert drawn[:, 2:, 0, 0].argmax(1).tolist() == [2, 0, 1, 1] and drawn[:, 2:].sum() == 4
