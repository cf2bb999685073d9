"""The surface of a model, closed where no camera looked."""

from collections.abc import Callable

from neural3d.cameras import Cameras
from neural3d.render.model import Model
from neural3d.surface.cleaning import decimated, without_scraps
from neural3d.surface.closing import closed
from neural3d.surface.depth_views import at_most, seen_by
from neural3d.surface.fusion import Fusion, fuse
from neural3d.surface.mesh import Mesh

_LONGEST_PX, _CARVED_PX = 800, 320


def whole_surface(
    model: Model,
    cameras: Cameras,
    *,
    triangles: int,
    reach: float,
    least_share: float = 0.005,
    progress: Callable[[int, int], None] | None = None,
) -> Mesh:
    """What the cameras' views agree on, in at most so many triangles.

    Where no camera looked it goes on for at most `reach` times its own size; with 0 it is left open there.
    Parts that hang together and have less than `least_share` of the largest one's triangles are left out.

    Raises: InputError where open3d is not installed, or where no surface is found.
    """
    small = at_most(cameras, _LONGEST_PX)
    mesh = without_scraps(fuse(model, small, Fusion(), progress=progress), least_share=least_share)
    if reach == 0:
        return decimated(mesh, triangles)
    coarse = at_most(small, _CARVED_PX)
    return closed(mesh, (seen_by(model, coarse[i]) for i in range(len(coarse))), triangles=triangles, reach=reach)
