"""Where a field in a hash grid lies, from a capture's alpha, points and cameras."""

import math
from dataclasses import replace

import torch

from neural3d.fields.hashgrid import FINEST_STEP, HashGridPlace
from neural3d.fields.space import Shell
from neural3d.scene import Scene
from neural3d.train.field_space import field_space, seen_distances
from neural3d.train.visual_hull import tight_place

INNER_PART = 0.9
"""Of the points, by distance from their middle, lie in the part of space that is not contracted."""
FAR_TIMES = 20.0
"""Rays end so many times as far away as the farthest point."""


def hashgrid_place(scene: Scene, *, margin: float = 0.0) -> HashGridPlace:
    """A box around an object on a transparent ground, else all of space, contracted around most of the points.

    Steps through a box are no shorter than what a pixel of the photos covers at its centre. The box has a margin on all
    sides, a share of its own.

    Raises:
        InputError: The photos' alpha leaves nothing.
    """
    space, cameras = field_space(scene, ndc=False), scene.cameras[scene.train_indices]
    if isinstance(space, Shell):
        return _open_place(scene, space)
    pixel = float((1 / cameras.focal_px).amax(dim=1).median())
    place = tight_place(scene, HashGridPlace(space.center, space.radius))
    place = replace(place, half=(1 + 2 * margin) * place.half)
    distance = float((cameras.centers_world - torch.tensor(place.center)).norm(dim=1).median())
    return replace(place, step=max(FINEST_STEP, pixel * distance / place.half))


def _open_place(scene: Scene, space: Shell) -> HashGridPlace:
    """Around the points' median, as half of them are mistakes at most; without points around the middle distances."""
    knee, near, far = math.sqrt(space.near * space.far), space.near / 2, FAR_TIMES * space.far
    distances = seen_distances(scene)
    if scene.points is None or distances is None:
        return HashGridPlace(space.center, space.radius - space.far + knee, True, near, far, knee)
    points = scene.points.means_world.float()
    middle = points.median(dim=0).values
    reach = (points - middle).norm(dim=1).sort().values[int(INNER_PART * (len(points) - 1))]
    x, y, z = middle.tolist()
    knee = min(max(float(distances.median()), 1.01 * near), 0.99 * far)
    half = max(float(reach), near)
    return HashGridPlace((x, y, z), half, True, near, far, knee)
