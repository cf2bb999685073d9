"""Display sRGB and the linear light that a display makes of it, value by value; both go on beyond 1."""

import torch
from jaxtyping import Float
from torch import Tensor

_DISPLAY_KNEE, _LIGHT_KNEE = 0.04045, 0.0031308


def decode_srgb(display: Float[Tensor, "*B"]) -> Float[Tensor, "*B"]:
    """Display values, at least 0, to linear light.

    Source: IEC 61966-2-1.
    """
    curved = _power((display.clamp(min=_DISPLAY_KNEE) + 0.055) / 1.055, 2.4)
    return torch.where(display <= _DISPLAY_KNEE, display / 12.92, curved)


def encode_srgb(light: Float[Tensor, "*B"]) -> Float[Tensor, "*B"]:
    """The inverse of `decode_srgb`."""
    curved = 1.055 * _power(light.clamp(min=_LIGHT_KNEE), 1 / 2.4) - 0.055
    return torch.where(light <= _LIGHT_KNEE, light * 12.92, curved)


def decode_slope(display: Float[Tensor, "*B"]) -> Float[Tensor, "*B"]:
    """The derivative of `decode_srgb`."""
    curved = 2.4 / 1.055 * _power((display.clamp(min=_DISPLAY_KNEE) + 0.055) / 1.055, 1.4)
    return torch.where(display <= _DISPLAY_KNEE, 1 / 12.92, curved)


def encode_slope(light: Float[Tensor, "*B"]) -> Float[Tensor, "*B"]:
    """The derivative of `encode_srgb`."""
    curved = 1.055 / 2.4 * _power(light.clamp(min=_LIGHT_KNEE), 1 / 2.4 - 1)
    return torch.where(light <= _LIGHT_KNEE, 12.92, curved)


def _power(base: Float[Tensor, "*B"], exponent: float) -> Float[Tensor, "*B"]:
    """Of positive numbers, the same bytes at any number of threads.

    Torch's own power takes another function for the last few numbers of each thread's part; exp and log do not.
    """
    return torch.exp(exponent * torch.log(base))
