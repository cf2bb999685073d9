"""What every prior promises, asked of each: the same seed the same bytes, known pixels kept, a guide with a slope."""

import pytest
import torch

from neural3d.errors import InputError
from neural3d.priors.files import load_prior, save_prior
from neural3d.priors.prior import PriorConfig
from neural3d.priors.records import Budget, Condition, FitProgress
from neural3d.priors.registry import ROWS, make_prior

from .textures import wave_source

SIZE = 8
LABELS = ("low", "steep")
EXEMPLARS = ("patchnn", "quilt")


def fitted(name: str, seed: int = 0, steps: int = 4):
    prior = make_prior(PriorConfig(name, SIZE, () if ROWS[name].labels == "ignored" else LABELS), seed)
    reports = prior.fit(wave_source(SIZE), Budget(None, steps), seed)
    return prior, reports


@pytest.fixture(scope="module", params=list(ROWS))
def name(request) -> str:
    return request.param


@pytest.fixture(scope="module")
def prior(name):
    return fitted(name)[0]


def test_a_seed_fixes_every_byte(name, prior, tmp_path):
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    again, reports = fitted(name)
    assert torch.equal(torch.rand(3), expected), "the global random state is not ours"
    assert sum(report.steps for report in reports) == (0 if name in EXEMPLARS else 4)
    for (key, value), other in zip(prior.tensors().items(), again.tensors().values(), strict=True):
        assert torch.equal(value, other), key
    save_prior(tmp_path / "one.prior", prior, {})
    save_prior(tmp_path / "two.prior", again, {})
    assert (tmp_path / "one.prior").read_bytes() == (tmp_path / "two.prior").read_bytes()


@pytest.mark.parametrize("name", [name for name in ROWS if name not in EXEMPLARS])
def test_another_seed_is_another_prior(name):
    both = [make_prior(PriorConfig(name, SIZE, LABELS), seed).tensors() for seed in (0, 1)]
    assert any(not torch.equal(both[0][key], both[1][key]) for key in both[0])


def test_samples_are_those_of_the_file(prior, tmp_path):
    samples = prior.sample(3, seed=5)
    assert samples.shape == (3, 3, SIZE, SIZE) and samples.abs().max() <= 1
    assert not torch.equal(samples, prior.sample(3, seed=6))
    save_prior(tmp_path / "a.prior", prior, {"seed": 0})
    loaded = load_prior(tmp_path / "a.prior")
    assert loaded.config == prior.config
    assert torch.equal(loaded.sample(3, seed=5), samples)


def test_known_pixels_keep_their_bits_and_the_hole_is_never_read(prior):
    image = wave_source(12).draw(1, torch.Generator().manual_seed(0)).images[:, :, :7]
    unknown = torch.zeros(1, 1, 7, 12, dtype=torch.bool)
    unknown[..., 3:6, 4:12] = True
    if prior.config.name == "clip":
        with pytest.raises(InputError, match="cannot fill holes"):
            prior.inpaint(image, unknown)
        return
    filled = prior.inpaint(image, unknown, seed=3)
    is_known = ~unknown.expand_as(image)
    assert torch.equal(filled[is_known], image[is_known])
    assert filled.abs().max() <= 1 and not torch.equal(filled, image)
    otherwise = torch.where(unknown, torch.full_like(image, 0.7), image)
    assert torch.equal(prior.inpaint(otherwise, unknown, seed=3), filled)
    assert torch.equal(prior.inpaint(image, torch.zeros_like(unknown)), image)


def test_latents_decode_to_images_and_the_guide_has_a_slope(prior):
    images = wave_source(SIZE).draw(2, torch.Generator().manual_seed(1)).images.lerp(torch.zeros(1), 0.2)
    assert prior.decode(prior.encode(images)).shape == images.shape
    images.requires_grad_(True)
    guide = prior.guide(images, Condition(torch.tensor([0, 1])), seed=2)
    (slope,) = torch.autograd.grad(guide, images)
    assert guide.ndim == 0 and slope.isfinite().all() and slope.abs().max() > 0


@pytest.mark.parametrize("name", ["vae", "gan", "ldm"])
def test_a_watcher_stops_it(name):
    seen: list[FitProgress] = []
    labels = () if ROWS[name].labels == "ignored" else LABELS

    def stop_at_three(progress: FitProgress) -> bool:
        seen.append(progress)
        return progress.step >= 3

    reports = make_prior(PriorConfig(name, SIZE, labels)).fit(
        wave_source(SIZE), Budget(None, 1000), watch=stop_at_three
    )
    assert reports[0].steps == 3 and all(report.was_stopped for report in reports)
    assert [progress.step for progress in seen[:3]] == [1, 2, 3]


def test_a_budget_of_seconds_ends():
    prior = make_prior(PriorConfig("ae-linear", SIZE))
    (report,) = prior.fit(wave_source(SIZE), Budget(0.2))
    assert 0.2 <= report.seconds and report.steps > 3


@pytest.mark.parametrize("seconds, steps", [(None, None), (0.0, None), (-1.0, 5), (None, 0), (float("inf"), None)])
def test_a_budget_that_is_none(seconds, steps):
    with pytest.raises(ValueError, match="budget"):
        Budget(seconds, steps)


@pytest.mark.parametrize(
    "config, said",
    [
        (PriorConfig("vea", 32), "no prior is called 'vea'; there are ae-linear, ae, vae"),
        (PriorConfig("vae", 33), "size 33: a prior's patches are 8, 16"),
        (PriorConfig("cgan", 32), "cgan learns classes: put the images into at least two subfolders"),
    ],
)
def test_a_prior_that_cannot_be(config, said):
    with pytest.raises(InputError, match=said):
        make_prior(config)
