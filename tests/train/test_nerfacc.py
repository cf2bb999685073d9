"""Training with nerfacc's volume rendering: the same of the same samples, gradients and distortion included."""

import importlib.util
import sys
from dataclasses import replace

import pytest
import torch
from ops.backends import gradients
from ops.random_rays import make_samples
from torch import Tensor

from neural3d.devices import require_kernels
from neural3d.errors import InputError
from neural3d.fields.nerfacc_composite import nerfacc_composite
from neural3d.ops.composite import composite
from neural3d.ops.records import RaySamples
from neural3d.train.fields import train_field

from .field_runs import SMALL_HASHGRID, SMALL_POINTS, field_psnr
from .nerfacc_stand_in import nerfacc_module, nerfacc_on_cpu
from .small_scenes import make_scene

NAMES = ("colors", "alphas", "depths", "distortions")
IS_INSTALLED = importlib.util.find_spec("nerfacc") is not None


@pytest.mark.parametrize("rays", [0, 40])
def test_it_sees_the_same(rays):
    """Of packed samples, some rays without any: all that a training looks at, and what it pulls back."""
    samples = make_samples(rays)
    inputs = {"densities": 3 * torch.rand(len(samples.ts)).double(), "colors": torch.rand(len(samples.ts), 3).double()}
    with nerfacc_on_cpu():
        assert_same_as_ours(samples, inputs, torch.device("cpu"), scale=1.0)


@pytest.mark.skipif(not torch.cuda.is_available() or not IS_INSTALLED, reason="there is no GPU, or no nerfacc")
@pytest.mark.parametrize("rays", [0, 40])
def test_the_kernels_see_the_same(rays):
    """Its own, which know single precision alone."""
    try:
        require_kernels("nerfacc")
    except InputError as error:  # an old library may not compile beside a new torch
        pytest.skip(str(error))
    samples = make_samples(rays, torch.float32)
    inputs = {"densities": 3 * torch.rand(len(samples.ts)), "colors": torch.rand(len(samples.ts), 3)}
    assert_same_as_ours(samples, inputs, torch.device("cuda"), scale=1e6)


def assert_same_as_ours(samples: RaySamples, inputs: dict[str, Tensor], device: torch.device, *, scale: float) -> None:
    """What rays see and what they pull; `scale` is how far rounding may go, in units of double precision."""
    there = (samples.ts, samples.deltas, samples.ray_offsets)

    def ours(leaf: dict[str, Tensor]) -> tuple[Tensor, ...]:
        seen = composite(leaf["densities"], leaf["colors"], *there, transmittance_min=0.0)
        return tuple(getattr(seen, name) for name in NAMES)

    def theirs(leaf: dict[str, Tensor]) -> tuple[Tensor, ...]:
        seen = nerfacc_composite(leaf["densities"], leaf["colors"], *there, device=device)
        return tuple(getattr(seen, name) for name in NAMES)

    for one, other in zip(theirs(inputs), ours(inputs), strict=True):
        torch.testing.assert_close(one, other, rtol=scale * 1e-10, atol=scale * 1e-12)
    pulls, expected = gradients(theirs, inputs), gradients(ours, inputs)
    for name in inputs:
        torch.testing.assert_close(pulls[name], expected[name], rtol=scale * 1e-8, atol=scale * 1e-10)


@pytest.mark.parametrize(
    ("config", "photos"),
    [(SMALL_HASHGRID, {"has_alpha": True}), (SMALL_HASHGRID, {}), (SMALL_POINTS, {"has_alpha": True, "points": 200})],
)
def test_a_training_with_it_is_one_with_ours(config, photos):
    """As long as rounding lets them be: some steps, after which both show the same."""
    scene, config, calls = make_scene(**photos), replace(config, steps=12), []

    def counted(*looks: Tensor):
        calls.append(len(looks[0]))
        return nerfacc_composite(*looks, device=torch.device("cpu"))

    with nerfacc_on_cpu():
        theirs = train_field(scene, config, composite=counted).field
    ours = train_field(scene, config).field
    assert len(calls) == 12 and sum(calls) > 0
    assert field_psnr(theirs, scene) == pytest.approx(field_psnr(ours, scene), abs=0.02)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_it_says_so():
    with pytest.raises(InputError, match="^--backend nerfacc: torch finds no NVIDIA GPU.*leave it out$"):
        require_kernels("nerfacc")


@pytest.mark.parametrize(
    ("kernels", "message"),
    [
        (None, "finds no nvcc to build its kernels"),
        (ModuleNotFoundError("no", name="nerfacc"), "nerfacc is not installed; pip install nerfacc"),
        (RuntimeError("ninja: build stopped\nmore"), r"cannot build its kernels here \(ninja: build stopped\)"),
    ],
)
def test_what_is_missing_is_told(monkeypatch, kernels, message):
    class Backend:
        def __getattr__(self, name: str) -> None:
            if isinstance(kernels, Exception):
                raise kernels
            return kernels

    nerfacc_module()
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setitem(sys.modules, "nerfacc.cuda._backend", Backend())
    with pytest.raises(InputError, match=message):
        require_kernels("nerfacc")
