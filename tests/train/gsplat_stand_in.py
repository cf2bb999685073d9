"""`gsplat.rasterization` on the CPU: its signature, its conventions and thresholds, in plain torch.

What lies before blending is either our twins behind gsplat's arguments or, where gsplat is installed, the reference
that gsplat tests its own kernels with. Blending is written out after gsplat's kernel.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from types import ModuleType
from unittest.mock import patch

import torch
from torch import Tensor

from neural3d.reference.project import project
from neural3d.reference.sh import sh_colors

ALPHA_MAX, ALPHA_MIN, TRANSMITTANCE_MIN, SIGMAS = 0.999, 1 / 255, 1e-4, 3.33


@dataclass(frozen=True)
class Front:
    """One view before blending."""

    means2d: Tensor
    conics: Tensor
    depths: Tensor
    radii: Tensor
    compensations: Tensor
    colors: Tensor


Given = dict[str, Tensor | int | float | str | None]


def front_of_twins(given: Given) -> Front:
    """Our reference twins, given what gsplat is given."""
    pose, lens = given["viewmats"][0], given["Ks"][0]
    seen = project(
        given["means"],
        given["quats"],
        given["scales"].log(),
        given["opacities"].logit(),
        pose,
        lens[[0, 1], [0, 1]],
        lens[:2, 2],
        width=given["width"],
        height=given["height"],
        near=given["near_plane"],
        blur_px2=given["eps2d"],
        antialiased=given["rasterize_mode"] == "antialiased",
    )
    center = -pose[:3, :3].T @ pose[:3, 3]
    colors = sh_colors(given["means"], given["colors"], center, given["sh_degree"], seen.extents_px)
    ratio = torch.where(seen.opacities > 0, seen.opacities / given["opacities"], 0)
    return Front(seen.means_px, seen.conics, seen.depths, seen.extents_px.ceil().int(), ratio, colors)


def front_of_gsplat(given: Given) -> Front:
    """The reference in gsplat's own package; needs no GPU."""
    reference = import_module("gsplat.cuda._torch_impl")
    covariances, _ = reference._quat_scale_to_covar_preci(given["quats"], given["scales"], compute_preci=False)
    names = ("width", "height", "eps2d", "near_plane", "far_plane")
    radii, means2d, depths, conics, compensations = reference._fully_fused_projection(
        given["means"],
        covariances,
        given["viewmats"],
        given["Ks"],
        **{name: given[name] for name in names},
        calc_compensations=given["rasterize_mode"] == "antialiased",
    )
    directions = given["means"] - torch.inverse(given["viewmats"])[0, :3, 3]
    colors = reference._spherical_harmonics(given["sh_degree"], directions, given["colors"]) + 0.5
    ratio = torch.ones_like(depths) if compensations is None else compensations
    return Front(means2d[0], conics[0], depths[0], radii[0], ratio[0], colors.clamp_min(0))


@contextmanager
def gsplat_replaced(front: Callable[[Given], Front]) -> Iterator[list[Given]]:
    """While it lasts, `import gsplat` finds a module with this `rasterization`; yields what it was called with."""
    calls: list[Given] = []

    def rasterization(
        means: Tensor,
        quats: Tensor,
        scales: Tensor,
        opacities: Tensor,
        colors: Tensor,
        viewmats: Tensor,
        Ks: Tensor,
        width: int,
        height: int,
        near_plane: float = 0.01,
        far_plane: float = 1e10,
        radius_clip: float = 0.0,
        eps2d: float = 0.3,
        sh_degree: int | None = None,
        packed: bool = True,
        tile_size: int = 16,
        backgrounds: Tensor | None = None,
        render_mode: str = "RGB",
        sparse_grad: bool = False,
        absgrad: bool = False,
        rasterize_mode: str = "classic",
    ) -> tuple[Tensor, Tensor, dict[str, Tensor | int]]:
        given = dict(locals())
        calls.append({name: value for name, value in given.items() if name not in ("calls", "front")})
        assert not packed and viewmats.shape == (1, 4, 4) and Ks.shape == (1, 3, 3) and backgrounds.shape == (1, 3)
        seen = front(calls[-1])
        means2d = seen.means2d[None] * 1.0  # of the graph, so that it can be asked for its gradient
        image, alphas = _blended(seen, means2d[0], opacities * seen.compensations, width, height)
        image = image + (1 - alphas) * backgrounds[0]
        about = {"means2d": means2d, "radii": seen.radii[None], "width": width, "height": height, "n_cameras": 1}
        return image[None], alphas[None], about | {"gaussian_ids": None}

    if front is front_of_gsplat:
        import_module("gsplat.cuda._torch_impl")  # while the name still means the real one
    module = ModuleType("gsplat")
    module.rasterization = rasterization
    with patch.dict("sys.modules", {"gsplat": module}):
        yield calls


def _blended(seen: Front, means2d: Tensor, opacities: Tensor, width: int, height: int) -> tuple[Tensor, Tensor]:
    """Front to back, as in gsplat's RasterizeToPixels3DGSFwd.cu, but for its tiles."""
    listed = (seen.radii > 0).all(dim=1).nonzero()[:, 0]
    listed = listed[seen.depths[listed].argsort(stable=True)]
    y, x = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij")
    dx, dy = (means2d[listed, axis, None, None] - pixels for axis, pixels in enumerate((x, y)))
    a, b, c = seen.conics[listed, :, None, None].unbind(1)
    falloff = torch.exp(-0.5 * (a * dx * dx + c * dy * dy) - b * dx * dy)
    alphas = (opacities[listed, None, None] * falloff).clamp(max=ALPHA_MAX)
    alphas = torch.where(alphas >= ALPHA_MIN, alphas, 0)
    behind = (1 - alphas).cumprod(dim=0)
    alphas = torch.where(behind > TRANSMITTANCE_MIN, alphas, 0)  # who makes a pixel opaque is left out
    in_front = torch.cat([torch.ones_like(behind[:1]), behind[:-1]])
    image = torch.einsum("nhw,nc->hwc", alphas * in_front, seen.colors[listed])
    return image, 1 - (1 - alphas).prod(dim=0)[..., None]
