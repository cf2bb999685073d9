"""Small textures made in code."""

import numpy as np

from neural3d.priors.patches import PatchSource, Picture


def waves(side: int, period: float, angle: float, seed: int = 0) -> np.ndarray:
    """Coloured waves with a little noise, (side, side, 3) bytes."""
    rows, columns = np.mgrid[:side, :side]
    phase = 2 * np.pi * (np.cos(angle) * columns + np.sin(angle) * rows) / period
    colors = np.stack([np.sin(phase), np.sin(phase + 1), np.cos(phase)], -1)
    noise = np.random.default_rng(seed).normal(0, 0.05, colors.shape)
    return np.clip(127 + 100 * (colors + noise), 0, 255).astype(np.uint8)


def flat(side: int, level: int) -> np.ndarray:
    """Grey with a little noise."""
    noise = np.random.default_rng(level).integers(-15, 16, (side, side, 3))
    return np.clip(level + noise, 0, 255).astype(np.uint8)


def wave_source(size: int) -> PatchSource:
    """Patches of two waves, one a label."""
    pictures = [Picture(waves(48, 8, 0.3), None, 0), Picture(waves(48, 6, 1.2), None, 1)]
    return PatchSource(pictures, size, ("low", "steep"))
