"""What an unknown side looks like from afar: the colours around it, led over it as smoothly as can be.

It says which of a scene's materials may continue there: without it a window in the middle of a wide unknown side has
nothing to go by, and each takes another one.
"""

from collections.abc import Callable
from dataclasses import replace

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from neural3d.surface.mesh import Mesh
from neural3d.surface.texels import texels_of
from neural3d.texture.atlas import Atlas

_TRUST = 0.1
"""Of a known vertex, against an edge: its colour is a mean with those some three edges around, as the outermost known
texels were seen at a slant, if at all."""
_STEEPEST, _LEAST_BOND = 20.0, 0.01
"""Of edges' weights: slivers have cotangents beyond all bounds, of either sign."""
_TOLERANCE, _MOST_STEPS = 1e-4, 2000


def with_membrane(atlas: Atlas) -> Atlas:
    """The unknown texels coloured by the membrane between those that are known, and unknown as before.

    A part of the surface of which nothing is known has the mean of what is known, as all of it has where no vertex is.
    Where nothing is known at all, nothing changes.

    Raises: InputError where open3d is not installed.
    """
    if not bool(atlas.known.any()) or bool(atlas.known.all()):
        return atlas
    mesh = atlas.surface.mesh
    given, is_known = _at_vertices(atlas)
    mean = atlas.colors[atlas.known].mean(0)
    found = _led_over(mesh, given, is_known, mean) if bool(is_known.any()) else mean.expand_as(given).contiguous()
    painted = replace(atlas.surface, mesh=replace(mesh, colors=found))
    # A membrane never leaves the range of its border: what does is rounding.
    seen = atlas.colors[atlas.known]
    colors = texels_of(painted, atlas.side_px).colors.clamp(seen.amin(0), seen.amax(0))
    return atlas.with_colors(torch.where(atlas.known[:, None], atlas.colors, colors), atlas.known)


def _at_vertices(atlas: Atlas) -> tuple[Float[Tensor, "V 3"], Bool[Tensor, "V"]]:
    """The texel that each vertex lies in, and whether it is known."""
    numbers = atlas.numbers_at(atlas.surface.uvs)
    is_known = (numbers >= 0) & atlas.known[numbers.clamp_min(0)]
    return atlas.colors[numbers.clamp_min(0)], is_known


def _led_over(
    mesh: Mesh, given: Float[Tensor, "V 3"], is_known: Bool[Tensor, "V"], mean: Float[Tensor, "3"]
) -> Float[Tensor, "V 3"]:
    """Vertices' colours: near to those given, and between neighbours as little different as possible.

    By conjugate gradients on the edges; vertices at one place are one.
    """
    places, place = mesh.vertices.unique(dim=0, return_inverse=True)
    edges, weights = _edges(places, place[mesh.triangles])
    count = len(places)
    trust = torch.zeros(count, 1).index_add_(0, place, _TRUST * is_known[:, None].float())
    pull = torch.zeros(count, 3).index_add_(0, place, _TRUST * is_known[:, None] * (given - mean))

    def applied(colors: Tensor) -> Tensor:
        steps = weights * (colors[edges[:, 0]] - colors[edges[:, 1]])
        return (trust * colors).index_add(0, edges[:, 0], steps).index_add_(0, edges[:, 1], -steps)

    return (mean + _conjugate_gradients(applied, pull))[place]


def _conjugate_gradients(applied: Callable[[Tensor], Tensor], pull: Float[Tensor, "K 3"]) -> Float[Tensor, "K 3"]:
    """The solution of `applied(x) = pull`, from zero on, each column by itself."""
    solution, residual = torch.zeros_like(pull), pull
    direction, square = residual, residual.square().sum(0)
    enough = square * _TOLERANCE**2
    for _ in range(_MOST_STEPS):
        if bool((square <= enough).all()):
            break
        image = applied(direction)
        step = square / (direction * image).sum(0).clamp_min(1e-20)
        solution, residual = solution + step * direction, residual - step * image
        last, square = square, residual.square().sum(0)
        direction = residual + square / last.clamp_min(1e-20) * direction
    return solution


def _edges(
    vertices: Float[Tensor, "K 3"], triangles: Int64[Tensor, "T 3"]
) -> tuple[Int64[Tensor, "E 2"], Float[Tensor, "E 1"]]:
    """Each edge once, and how strongly it binds: such that on a plane, linear colours stay linear.

    Source: Pinkall and Polthier 1993, Computing Discrete Minimal Surfaces and Their Conjugates (cotangents).
    """
    corners = vertices[triangles]
    sides, cotangents = [], []
    for corner in range(3):
        first, second = (corner + 1) % 3, (corner + 2) % 3
        to_first, to_second = (corners[:, other] - corners[:, corner] for other in (first, second))
        area = torch.linalg.cross(to_first, to_second).norm(dim=1)
        cotangents.append(0.5 * (to_first * to_second).sum(1) / area.clamp_min(1e-20))
        sides.append(triangles[:, [first, second]])
    edges, number = torch.cat(sides).sort(dim=1).values.unique(dim=0, return_inverse=True)
    weights = torch.zeros(len(edges)).index_add_(0, number, torch.cat(cotangents).clamp(-_STEEPEST, _STEEPEST))
    return edges, weights.clamp(_LEAST_BOND, _STEEPEST)[:, None]
