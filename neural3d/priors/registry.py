"""The priors by name: which codec, which law, which size; a new system is a new row."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn

from neural3d.errors import InputError
from neural3d.priors.adversarial import AdversarialConfig
from neural3d.priors.adversarial_prior import AdversarialPrior
from neural3d.priors.codecs.adversarial_quantized import AdversarialQuantized
from neural3d.priors.codecs.autoencoder import Autoencoder, LinearAutoencoder, VariationalAutoencoder
from neural3d.priors.codecs.codec import Codec, Identity
from neural3d.priors.codecs.palette import Palette
from neural3d.priors.controlled import ControlledPrior
from neural3d.priors.exemplar.prior import ExemplarPrior
from neural3d.priors.laws.autoregressive import Autoregressive
from neural3d.priors.laws.diffusion import Diffusion, DiffusionConfig
from neural3d.priors.laws.flow import Flow
from neural3d.priors.laws.normal import FittedNormal, StandardNormal
from neural3d.priors.maps import COMPUTED, GIVEN
from neural3d.priors.networks.dit import DiffusionTransformer
from neural3d.priors.networks.unet import UNet
from neural3d.priors.prior import ComposedPrior, Prior, PriorConfig
from neural3d.priors.text.clip import EmbeddingPrior
from neural3d.priors.text.quantized_guidance import TextGuidedPrior
from neural3d.priors.text.unclip import UnclipPrior

SIZES = (8, 16, 32, 64, 128)


@dataclass(frozen=True)
class Row:
    """One prior of the table."""

    build: Callable[[PriorConfig], Prior]
    size: int = 32
    """Side of its patches unless told otherwise."""
    labels: str = "ignored"
    """`ignored`; `read`: learnt where the images have them; `needed`; `words`: for captions, not to be asked for."""
    reads: frozenset[str] = frozenset()
    """What a sample can be asked to follow, of `text`, `image` and `map`, the last where it was trained with maps."""


def _linear(config: PriorConfig) -> Prior:
    return ComposedPrior(config, LinearAutoencoder(config.size, 32), FittedNormal(32))


def _autoencoder(config: PriorConfig) -> Prior:
    codec = Autoencoder(config.size, 4, 64, 32, is_vector=True)
    return ComposedPrior(config, codec, FittedNormal(codec.channels))


def _variational(config: PriorConfig) -> Prior:
    return ComposedPrior(config, _vector_codec(config), StandardNormal())


def _flow(config: PriorConfig) -> Prior:
    codec = _vector_codec(config)
    return ComposedPrior(config, codec, Flow(codec.channels, width=128, depth=8), codec_share=0.6)


def _vector_codec(config: PriorConfig) -> VariationalAutoencoder:
    return VariationalAutoencoder(config.size, 4, 64, 32, is_vector=True, pixel_std=0.2)


def _adversarial(game: AdversarialConfig) -> Callable[[PriorConfig], Prior]:
    return lambda config: AdversarialPrior(config, game, num_free=64, width=64)


def _pixel_diffusion(settings: DiffusionConfig) -> Callable[[PriorConfig], Prior]:
    def build(config: PriorConfig) -> Prior:
        network = UNet(2 * 3 + 1, 3, 32, len(config.labels))
        law = Diffusion(network, 3, settings, standardizes=False, num_labels=len(config.labels))
        return ControlledPrior(config, law, network) if config.maps else ComposedPrior(config, Identity(), law)

    return build


def _latent_unet(config: PriorConfig) -> Prior:
    codec = _cell_codec(config)
    return _latent_diffusion(config, codec, UNet(2 * codec.channels + 1, codec.channels, 32, len(config.labels), 1))


def _latent_transformer(config: PriorConfig) -> Prior:
    codec = _cell_codec(config)
    side, channels = config.size // codec.stride, codec.channels
    network = DiffusionTransformer(2 * channels + 1, channels, side, 128, 4, len(config.labels))
    return _latent_diffusion(config, codec, network)


def _cell_codec(config: PriorConfig) -> VariationalAutoencoder:
    return VariationalAutoencoder(config.size, 4, 8, 32, is_vector=False, pixel_std=0.05)


def _latent_diffusion(config: PriorConfig, codec: Codec, network: nn.Module) -> Prior:
    settings = DiffusionConfig(prediction="v", clip=4.0)
    law = Diffusion(network, codec.channels, settings, standardizes=True, num_labels=len(config.labels))
    return ComposedPrior(config, codec, law)


def _tokens(config: PriorConfig) -> Prior:
    return ComposedPrior(config, *_codebook(config, len(config.labels)))


def _guided_tokens(config: PriorConfig) -> Prior:
    return TextGuidedPrior(config, *_codebook(config, 0))


def _codebook(config: PriorConfig, num_labels: int) -> tuple[AdversarialQuantized, Autoregressive]:
    codec = AdversarialQuantized(4, num_words=256, word_size=16, width=32)
    return codec, Autoregressive(codec.num_tokens, config.size // 4, width=128, depth=4, num_labels=num_labels)


def _pixels(config: PriorConfig) -> Prior:
    law = Autoregressive(64, config.size, width=96, depth=4, num_labels=len(config.labels))
    return ComposedPrior(config, Palette(64), law)


_MAPPED = frozenset({"map"})

ROWS: dict[str, Row] = {
    "ae-linear": Row(_linear),
    "ae": Row(_autoencoder),
    "vae": Row(_variational),
    "flow": Row(_flow),
    "gan": Row(_adversarial(AdversarialConfig("minimax"))),
    "gan-ns": Row(_adversarial(AdversarialConfig("non-saturating"))),
    "wgan": Row(_adversarial(AdversarialConfig("wasserstein", step_size=5e-4, critic_steps=5, r1=0.0))),
    "cgan": Row(_adversarial(AdversarialConfig("non-saturating")), labels="needed"),
    "ddpm": Row(_pixel_diffusion(DiffusionConfig("eps", draw_steps=50)), labels="read", reads=_MAPPED),
    "score": Row(_pixel_diffusion(DiffusionConfig("v", noise=0.0)), labels="read", reads=_MAPPED),
    "x0": Row(_pixel_diffusion(DiffusionConfig("x0")), labels="read", reads=_MAPPED),
    "flow-matching": Row(_pixel_diffusion(DiffusionConfig("flow", noise=0.0)), labels="read", reads=_MAPPED),
    "ldm": Row(_latent_unet, labels="read"),
    "dit": Row(_latent_transformer, labels="read"),
    "vqgan": Row(_tokens, labels="read"),
    "igpt": Row(_pixels, size=16, labels="read"),
    "clip": Row(EmbeddingPrior, labels="words", reads=frozenset({"text", "image"})),
    "vqgan-clip": Row(_guided_tokens, labels="words", reads=frozenset({"text"})),
    "unclip": Row(UnclipPrior, labels="words", reads=frozenset({"text", "image"})),
    "patchnn": Row(lambda config: ExemplarPrior(config, "nearest"), size=64),
    "quilt": Row(lambda config: ExemplarPrior(config, "quilt"), size=64),
}


def make_prior(config: PriorConfig, seed: int = 0) -> Prior:
    """An untrained prior; its first weights come from the seed, and the global random state is left alone.

    Raises: InputError for a name, a size or labels that it is not made for.
    """
    row = row_of(config.name)
    if config.size not in SIZES:
        raise InputError(f"size {config.size}: a prior's patches are {', '.join(map(str, SIZES))} pixels wide")
    if config.maps not in ("", GIVEN, *COMPUTED):
        raise InputError(f"maps {config.maps!r}: expected {GIVEN}, {', '.join(COMPUTED)}, or none")
    if config.maps and "map" not in row.reads:
        known = ", ".join(name for name, other in ROWS.items() if "map" in other.reads)
        raise InputError(f"{config.name} goes by no maps; {known} do")
    if row.labels == "needed" and len(config.labels) < 2:
        raise InputError(f"{config.name} learns classes: put the images into at least two subfolders, one a class")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return row.build(config)


def row_of(name: str) -> Row:
    """Raises: InputError for an unknown name."""
    if name not in ROWS:
        raise InputError(f"no prior is called {name!r}; there are {', '.join(ROWS)}")
    return ROWS[name]
