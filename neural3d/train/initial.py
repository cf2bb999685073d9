"""Where the first Gaussians stand: on the capture's points, or spread over what the cameras see in common."""

import math
import warnings

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from neural3d.errors import InputError
from neural3d.ops.neighbors import neighbor_distances
from neural3d.scene import Scene
from neural3d.splats.gaussians import SH_C0, Gaussians
from neural3d.train.random_numbers import Purpose, generator

INITIAL_OPACITY = 0.3
LARGEST_GAP = 0.2
"""Of the scene's extent; also what a Gaussian without neighbours gets."""
FARTHEST = 10.0
"""Extents that a camera may lie off the middle one."""
FEWEST_POINTS = 10
"""That a capture must have: fewer do not say where its scene lies."""
CANDIDATES, ROUNDS = 100_000, 8
"""Random points tried in the cameras' common view, and how often more are tried."""
EMPTY_SHARE = 0.02
"""Of the photos that may show nothing at a point of the visual hull: poses and edges are never exact."""


def initial_gaussians(scene: Scene, *, max_gaussians: int, sh_degree: int, antialiased: bool, seed: int) -> Gaussians:
    """Round Gaussians as large as the gaps between them, in the colours of the points or of the photos.

    Warns where the capture has points, but too few to start from.

    Raises:
        InputError: No camera sees anything near the cameras, and the capture has (nearly) no points.
    """
    means, colors = _first_points(scene, max_gaussians, seed)
    n = len(means)
    gaps = neighbor_distances(means, 3) if n > 1 else torch.full((n,), math.inf)
    gaps = gaps.clamp(min=1e-6 * scene.extent, max=LARGEST_GAP * scene.extent)
    return round_gaussians(means, colors, gaps, sh_degree=sh_degree, antialiased=antialiased)


def round_gaussians(
    means: Float[Tensor, "P 3"],
    colors: Float[Tensor, "P 3"],
    sizes: Float[Tensor, "P"],
    *,
    sh_degree: int,
    antialiased: bool,
) -> Gaussians:
    """Gaussians of one colour from all sides, rather transparent."""
    n = len(means)
    sh = torch.zeros(n, (sh_degree + 1) ** 2, 3)
    sh[:, 0] = (colors - 0.5) / SH_C0
    return Gaussians(
        means_world=means,
        log_scales=sizes.log()[:, None].repeat(1, 3),
        quats_wxyz=torch.tensor([1.0, 0.0, 0.0, 0.0]).repeat(n, 1),
        logit_opacities=torch.full((n,), math.log(INITIAL_OPACITY / (1 - INITIAL_OPACITY))),
        sh=sh,
        antialiased=antialiased,
    )


def require_start(scene: Scene, *, seed: int) -> None:
    """Find out at little cost whether `initial_gaussians` will find where to begin.

    Raises:
        InputError: It will not, or there is no photo to train on.
    """
    if len(scene.train_indices) == 0:
        raise InputError("the capture has no training photos; give it some, or hold out fewer")
    if scene.points is None or len(scene.points.means_world) < FEWEST_POINTS:
        _first_found(scene, generator(seed, Purpose.INITIAL))


def _first_points(scene: Scene, max_gaussians: int, seed: int) -> tuple[Float[Tensor, "P 3"], Float[Tensor, "P 3"]]:
    """Places and colours: of the capture's points, or random."""
    given = 0 if scene.points is None else len(scene.points.means_world)
    if given >= FEWEST_POINTS:
        keep = _spread_choice(given, max_gaussians, generator(seed, Purpose.INITIAL))
        return scene.points.means_world.float()[keep].contiguous(), scene.points.colors[keep].float() / 255
    if given > 0:
        warnings.warn(f"the capture has only {given} points; training starts from random ones instead", stacklevel=2)
    return random_points(scene, min(max_gaussians, 10_000 if scene.has_alpha else 30_000), seed)


def random_points(scene: Scene, count: int, seed: int) -> tuple[Float[Tensor, "P 3"], Float[Tensor, "P 3"]]:
    """Points in the view that the cameras share, and the mean colour that the photos show there.

    For captures with alpha only points that no photo shows as empty stay: the visual hull.

    Raises:
        InputError: No camera sees anything near the cameras.
    """
    random = generator(seed, Purpose.INITIAL)
    points, colors = _first_found(scene, random)
    # A thin object fills little of the cube: look again where something was found.
    margin = 0.02 * scene.extent
    low, high = points.amin(dim=0) - margin, points.amax(dim=0) + margin
    for _ in range(ROUNDS):
        if len(points) >= count:
            break
        more_points, more_colors = _shared_points(scene, low, high, random, carve=scene.has_alpha)
        points, colors = torch.cat([points, more_points]), torch.cat([colors, more_colors])
    kept = _spread_choice(len(points), count, random)
    return points[kept].contiguous(), colors[kept]


def _first_found(scene: Scene, random: np.random.Generator) -> tuple[Float[Tensor, "P 3"], Float[Tensor, "P 3"]]:
    """Points where the cameras look; where that is nowhere (they look outwards), points around them.

    Raises:
        InputError: No camera sees any.
    """
    middle = scene.cameras[scene.train_indices].centers_world.median(dim=0).values.float()
    # An object can be too thin for the first candidates to hit its hull.
    carved, whole, around = (*look_at(scene), True), (*look_at(scene), False), (middle, 4 * scene.extent, False)
    for center, radius, carve in (carved, whole, around) if scene.has_alpha else (whole, around):
        points, colors = _shared_points(scene, center - radius, center + radius, random, carve=carve)
        if len(points) > 0:
            return points, colors
    raise InputError("no camera sees anything near the cameras and there are no points; check the poses or add points")


def _shared_points(
    scene: Scene, low: Float[Tensor, "3"], high: Float[Tensor, "3"], random: np.random.Generator, *, carve: bool
) -> tuple[Float[Tensor, "P 3"], Float[Tensor, "P 3"]]:
    """Those of CANDIDATES random points in a box that half of the photos see; to carve leaves out what is empty."""
    points = low + (high - low) * torch.from_numpy(random.random((CANDIDATES, 3), dtype=np.float32))
    views = len(scene.train_indices)
    seen, empty, colors = torch.zeros(len(points)), torch.zeros(len(points)), torch.zeros(len(points), 3)
    for i in scene.train_indices.tolist():
        rows, pixels = _pixels_of(points, scene, i)
        photo, (x, y) = scene.photos[i], pixels.unbind(1)
        seen[rows] += 1
        colors[rows] += photo.pixels[y, x].float() / 255
        if carve and photo.alpha is not None:
            empty[rows] += (photo.alpha[y, x] < 8).float()
            # Most of the box is empty, and the first few photos say so.
            kept = empty <= EMPTY_SHARE * views
            points, seen, empty, colors = points[kept], seen[kept], empty[kept], colors[kept]
    shared = seen >= max(1.0, 0.5 * min(views, float(seen.max()) if len(seen) else 1.0))
    return points[shared], colors[shared] / seen[shared][:, None]


def _spread_choice(count: int, wanted: int, random: np.random.Generator) -> Tensor:
    if count <= wanted:
        return torch.arange(count)
    return torch.from_numpy(np.sort(random.choice(count, wanted, replace=False)))


def look_at(scene: Scene) -> tuple[Float[Tensor, "3"], float]:
    """The point nearest to all optical axes, and the half side of the cube around it to fill."""
    cameras = scene.cameras[scene.train_indices]
    # A pose gone wrong, far away, would pull the point along.
    off_middle = (cameras.centers_world - cameras.centers_world.median(dim=0).values).norm(dim=1)
    cameras = cameras[(off_middle <= FARTHEST * scene.extent).nonzero()[:, 0]]
    centers, axes = cameras.centers_world.double(), cameras.forward_world.double()
    project_out = torch.eye(3, dtype=torch.float64) - axes[:, :, None] * axes[:, None, :]
    # Parallel axes have no nearest point; a small pull towards one extent ahead of the cameras decides then.
    ahead = (centers + scene.extent * axes).mean(dim=0)
    weight = 1e-3 * len(cameras)
    system = project_out.sum(dim=0) + weight * torch.eye(3, dtype=torch.float64)
    center = torch.linalg.solve(system, (project_out @ centers[:, :, None]).sum(dim=0)[:, 0] + weight * ahead)
    distance = (centers - center).norm(dim=1).median()
    half_view = (cameras.size_px / (2 * cameras.focal_px)).amax(dim=1).median()
    return center.float(), float(distance * min(1.0, 1.2 * half_view))


def _pixels_of(points: Float[Tensor, "P 3"], scene: Scene, index: int) -> tuple[Int[Tensor, "M"], Int[Tensor, "M 2"]]:
    """Which points a photo sees, and at which pixels (x, y)."""
    camera, (height, width) = scene.cameras[index], scene.photos[index].pixels.shape[:2]
    camera_from_world = camera.camera_from_world[0].float()
    in_camera = points @ camera_from_world[:3, :3].T + camera_from_world[:3, 3]
    image = camera.focal_px[0] * in_camera[:, :2] / in_camera[:, 2:].clamp(min=1e-3) + camera.principal_px[0]
    limit = torch.tensor([width, height])
    inside = (in_camera[:, 2] > 1e-3) & (image >= 0).all(dim=1) & (image < limit).all(dim=1)
    rows = inside.nonzero()[:, 0]
    return rows, image[rows].long()
