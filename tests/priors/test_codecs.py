"""What makes each codec what it is."""

import pytest
import torch

from neural3d.priors.codecs.autoencoder import LinearAutoencoder, VariationalAutoencoder, divergence
from neural3d.priors.codecs.palette import Palette
from neural3d.priors.codecs.quantized import VectorQuantized, perplexity, straight_through
from neural3d.priors.fitting import Stage, fit_stage, seeded
from neural3d.priors.records import Budget

from .textures import wave_source


def _fit(codec, steps: int, images_of, learning_rate: float = 2e-3):
    generator = seeded(0)
    stage = Stage("codec", codec, Budget(None, steps), learning_rate)
    return fit_stage(stage, lambda step: codec.loss(images_of(generator), generator))


def test_a_linear_autoencoder_spans_the_principal_components():
    """Principal angles between the decoder's columns and the leading eigenvectors: less than a degree."""
    generator = seeded(1)
    directions = torch.linalg.qr(torch.randn(48, 48, generator=generator))[0]
    spread = torch.cat([torch.tensor([3.0, 2.5, 2.0]), torch.full((45,), 0.1)])
    vectors = (torch.randn(512, 48, generator=generator) * spread) @ directions.T
    centred = vectors - vectors.mean(0)
    components = torch.linalg.svd(centred, full_matrices=False)[2][:3].T
    codec = LinearAutoencoder(4, 3)
    _fit(codec, 1500, lambda _: centred.view(-1, 3, 4, 4), 1e-2)
    learnt = torch.linalg.qr(codec.decoder.weight.detach())[0]
    cosines = torch.linalg.svdvals(components.T @ learnt).clamp(max=1)
    assert torch.rad2deg(cosines.acos()).max() < 1


def test_the_divergence_is_the_integral():
    mean, log_variance = torch.tensor(0.7), torch.tensor(-0.9)
    x = torch.linspace(-12, 12, 200_001, dtype=torch.float64)
    q = torch.distributions.Normal(mean.double(), (0.5 * log_variance.double()).exp()).log_prob(x)
    p = torch.distributions.Normal(0.0, 1.0).log_prob(x)
    integral = torch.trapezoid(q.exp() * (q - p), x)
    assert divergence(mean, log_variance).item() == pytest.approx(float(integral), rel=1e-5)


def test_draws_from_a_normal_decode_to_the_datas_range_and_the_divergence_falls():
    torch.manual_seed(0)
    source, generator = wave_source(8), seeded(0)
    codec = VariationalAutoencoder(8, 4, 8, 24, is_vector=True, pixel_std=0.3)
    images = source.draw(64, generator).images
    with torch.no_grad():
        codec.encoder.layers[-1].weight.mul_(30)  # start far from N(0, I)
        before = divergence(*codec.posterior(images)).sum() / 64
    report = _fit(codec, 250, lambda g: source.draw(16, g).images)
    with torch.no_grad():
        after = divergence(*codec.posterior(images)).sum() / 64
        drawn = codec.decode(torch.randn(256, 8, 1, 1, generator=generator))
        decoded = codec.decode(codec.encode(images))
    assert after < 0.5 * before and report.last_loss < 0.7 * report.first_loss
    assert (decoded - images).square().mean() < 0.5 * images.var()
    # Draws are of the data's kind: its mean, a good part of its spread, its bounds.
    assert (drawn.abs() < 1.2).float().mean() > 0.99 and 0.4 < drawn.std() / images.std() < 1.2
    assert (drawn.mean((0, 2, 3)) - images.mean((0, 2, 3))).abs().max() < 0.2


def test_gradients_pass_straight_through_the_choice_of_a_word():
    cells, words = torch.randn(2, 3, requires_grad=True), torch.randn(2, 3)
    through = straight_through(cells, words)
    assert torch.allclose(through, words)
    (gradient,) = torch.autograd.grad((through * torch.arange(6.0).view(2, 3)).sum(), cells)
    assert torch.equal(gradient, torch.arange(6.0).view(2, 3))


def test_most_words_are_used_because_dead_ones_restart():
    torch.manual_seed(0)
    source, num_words = wave_source(16), 32
    codec = VectorQuantized(4, num_words, 8, 16)
    with torch.no_grad():
        codec.words.add_(50)  # nobody is near any word
        codec.sums.copy_(codec.words)
        images = source.draw(64, seeded(3)).images
        assert perplexity(codec.encode(images), num_words) < 3
    _fit(codec, 200, lambda g: source.draw(16, g).images)
    with torch.no_grad():
        assert perplexity(codec.encode(images), num_words) > num_words / 4
        assert (codec.decode(codec.encode(images)) - images).square().mean() < 0.5 * images.var()


def test_the_words_are_the_means_of_their_cells():
    """The running average has its fixed point where the squared error has its minimum."""
    codec = VectorQuantized(4, 2, 1, 8)
    codec.words.copy_(torch.tensor([[-1.0], [1.0]]))
    codec.sums.copy_(codec.words)
    cells = torch.tensor([[-2.0], [-1.0], [3.0], [5.0]])
    for _ in range(600):
        codec._learn(cells, (cells[:, 0] > 0).long(), seeded(0))
    assert torch.allclose(codec.words, torch.tensor([[-1.5], [4.0]]), atol=1e-3)


def test_perplexity_counts_words():
    assert perplexity(torch.arange(8), 8) == pytest.approx(8)
    assert perplexity(torch.zeros(8, dtype=torch.long), 8) == pytest.approx(1)


def test_a_palette_finds_the_colours():
    colors = torch.tensor([[-0.8, 0.1, 0.5], [0.6, 0.6, -0.9], [0.0, -0.5, 0.0]])
    tokens = torch.randint(3, (4, 8, 8), generator=seeded(0))
    images = colors[tokens].movedim(-1, 1).contiguous()
    palette = Palette(3)
    palette.prepare(images, seeded(2))
    assert torch.allclose(palette.decode(palette.encode(images)), images, atol=1e-5)
    assert len(palette.encode(images).unique()) == 3
