"""Shapes as plain arrays, without Blender: lathed profiles, swept tubes, leaves, draped cloth.

World frame: right-handed, +z up, one unit is the radius of the tray. Faces are counter-clockwise seen from outside.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int


@dataclass(frozen=True)
class Shape:
    """A mesh of quads with one texture coordinate a corner."""

    points: Float[np.ndarray, "P 3"]
    quads: Int[np.ndarray, "F 4"]
    uvs: Float[np.ndarray, "F 4 2"]

    def moved(self, to: tuple[float, float, float]) -> "Shape":
        """The same shape, shifted."""
        return Shape(self.points + np.asarray(to), self.quads, self.uvs)

    def placed(self, rotation: Float[np.ndarray, "3 3"], to: Float[np.ndarray, "3"], scale: float = 1.0) -> "Shape":
        """The same shape, scaled, then rotated, then shifted."""
        return Shape(scale * self.points @ rotation.T + to, self.quads, self.uvs)


def join(shapes: list[Shape]) -> Shape:
    """One shape of many."""
    starts = np.cumsum([0] + [len(s.points) for s in shapes[:-1]])
    quads = np.concatenate([s.quads + start for s, start in zip(shapes, starts, strict=True)])
    return Shape(np.concatenate([s.points for s in shapes]), quads, np.concatenate([s.uvs for s in shapes]))


def spline(knots: Sequence[tuple[float, ...]], samples_per_span: int = 12) -> Float[np.ndarray, "S D"]:
    """A Catmull-Rom curve through the knots; a repeated knot makes a corner."""
    k = np.asarray(knots, dtype=float)
    k = np.concatenate([2 * k[:1] - k[1:2], k, 2 * k[-1:] - k[-2:-1]])
    t = np.linspace(0, 1, samples_per_span, endpoint=False)[:, None]
    spans = []
    for a, b, c, d in zip(k[:-3], k[1:-2], k[2:-1], k[3:], strict=True):
        spans.append(0.5 * (2 * b + (c - a) * t + (2 * a - 5 * b + 4 * c - d) * t**2 + (3 * b - a - 3 * c + d) * t**3))
    return np.concatenate([*spans, k[-2:-1]])


def grid(points: Float[np.ndarray, "A B 3"]) -> Shape:
    """A sheet of A x B points; u runs along A and v along B, both from 0 to 1."""
    a, b = points.shape[:2]
    index = np.arange(a * b).reshape(a, b)
    quads = np.stack([index[:-1, :-1], index[1:, :-1], index[1:, 1:], index[:-1, 1:]], axis=-1).reshape(-1, 4)
    uv = np.stack(np.meshgrid(np.linspace(0, 1, a), np.linspace(0, 1, b), indexing="ij"), axis=-1).reshape(-1, 2)
    return Shape(points.reshape(-1, 3), quads, uv[quads])


def lathe(profile: Float[np.ndarray, "S 2"], segments: int = 128) -> Shape:
    """Turn a profile of (radius, height), from the bottom up on the outside, around z; v is arc length."""
    angle = np.linspace(0, 2 * np.pi, segments + 1)
    radius, height = profile.T
    ring = np.stack([np.cos(angle), np.sin(angle), np.zeros_like(angle)], axis=-1)
    points = ring[:, None, :] * radius[None, :, None] + height[None, :, None] * np.array([0.0, 0.0, 1.0])
    shape = grid(points)
    length = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(profile, axis=0), axis=1))])
    v = np.interp(shape.uvs[..., 1], np.linspace(0, 1, len(length)), length / length[-1])
    return Shape(shape.points, shape.quads, np.stack([shape.uvs[..., 0], v], axis=-1))


def tube(
    path: Float[np.ndarray, "S 3"],
    radii: Float[np.ndarray, "S"],
    sides: int = 16,
    closed: bool = False,
    rounded: bool = True,
) -> Shape:
    """Sweep a circle along a path with a frame that does not twist; `rounded` gives an open path round caps."""
    if rounded and not closed:
        path, radii = _round_ends(path, radii)
    tangent = np.gradient(path, axis=0)
    if closed:
        tangent[0] = tangent[-1] = path[1] - path[-2]
    tangent /= np.linalg.norm(tangent, axis=1, keepdims=True)
    side, up = _transport(tangent, closed)
    angle = np.linspace(0, 2 * np.pi, sides + 1)
    ring = np.cos(angle)[None, :, None] * side[:, None] + np.sin(angle)[None, :, None] * up[:, None]
    points = path[:, None] + radii[:, None, None] * ring
    shape = grid(points)
    return Shape(shape.points, shape.quads[:, ::-1], shape.uvs[:, ::-1])


def _round_ends(
    path: Float[np.ndarray, "S 3"], radii: Float[np.ndarray, "S"]
) -> tuple[Float[np.ndarray, "T 3"], Float[np.ndarray, "T"]]:
    """Half a sphere at both ends, as a few more rings."""
    turn = np.linspace(np.pi / 2, 0.03, 6)[:-1]
    ends = []
    for point, inner, radius in ((path[0], path[1], radii[0]), (path[-1], path[-2], radii[-1])):
        outward = (point - inner) / np.linalg.norm(point - inner)
        ends.append((point + radius * np.cos(turn[::-1])[:, None] * outward, radius * np.sin(turn[::-1])))
    (head, head_radii), (tail, tail_radii) = ends
    return (
        np.concatenate([head[:-1], path, tail[-2::-1]]),
        np.concatenate([head_radii[:-1], radii, tail_radii[-2::-1]]),
    )


def _transport(
    tangent: Float[np.ndarray, "S 3"], closed: bool
) -> tuple[Float[np.ndarray, "S 3"], Float[np.ndarray, "S 3"]]:
    """Parallel transport of a normal along unit tangents; on a closed path the leftover turn is spread evenly."""
    side = np.zeros_like(tangent)
    first = np.cross(tangent[0], np.eye(3)[np.argmin(np.abs(tangent[0]))])
    side[0] = first / np.linalg.norm(first)
    for i in range(1, len(tangent)):
        flat = side[i - 1] - tangent[i] * (side[i - 1] @ tangent[i])
        side[i] = flat / np.linalg.norm(flat)
    up = np.cross(tangent, side)
    if closed:
        leftover = np.arctan2(side[-1] @ up[0], side[-1] @ side[0])
        turn = -leftover * np.linspace(0, 1, len(tangent))[:, None]
        side, up = np.cos(turn) * side + np.sin(turn) * up, np.cos(turn) * up - np.sin(turn) * side
    return side, up


def leaf(length: float, width: float, thickness: float, curl: float, tip: float = 0.6, cup: float = 0.25) -> Shape:
    """A fleshy leaf from the origin along +x, its upper side to +z; u goes around it and v from root to tip.

    `curl` is how far the tip rises (in lengths), `tip` where it is widest, `cup` how hollow it is (in widths).
    """
    s = np.linspace(0, 1, 22)
    half_width = 0.5 * width * np.sin(np.pi * s ** (np.log(0.5) / np.log(tip))) ** 0.75 + 0.001
    half_width[0] = 0.3 * width * 0.5
    angle = np.linspace(0, 2 * np.pi, 21)
    y = half_width[:, None] * np.cos(angle)
    hollow = cup * (y**2) / (0.5 * width)
    z = curl * length * s[:, None] ** 2 + hollow + thickness * (half_width[:, None] / (0.5 * width)) * np.sin(angle)
    x = np.broadcast_to(length * s[:, None], y.shape)
    shape = grid(np.stack([x, y, z], axis=-1))
    return Shape(shape.points, shape.quads[:, ::-1], shape.uvs[:, ::-1, ::-1])


def pointing(azimuth_rad: float, elevation_rad: float) -> Float[np.ndarray, "3 3"]:
    """The rotation that carries +x to this direction and keeps +y level."""
    ca, sa, ce, se = np.cos(azimuth_rad), np.sin(azimuth_rad), np.cos(elevation_rad), np.sin(elevation_rad)
    return np.array([[ca * ce, -sa, -ca * se], [sa * ce, ca, -sa * se], [se, 0.0, ce]])


def facing(direction: Float[np.ndarray, "3"]) -> Float[np.ndarray, "3 3"]:
    """A rotation that carries +z to this direction."""
    z = direction / np.linalg.norm(direction)
    x = np.cross(np.eye(3)[np.argmin(np.abs(z))], z)
    x /= np.linalg.norm(x)
    return np.stack([x, np.cross(z, x), z], axis=1)


def box(size: tuple[float, float, float]) -> Shape:
    """A box centred at the origin in x and y, standing on z = 0; each face has the whole texture."""
    corner = np.array([[x, y, z] for z in (0, 1) for y in (-0.5, 0.5) for x in (-0.5, 0.5)]) * np.asarray(size)
    quads = np.array([[0, 2, 3, 1], [4, 5, 7, 6], [0, 1, 5, 4], [2, 6, 7, 3], [0, 4, 6, 2], [1, 3, 7, 5]])
    uvs = np.broadcast_to(np.array([[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0]]), (6, 4, 2)).copy()
    return Shape(corner, quads, uvs)


def sphere(radius: float, squash: float = 1.0) -> Shape:
    """A ball on its pole axis z, squashed along it, centred at the origin."""
    angle = np.linspace(-np.pi / 2, np.pi / 2, 49)
    return lathe(np.stack([radius * np.cos(angle), squash * radius * np.sin(angle)], axis=1), segments=72)
