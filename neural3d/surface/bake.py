"""What cameras see of a surface, gathered in its texture.

Each texel asks every camera that sees it, and weighs what these say by how closely, how straight and how sharply they
look. What varies slowly over a picture is a mean of all that they say, what varies fast is said by the best ones
alone: so the texture stays sharp, and where one camera takes over from another there is no seam.

Source: the weights follow Debevec et al. 1996, Modeling and Rendering Architecture from Photographs, sec. 4; the two
bands Baumberg 2002, Blending Images for Texturing 3D Models, sec. 3.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional

from neural3d.surface.depth_views import DepthView
from neural3d.surface.texels import RayCaster, texels_of
from neural3d.surface.unwrap import Unwrapped

_LEAST_COSINE = 0.15
"""More slanted, a pixel smears over the surface."""
_SHARPNESS = 4
"""Power of the weights for what varies fast; it is one for what varies slowly."""
_SLOW_SIGMA_PX = 6.0
"""Standard deviation of the blur that parts the two."""
_BEFORE = 0.01
"""Of the distance: what is hit so little before a texel is its own surface."""
_DEPTH_ERROR = 0.05
"""Of the distance: a view whose depth is off by more shows something that the mesh lacks."""
_RAYS = 1 << 20


@dataclass(frozen=True)
class Texture:
    """A square picture for a surface; the first row is its upper edge, v = 1."""

    colors: Float[Tensor, "S S 3"]
    """Display sRGB; where no camera looked, the colours of the mesh's vertices."""
    covered: Bool[Tensor, "S S"]
    """Texels that lie on the surface, a border around each chart included."""
    seen: Bool[Tensor, "S S"]
    """Those that a camera saw."""

    @property
    def unseen(self) -> Bool[Tensor, "S S"]:
        """Texels on the surface that no camera saw."""
        return self.covered & ~self.seen


def bake(surface: Unwrapped, views: Iterable[DepthView], side_px: int) -> Texture:
    """Fill a texture of so many pixels a side.

    Raises: InputError where open3d is not installed.
    """
    texels, caster = texels_of(surface, side_px), RayCaster(surface.mesh)
    count = len(texels.points)
    slow, fast, slow_weights, fast_weights = (torch.zeros(count, size) for size in (3, 3, 1, 1))
    for view in views:
        bands = _bands(view)
        for start in range(0, count, _RAYS):
            part = slice(start, start + _RAYS)
            found, weight = _asked(view, bands, texels.points[part], texels.normals[part], caster)
            slow[part] += weight * found[:, :3]
            fast[part] += weight**_SHARPNESS * found[:, 3:]
            slow_weights[part] += weight
            fast_weights[part] += weight**_SHARPNESS
    seen = slow_weights[:, 0] > 0
    colors = slow / slow_weights.clamp(min=1e-30) + fast / fast_weights.clamp(min=1e-30)
    picture, mask = torch.zeros(side_px, side_px, 3), torch.zeros(side_px, side_px, dtype=torch.bool)
    picture[texels.covered] = torch.where(seen[:, None], colors, texels.colors).clamp(0, 1)
    mask[texels.covered] = seen
    return Texture(picture, texels.covered, mask)


def _bands(view: DepthView) -> Float[Tensor, "H W 8"]:
    """Slow and fast colours, trust, and where a surface is sure; the blur does not cross over to where none is."""
    sure = (view.depths > 0).float()
    height, width = sure.shape[:2]
    weighted = torch.cat([view.colors * sure, sure], dim=-1).permute(2, 0, 1)[None]
    blurred = _blurred(weighted)[0].permute(1, 2, 0)
    slow = blurred[..., :3] / blurred[..., 3:].clamp(min=1e-6)
    trust = torch.ones(height, width, 1) if view.trust is None else view.trust
    return torch.cat([slow, view.colors - slow, trust, sure], dim=-1)


def _blurred(image: Float[Tensor, "1 C H W"]) -> Float[Tensor, "1 C H W"]:
    reach = round(2.5 * _SLOW_SIGMA_PX)
    kernel = torch.exp(-0.5 * (torch.arange(-reach, reach + 1) / _SLOW_SIGMA_PX) ** 2)
    count = image.shape[1]
    kernel = (kernel / kernel.sum()).expand(count, 1, 1, -1)
    across = functional.conv2d(image, kernel, padding=(0, reach), groups=count)
    return functional.conv2d(across, kernel.mT, padding=(reach, 0), groups=count)


def _asked(
    view: DepthView,
    bands: Float[Tensor, "H W 8"],
    points: Float[Tensor, "N 3"],
    normals: Float[Tensor, "N 3"],
    caster: RayCaster,
) -> tuple[Float[Tensor, "N 6"], Float[Tensor, "N 1"]]:
    """Both bands that a view has for each texel, and how much it counts: 0 where it does not see it."""
    camera, center = view.camera, view.camera.centers_world[0]
    pixels, depth = seen_at(view, points)
    rays = points - center
    distance = rays.norm(dim=1)
    cosine = -(rays * normals).sum(1) / distance.clamp(min=1e-12)
    inside = ((pixels >= 0.5) & (pixels <= camera.size_px[0] - 0.5)).all(dim=1)
    asked = (inside & (depth > 1e-6) & (cosine > _LEAST_COSINE)).nonzero()[:, 0]
    found, weights = torch.zeros(len(points), 6), torch.zeros(len(points), 1)
    if len(asked) == 0:
        return found, weights
    hits = caster.hits(center.expand(len(asked), 3), rays[asked])
    shown = sampled(torch.cat([bands, view.depths], dim=-1), pixels[asked])
    near = (shown[:, 8] - depth[asked]).abs() < _DEPTH_ERROR * depth[asked]
    kept = (hits.distances > 1 - _BEFORE) & (shown[:, 7] > 0.99) & near
    asked, shown = asked[kept], shown[kept]
    found[asked] = shown[:, :6]
    per_length = camera.focal_px[0].mean() / distance[asked]  # pixels a unit of the surface, seen straight
    weights[asked, 0] = cosine[asked] * per_length * shown[:, 6]
    return found, weights


def seen_at(view: DepthView, points: Float[Tensor, "N 3"]) -> tuple[Float[Tensor, "N 2"], Float[Tensor, "N"]]:
    """Pixel and depth of points in a view; nothing of sense behind the camera."""
    camera, pose = view.camera, view.camera.camera_from_world[0]
    in_camera = points @ pose[:3, :3].T + pose[:3, 3]
    depth = in_camera[:, 2]
    return in_camera[:, :2] / depth.clamp(min=1e-6)[:, None] * camera.focal_px[0] + camera.principal_px[0], depth


def sampled(image: Float[Tensor, "H W C"], pixels: Float[Tensor, "N 2"]) -> Float[Tensor, "N C"]:
    """Between the four pixels around each place, in pixels from the upper left corner."""
    size = pixels.new_tensor([image.shape[1], image.shape[0]])
    grid = (2 * pixels / size - 1)[None, None]
    found = functional.grid_sample(
        image.permute(2, 0, 1)[None], grid, mode="bilinear", padding_mode="border", align_corners=False
    )
    return found[0, :, 0].T
