"""Which object each Gaussian belongs to, found from masks of the photos."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from neural3d.cameras import Cameras
from neural3d.render.contributions import weights_over
from neural3d.splats.gaussians import Gaussians

NONE = -1
"""Of no object."""
_MOST = 0.5
"""Of what photos see of a Gaussian must lie in an object's masks for it to be the object's."""

Shares = Callable[[int], tuple[Float[Tensor, "D H W"], Bool[Tensor, "H W"]] | None]
"""Of a view: how much of each pixel each object covers, and which pixels are known; None where nothing is."""


@dataclass(frozen=True)
class Objects:
    """D objects by name, and the one that each of N Gaussians belongs to."""

    names: tuple[str, ...]
    object_from_gaussian: Int64[Tensor, "N"]
    """`NONE` for those of no object."""

    def memberships(self) -> Float[Tensor, "N D"]:
        """1 where a Gaussian belongs to an object, else 0."""
        return (self.object_from_gaussian[:, None] == torch.arange(len(self.names))).float()

    def digest(self) -> str:
        """What tells one partition from another."""
        return hashlib.blake2b(self.object_from_gaussian.numpy().tobytes(), digest_size=16).hexdigest()


def objects_in_views(
    gaussians: Gaussians, cameras: Cameras, names: tuple[str, ...], shares: Shares, *, least: float = _MOST
) -> Objects:
    """Ask every view that has masks how much of what it sees of each Gaussian lies in which.

    A Gaussian belongs to the object whose masks hold most of its blending weights, if these are more than that
    share of them; one that no view with masks sees belongs to none.

    Limits: a Gaussian is one thing: where one spans two objects, its larger part decides.
    """
    gaussians = gaussians.detach().to("cpu")
    votes = torch.zeros(len(gaussians), len(names) + 1, dtype=torch.float64)
    for index in range(len(cameras)):
        found = shares(index)
        if found is not None:
            covered, known = found
            planes = torch.cat([covered, torch.ones_like(covered[:1])]) * known
            votes += weights_over(gaussians, cameras, index, planes).double()
    most, which = votes[:, :-1].max(1)
    return Objects(names, torch.where(most > least * votes[:, -1], which, NONE))
