"""What was completed on a surface, back in the splats: new ones where no photo saw any."""

from dataclasses import replace

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from neural3d.cameras import Cameras
from neural3d.render.contributions import blend_weights, weights_over
from neural3d.splats.gaussians import SH_C0, Gaussians, cat_gaussians
from neural3d.surface.closing import cell_of
from neural3d.surface.mesh import Mesh
from neural3d.surface.texels import RayCaster
from neural3d.texture.atlas import Atlas
from neural3d.texture.pictures import BESIDE, all_around, shown_texels

_OPACITY = 0.97
_WIDTH, _THICKNESS = 0.6, 0.08
"""Standard deviations along the surface and across it, in distances between neighbours."""
_UNSEEN_PX = 0.5
"""A Gaussian of which all cameras together show less, in pixels, was never learnt from a photo."""
_SHOWN_PX = 0.05
"""A new Gaussian of which a camera shows more, on average, stands where photos show something else."""
_SHINES_THROUGH = 0.4
"""Of what cameras would see of a new Gaussian without the others: what was learnt is never quite opaque. With 0.15 what
shone through hair left holes in the back of a head, with 0.7 the far side jutted out beside the near one."""
_MOSTLY = 0.5
_FLOATING_CELLS = 3.0
_BESIDE = 6.0
"""Texels: how near to the completed surface such Gaussians are removed."""
_COMPARED = 20_000
"""Of these texels; with more only some are looked at."""


def with_completed(
    gaussians: Gaussians, atlas: Atlas, was_known: Bool[Tensor, "N"], cameras: Cameras, *, most: int = 100_000
) -> Gaussians:
    """The model with Gaussians on the surface that was completed, in place of those beside it that no camera saw.

    All other Gaussians keep their bits. The new ones lie a cell below the surface: this may stand so far before what
    the photos show beside it. A closed side that juts out further where cameras look past gets no Gaussians, so that
    their pictures stay as they were learnt.
    """
    if bool(was_known.all()):
        return gaussians
    new = surface_gaussians(atlas, ~was_known, gaussians, most, inset=cell_of(atlas.surface.mesh))
    kept = gaussians[(~unlearnt(gaussians, atlas, ~was_known, cameras)).nonzero()[:, 0]]
    shown = _weights_behind(kept, new, cameras)
    return cat_gaussians([kept, new[(shown < _SHOWN_PX * len(cameras)).nonzero()[:, 0]]])


def with_sides(
    gaussians: Gaussians,
    atlas: Atlas,
    was_known: Bool[Tensor, "N"],
    cameras: Cameras,
    up: Float[Tensor, "3"],
    *,
    most: int = 100_000,
) -> Gaussians:
    """The model of a thing alone, which can be looked at from all around, with Gaussians where it was completed.

    What mostly stands before these, seen from there, goes: no photo saw it from that side, and it is as often a haze
    as a part of the thing. The new ones lie on the surface, but where cameras that took photos would see more of them
    than what shines through what was learnt. All other Gaussians keep their bits.
    """
    if bool(was_known.all()):
        return gaussians
    new = surface_gaussians(atlas, ~was_known, gaussians, most)
    kept = gaussians[(~_before_completed(gaussians, new, atlas, was_known, up)).nonzero()[:, 0]]
    shown, alone = _weights_behind(kept, new, cameras), blend_weights(new, cameras)
    hidden = (shown < _SHOWN_PX * len(cameras)) | (shown < _SHINES_THROUGH * alone)
    return cat_gaussians([kept, new[hidden.nonzero()[:, 0]]])


def _weights_behind(before: Gaussians, new: Gaussians, cameras: Cameras) -> Float[Tensor, "M"]:
    """What cameras see of new Gaussians among others, in pixels."""
    return blend_weights(cat_gaussians([before, new]), cameras)[len(before) :]


def _before_completed(
    gaussians: Gaussians, new: Gaussians, atlas: Atlas, was_known: Bool[Tensor, "N"], up: Float[Tensor, "3"]
) -> Bool[Tensor, "M"]:
    """Gaussians that, from all around, are mostly seen where the surface is completed, or beside it."""
    both, around = cat_gaussians([gaussians, new]), all_around(atlas.texels.points, up)
    seen = torch.zeros(len(gaussians), 2)
    for index in range(len(around)):
        numbers = shown_texels(atlas, around[index])
        of_photos = was_known[numbers.clamp_min(0)]
        completed = (numbers == BESIDE) | ((numbers >= 0) & ~of_photos)
        planes = torch.stack([completed, torch.ones_like(completed)]).float()
        seen += weights_over(both, around, index, planes)[: len(gaussians)]
    return seen[:, 0] > _MOSTLY * seen[:, 1]


def surface_gaussians(
    atlas: Atlas, where: Bool[Tensor, "N"], like: Gaussians, most: int, *, inset: float = 0.0
) -> Gaussians:
    """Flat opaque Gaussians side by side on texels of a surface, at most so many, one colour from all sides.

    They lie `inset` below it, in its own units.
    """
    points, normals, colors = (t[where] for t in (atlas.texels.points, atlas.texels.normals, atlas.colors))
    cell = 1.5 * atlas.spacing
    while True:
        _, number = (points / cell).floor().long().unique(dim=0, return_inverse=True)
        count = int(number.max()) + 1
        if count <= most:
            break
        cell *= max(1.05, (count / most) ** 0.5)
    points, normals, colors = (_means(values, number, count) for values in (points, normals, colors))
    normals = torch.nn.functional.normalize(normals, dim=1)
    sh = torch.zeros(count, like.sh.shape[1], 3)
    sh[:, 0] = (colors - 0.5) / SH_C0
    scales = torch.tensor([_WIDTH * cell, _WIDTH * cell, _THICKNESS * cell]).log().repeat(count, 1)
    opacities = torch.full((count,), _OPACITY).logit()
    made = (points - inset * normals, scales, _turns_to(normals), opacities, sh)
    return Gaussians(*made, antialiased=like.antialiased, linear=like.linear)


def unlearnt(gaussians: Gaussians, atlas: Atlas, completed: Bool[Tensor, "N"], cameras: Cameras) -> Bool[Tensor, "M"]:
    """Gaussians beside the completed surface that no camera sees: chance left them there."""
    beside = torch.zeros(len(gaussians), dtype=torch.bool)
    rows = (blend_weights(gaussians, cameras) < _UNSEEN_PX).nonzero()[:, 0]
    points = atlas.texels.points[completed]
    stride = max(1, len(points) // _COMPARED)
    # Of fewer texels each stands for a wider place.
    points, reach = points[::stride], _BESIDE * atlas.spacing * stride**0.5
    for part in rows.split(4096):
        beside[part] = torch.cdist(gaussians.means_world[part], points).amin(1) < reach
    return beside


def beside(gaussians: Gaussians, mesh: Mesh) -> Gaussians:
    """Those whose centres lie within three cells of a surface: what floats elsewhere is none of it.

    Raises: InputError where open3d is not installed.
    """
    apart = RayCaster(mesh).distances(gaussians.means_world)
    return gaussians[(apart < _FLOATING_CELLS * cell_of(mesh)).nonzero()[:, 0]]


def recolored(gaussians: Gaussians, atlas: Atlas, where: Bool[Tensor, "N"] | None = None) -> Gaussians:
    """Gaussians by the surface take its colours, the same from all sides; those further away stay as they are.

    With `where`, only those whose nearest texel is one of these.
    """
    stride = max(1, len(atlas.known) // 60_000)
    points, colors = atlas.texels.points[::stride], atlas.colors[::stride]
    reach = _BESIDE * atlas.spacing * max(1.0, stride**0.5)
    sh = gaussians.sh.clone()
    for rows in torch.arange(len(gaussians)).split(2048):
        apart, nearest = torch.cdist(gaussians.means_world[rows], points).min(1)
        near = apart < reach + gaussians.log_scales[rows].exp().amax(1)
        if where is not None:
            near &= where[::stride][nearest]
        sh[rows[near]] = 0
        sh[rows[near], 0] = (colors[nearest[near]] - 0.5) / SH_C0
    return replace(gaussians, sh=sh)


def _means(values: Float[Tensor, "K C"], number: Tensor, count: int) -> Float[Tensor, "M C"]:
    sums = torch.zeros(count, values.shape[1]).index_add_(0, number, values)
    return sums / torch.bincount(number, minlength=count)[:, None]


def _turns_to(normals: Float[Tensor, "M 3"]) -> Float[Tensor, "M 4"]:
    """Quaternions that turn +z to the normals, wxyz: the half angle's, not yet of unit length."""
    x, y, z = normals.unbind(1)
    quats = torch.stack([1 + z, -y, x, torch.zeros_like(x)], dim=1)
    opposite = z < -1 + 1e-6
    quats[opposite] = torch.tensor([0.0, 1.0, 0.0, 0.0])
    return torch.nn.functional.normalize(quats, dim=1)
