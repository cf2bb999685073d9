"""Procedural pictures, in display sRGB from 0 to 1, painted by formulas; row 0 is v = 0.

Everything is a function of texture coordinates and a fixed seed, so the same capture can be made again.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

IVORY = np.array([0.90, 0.86, 0.76])
TERRACOTTA = np.array([0.72, 0.31, 0.18])
TEAL = np.array([0.06, 0.36, 0.40])
NIGHT = np.array([0.07, 0.13, 0.27])
GOLD = np.array([0.86, 0.64, 0.24])
GROUT = np.array([0.36, 0.33, 0.30])
COBALT = np.array([0.05, 0.13, 0.46])
GLAZE = np.array([0.93, 0.93, 0.90])


@dataclass(frozen=True)
class Mosaic:
    """Maps of the tray's top over the square [-1, 1] x [-1, 1]."""

    color: Float[np.ndarray, "H W 3"]
    height: Float[np.ndarray, "H W"]
    metal: Float[np.ndarray, "H W"]


def mix(a: np.ndarray, b: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Blend colours (H W 3 or 3) by a map of weights (H W)."""
    return a + (b - a) * np.clip(weight, 0, 1)[..., None]


def step(edge: float, value: np.ndarray, soft: float) -> np.ndarray:
    """A smooth 0 to 1 as the value passes the edge."""
    t = np.clip((value - edge) / soft + 0.5, 0, 1)
    return t * t * (3 - 2 * t)


def hashed(*keys: np.ndarray) -> Float[np.ndarray, "*B"]:
    """A number from 0 to 1 for each combination of integers (Wang-style mixing; not for statistics)."""
    mixed = np.zeros(keys[0].shape, dtype=np.uint64)
    for key in keys:
        mixed = (mixed ^ key.astype(np.int64).astype(np.uint64)) * np.uint64(0x9E3779B97F4A7C15)
        mixed ^= mixed >> np.uint64(29)
    return (mixed >> np.uint64(40)).astype(float) / float(1 << 24)


def square(size: int, low: float = 0.0, high: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """Coordinates (u along columns, v along rows) of the centres of size x size texels."""
    t = low + (high - low) * (np.arange(size) + 0.5) / size
    v, u = np.meshgrid(t, t, indexing="ij")
    return u, v


def mosaic(size: int = 3072, width: float = 0.042) -> Mosaic:
    """Rings of hand-cut tesserae: a star, a twisted border and a rim with gilded stones."""
    x, y = square(size, -1, 1)
    radius, angle = np.hypot(x, y), np.arctan2(y, x) % (2 * np.pi)
    ring = np.floor(radius / width).astype(int)
    count = np.maximum(1, np.round(2 * np.pi * (ring + 0.5) * 0.92)).astype(int)
    turn = angle / (2 * np.pi) * count + hashed(ring, ring * 0 + 5)
    tile = np.floor(turn).astype(int) % count
    middle_angle = 2 * np.pi * (np.floor(turn) + 0.5 - hashed(ring, ring * 0 + 5)) / count
    color, metal = _mosaic_design((ring + 0.5) * width, middle_angle, ring, tile)
    inside = _tessera(radius / width - ring, turn % 1.0, ring, tile)
    color = color * (0.80 + 0.34 * hashed(ring, tile, ring * 0 + 1))[..., None]
    color = color + 0.05 * (np.stack([hashed(ring, tile, ring * 0 + k) for k in (2, 3, 4)], -1) - 0.5)
    color = mix(GROUT, np.clip(color, 0, 1), inside)
    tilt = (hashed(ring, tile, ring * 0 + 6) - 0.5) * (turn % 1.0) * 0.5
    return Mosaic(color, inside * (0.75 + tilt), metal * inside)


def _tessera(across: np.ndarray, along: np.ndarray, ring: np.ndarray, tile: np.ndarray) -> np.ndarray:
    """1 on a stone, 0 in the joint; each stone is a little off."""
    wobble = 0.05 * (hashed(ring, tile, ring * 0 + 7) - 0.5)
    reach = np.maximum(np.abs(across - 0.5 + wobble), np.abs(along - 0.5 - wobble))
    corner = np.hypot(np.maximum(np.abs(across - 0.5) - 0.25, 0), np.maximum(np.abs(along - 0.5) - 0.25, 0))
    return (1 - step(0.42, reach, 0.07)) * (1 - step(0.24, corner, 0.07))


def _mosaic_design(
    radius: np.ndarray, angle: np.ndarray, ring: np.ndarray, tile: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Colour and metalness of a stone by the place of its middle."""
    star = 0.46 + 0.20 * (2 / np.pi) * np.arcsin(np.cos(8 * angle))
    color = mix(IVORY, TERRACOTTA, (radius < star).astype(float))
    color = mix(color, NIGHT, (np.abs(radius - star) < 0.035).astype(float))
    color = mix(color, IVORY, (radius < 0.72 * star).astype(float))
    color = mix(color, TEAL, (radius < 0.55 * star).astype(float))
    weave = 0.055 * np.sin(12 * angle)
    border = (radius > 0.715) & (radius < 0.905)
    color = mix(color, TEAL * 1.15, border.astype(float))
    color = mix(color, IVORY, (border & (np.abs(radius - 0.81 - weave) < 0.03)).astype(float))
    color = mix(color, TERRACOTTA * 1.1, (border & (np.abs(radius - 0.81 + weave) < 0.03)).astype(float))
    rim = radius > 0.905
    color = mix(color, NIGHT * 1.2, rim.astype(float))
    gilded = (rim & (tile % 4 < 1)) | (np.abs(radius - 0.705) < 0.02)
    gilded |= (radius < star) & (radius > 0.72 * star) & (hashed(ring, tile, ring * 0 + 9) > 0.82)
    return mix(color, GOLD, gilded.astype(float)), gilded.astype(float)


def porcelain(width: int = 4096, height: int = 1536, waves: int = 18, aspect: float = 2.6) -> np.ndarray:
    """Blue on white for the teapot: waves below, blossoms on a vine around the belly, lines at the shoulder.

    `aspect` is the belly's circumference over the length of its profile, so that circles stay round.
    """
    u, v = np.meshgrid((np.arange(width) + 0.5) / width, (np.arange(height) + 0.5) / height)
    picture = np.broadcast_to(GLAZE, (height, width, 3))
    sea = _seigaiha(u * waves, v * waves / aspect)
    picture = mix(picture, COBALT, sea * (1 - step(0.355, v, 0.004)) * step(0.075, v, 0.004))
    picture = mix(picture, COBALT, 0.95 * _vine(u, v, aspect, middle=0.565))
    for line, half in ((0.065, 0.008), (0.372, 0.009), (0.393, 0.003), (0.74, 0.003), (0.762, 0.010)):
        picture = mix(picture, COBALT, 1 - step(half, np.abs(v - line), 0.003))
    frieze = np.abs(((u * 36) % 1.0) - 0.5) * 2
    picture = mix(picture, COBALT, step(0.0, 0.06 * (1 - frieze) - np.abs(v - 0.785), 0.004) * (v > 0.772))
    return picture * (0.985 + 0.03 * hashed((u * 997).astype(int), (v * 383).astype(int))[..., None])


def _seigaiha(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Overlapping wave crests of unit width in rows a quarter apart; 1 where there is ink."""
    ink, open_ = np.zeros_like(x), np.ones_like(x, dtype=bool)
    row = np.floor(y * 4).astype(int)
    for back in range(2, -1, -1):
        line = row - back
        shift = np.where(line % 2 == 0, 0.0, 0.5)
        center = np.round(x - shift) + shift
        distance = np.hypot(x - center, y - line / 4) * 2
        here = open_ & (distance < 1.0)
        outer, inner = np.abs(distance - 0.92), np.abs(distance - 0.60)
        rings = np.maximum(1 - step(0.10, outer, 0.06), 1 - step(0.065, inner, 0.06))
        rings = np.maximum(rings, 1 - step(0.16, distance, 0.06))
        ink = np.where(here, rings, ink)
        open_ &= ~here
    return ink


def _vine(u: np.ndarray, v: np.ndarray, aspect: float, middle: float, count: int = 7) -> np.ndarray:
    """Blossoms at the turns of a winding vine with leaves; 1 where there is ink."""
    x, y = u * count, (v - middle) * count / aspect
    stem = 1 - step(0.022, np.abs(y - 0.17 * np.sin(2 * np.pi * x)), 0.012)
    ink = stem
    for offset, lift, size in ((0.25, -0.10, 0.27), (0.75, 0.10, 0.27), (0.0, 0.2, 0.13), (0.5, -0.2, 0.13)):
        dx = (x - offset + 0.5) % 1.0 - 0.5
        distance, turn = np.hypot(dx, y - lift), np.arctan2(y - lift, dx)
        petal = size * (0.72 + 0.28 * np.abs(np.cos(4 * turn)) ** 0.6)
        veins = step(0.25, np.abs(np.sin(4 * turn)), 0.15) * (distance > 0.42 * petal)
        core = np.maximum(1 - step(0.30, distance / petal, 0.06), veins)
        inked = np.maximum(core * (distance < petal), 1 - step(0.012, np.abs(distance - petal), 0.012))
        ink = np.where(distance < petal + 0.035, inked, ink)
    return ink


def citrus(size: int = 1024, segments: int = 11) -> np.ndarray:
    """A cut orange over the square [-1, 1]: rind, pith, segments with their juice cells."""
    x, y = square(size, -1, 1)
    radius, turn = np.hypot(x, y), np.arctan2(y, x) / (2 * np.pi) * segments
    wall = np.abs(turn % 1.0 - 0.5) * 2
    flesh = (1 - step(0.83, radius, 0.02)) * step(0.07, radius, 0.02)
    flesh = flesh * (1 - step(1 - 0.045 / np.maximum(radius, 0.05), wall, 0.04 / np.maximum(radius, 0.05)))
    cells = hashed(np.floor(turn * 9).astype(int), np.floor(radius * 7 + hashed(np.floor(turn * 9).astype(int)) * 3))
    pulp = np.array([0.93, 0.47, 0.07]) * (0.86 + 0.26 * cells)[..., None]
    picture = mix(np.array([0.96, 0.87, 0.66]), np.clip(pulp, 0, 1), flesh)
    return mix(picture, np.array([0.91, 0.43, 0.05]), step(0.94, radius, 0.02))


def cloth(width: int = 1024, height: int = 2048) -> np.ndarray:
    """A hand-woven runner: stripes across, a lozenge band, visible threads. v runs along it, its hem at 1."""
    u, v = np.meshgrid((np.arange(width) + 0.5) / width, (np.arange(height) + 0.5) / height)
    red, cream, blue = np.array([0.62, 0.12, 0.12]), np.array([0.88, 0.82, 0.69]), np.array([0.10, 0.19, 0.36])
    picture = np.broadcast_to(cream, (height, width, 3))
    beat = (v * 9) % 1.0
    inward = 0.5 - np.abs(beat - 0.5)
    picture = mix(picture, red, step(0.22, inward, 0.01) * (1 - step(0.36, inward, 0.01)))
    picture = mix(picture, blue, step(0.43, inward, 0.01))
    lozenge = np.abs((u * 8) % 1.0 - 0.5) + np.abs(beat - 0.5) * 2.4
    picture = mix(picture, cream, 1 - step(0.14, lozenge, 0.03))
    picture = mix(picture, red, step(0.45, np.abs(u - 0.5), 0.004) * 0.9)
    thread = 0.5 + 0.5 * np.sin(2 * np.pi * 90 * u) * np.sin(2 * np.pi * 220 * v)
    return picture * (0.88 + 0.14 * thread + 0.08 * hashed(np.floor(v * 220).astype(int)))[..., None].clip(0, 1)


def book_cover(spots: Int[np.ndarray, "2"], ground: np.ndarray, ink: np.ndarray, size: int = 768) -> np.ndarray:
    """Cloth boards with a printed repeat of `spots` small quatrefoils each way inside a double frame."""
    u, v = square(size)
    x, y = (u * spots[0]) % 1.0 - 0.5, (v * spots[1]) % 1.0 - 0.5
    turn = np.arctan2(y, x)
    print_ = 1 - step(0.26 + 0.12 * np.cos(4 * turn), np.hypot(x, y), 0.05)
    print_ = print_ * step(0.10, np.hypot(x, y), 0.04)
    edge = np.minimum(np.minimum(u, 1 - u), np.minimum(v, 1 - v))
    print_ = np.where(edge < 0.085, 0.0, print_)
    frame = np.maximum(1 - step(0.007, np.abs(edge - 0.045), 0.006), 1 - step(0.003, np.abs(edge - 0.066), 0.005))
    weave = 0.93 + 0.07 * np.sin(2 * np.pi * 120 * u) * np.sin(2 * np.pi * 120 * v)
    return mix(np.broadcast_to(ground, (size, size, 3)) * weave[..., None], ink, np.maximum(print_, frame))


def pages(size: int = 256) -> np.ndarray:
    """The fore-edge of a book: leaves of slightly different paper along v."""
    u, v = square(size)
    leaf = np.floor(v * 42).astype(int)
    tone = 0.80 + 0.16 * hashed(leaf) - 0.10 * ((v * 42) % 1.0 > 0.75)
    return np.array([1.0, 0.95, 0.83]) * (tone * (0.98 + 0.02 * hashed(leaf, (u * 40).astype(int))))[..., None]
