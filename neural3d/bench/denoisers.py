"""The denoisers table: our U-Net's training step beside diffusers' of its size; pixels beside latents."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from neural3d.bench.clock import interleaved_ms
from neural3d.bench.machine import provenance
from neural3d.bench.tables import Report
from neural3d.errors import InputError
from neural3d.priors.fitting import seeded
from neural3d.priors.networks.unet import UNet
from neural3d.priors.prior import ComposedPrior, PriorConfig
from neural3d.priors.records import NOTHING_ASKED
from neural3d.priors.registry import make_prior

SIDE, BATCH, CHANNELS, WIDTH = 64, 16, 7, 32
DRAWN = 4


def measure_denoisers(*, repeats: int = 15) -> Report:
    """Training steps, taken in turns, and what a sample costs.

    Raises: InputError where diffusers is not installed.
    """
    networks = {"ours": UNet(CHANNELS, 3, WIDTH), "diffusers": _yardstick()}
    steps = {name: _step(network) for name, network in networks.items()}
    calls = steps | {f"{name}_bf16": _in_bf16(step) for name, step in steps.items()}
    taken = interleaved_ms(calls, repeats)
    return {
        "table": "denoisers",
        "work": {"side": SIDE, "batch": BATCH, "channels": CHANNELS},
        "step_ms": taken,
        "parameters": {name: _num_parameters(network) for name, network in networks.items()},
        "diffusers_over_ours": taken["diffusers"] / taken["ours"],
        "diffusers_over_ours_bf16": taken["diffusers_bf16"] / taken["ours_bf16"],
        "spaces": {name: _cost(name, repeats) for name in ("score", "ldm")},
        **provenance(),
    }


def _yardstick() -> nn.Module:
    """UNet2DModel without attention, of our number of parameters within a tenth."""
    try:
        from diffusers import UNet2DModel
    except ImportError as error:
        raise InputError("diffusers is not installed, which this table compares with; pip install diffusers") from error
    return UNet2DModel(
        sample_size=SIDE, in_channels=CHANNELS, out_channels=3, layers_per_block=1, block_out_channels=(32, 64, 64),
        down_block_types=("DownBlock2D",) * 3, up_block_types=("UpBlock2D",) * 3, norm_num_groups=8,
        add_attention=False,
    )  # fmt: skip


def _step(network: nn.Module) -> Callable[[], None]:
    """Forward, loss, backward, AdamW."""
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-4)
    images, times = torch.randn(BATCH, CHANNELS, SIDE, SIDE, generator=seeded(0)), torch.rand(BATCH)

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        answer = network(images, times)
        predicted: Tensor = answer if isinstance(answer, Tensor) else answer.sample
        (predicted.float() - images[:, :3]).square().mean().backward()
        optimizer.step()

    return step


def _in_bf16(step: Callable[[], None]) -> Callable[[], None]:
    def call() -> None:
        with torch.autocast("cpu", torch.bfloat16):
            step()

    return call


def _cost(name: str, repeats: int) -> dict[str, float]:
    """Of a step of the law, and of a sample, codec included; neither depends on the weights."""
    prior = make_prior(PriorConfig(name, SIDE))
    assert isinstance(prior, ComposedPrior)
    images = torch.rand(BATCH, 3, SIDE, SIDE, generator=seeded(0)) * 2 - 1
    optimizer = torch.optim.AdamW(prior.law.parameters(), lr=1e-4)

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        prior.law.loss(prior.encode(images), NOTHING_ASKED, seeded(0)).backward()
        optimizer.step()

    taken = interleaved_ms({"step_ms": step, "sample_ms": lambda: prior.sample(DRAWN)}, max(1, repeats // 3))
    return {
        "step_ms": taken["step_ms"],
        "sample_ms": taken["sample_ms"] / DRAWN,
        "sample_gflop": sample_flops(prior) / 1e9,
    }


def sample_flops(prior: ComposedPrior) -> int:
    """Multiplications and additions of matrices and convolutions in drawing one image."""
    with FlopCounterMode(display=False) as counter:
        prior.sample(1)
    return counter.get_total_flops()


def _num_parameters(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())
