"""What an unknown side looks like from afar: the colours around it, led over it as smoothly as can be.

It says which of a scene's materials may continue there: without it a window in the middle of a wide unknown side has
nothing to go by, and each takes another one.
"""

from dataclasses import replace

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from neural3d.surface.membrane import bonds, conjugate_gradients, tension
from neural3d.surface.mesh import Mesh
from neural3d.surface.texels import texels_of
from neural3d.texture.atlas import Atlas

_TRUST = 0.1
"""Of a known vertex, against an edge: its colour is a mean with those some three edges around, as the outermost known
texels were seen at a slant, if at all."""


def with_membrane(atlas: Atlas, *, rim: float = 0.0) -> Atlas:
    """The unknown texels coloured by the membrane between those that are known, and unknown as before.

    Colours that lie nearer to what is unknown than `rim`, as a share of the surface's longest side and on the surface
    itself, are not led on where any are known beyond. A part of the surface of which nothing is known has the mean of
    what is known, as all of it has where no vertex is. Where nothing is known at all, nothing changes.

    Raises: InputError where open3d is not installed.
    """
    if not bool(atlas.known.any()) or bool(atlas.known.all()):
        return atlas
    mesh = atlas.surface.mesh
    given, is_known = _at_vertices(atlas)
    if rim > 0:
        beyond = is_known & (_to_unknown(mesh, is_known) > rim * _longest_side(mesh))
        is_known = beyond if bool(beyond.any()) else is_known
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


def _longest_side(mesh: Mesh) -> float:
    return float((mesh.vertices.amax(0) - mesh.vertices.amin(0)).max())


def _to_unknown(mesh: Mesh, is_known: Bool[Tensor, "V"]) -> Float[Tensor, "V"]:
    """How far it is from each vertex to the nearest unknown one, along edges; infinite where none can be reached."""
    places, place = mesh.vertices.unique(dim=0, return_inverse=True)
    far = torch.full((len(places),), torch.inf)
    far[place[~is_known]] = 0
    corners = place[mesh.triangles]
    edges = torch.cat([corners[:, pair] for pair in ([0, 1], [1, 2], [2, 0])])
    edges = torch.cat([edges, edges.flip(1)])
    lengths = (places[edges[:, 0]] - places[edges[:, 1]]).norm(dim=1)
    while True:
        nearer = far.scatter_reduce(0, edges[:, 1], far[edges[:, 0]] + lengths, "amin")
        if torch.equal(nearer, far):
            return far[place]
        far = nearer


def _led_over(
    mesh: Mesh, given: Float[Tensor, "V 3"], is_known: Bool[Tensor, "V"], mean: Float[Tensor, "3"]
) -> Float[Tensor, "V 3"]:
    """Vertices' colours: near to those given, and between neighbours as little different as possible.

    By conjugate gradients on the edges; vertices at one place are one.
    """
    places, place = mesh.vertices.unique(dim=0, return_inverse=True)
    edges, weights = bonds(places, place[mesh.triangles])
    count = len(places)
    trust = torch.zeros(count, 1).index_add_(0, place, _TRUST * is_known[:, None].float())
    pull = torch.zeros(count, 3).index_add_(0, place, _TRUST * is_known[:, None] * (given - mean))

    def applied(colors: Tensor) -> Tensor:
        return trust * colors + tension(colors, edges, weights)

    return (mean + conjugate_gradients(applied, pull))[place]
