"""Which object each Gaussian belongs to, found from masks of the photos."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Float64, Int64
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


def objects_in_views(gaussians: Gaussians, cameras: Cameras, names: tuple[str, ...], shares: Shares) -> Objects:
    """Ask every view that has masks how much of what it sees of each Gaussian lies in which.

    A Gaussian belongs to the object whose masks hold most of its blending weights, if these are more than that
    share of them; one that no view with masks sees belongs to none.

    Limits: a Gaussian is one thing: where one spans two objects, its larger part decides.
    """
    votes, seen = votes_in_views(gaussians, cameras, len(names), shares)
    most, which = votes.max(1)
    return Objects(names, torch.where(most > _MOST * seen, which, NONE))


def votes_in_views(
    gaussians: Gaussians, cameras: Cameras, count: int, shares: Shares
) -> tuple[Float64[Tensor, "N D"], Float64[Tensor, "N"]]:
    """How much of each Gaussian each of so many objects covers, and how much of it is seen at all.

    Both in pixels, over all views that have masks.
    """
    gaussians = gaussians.detach().to("cpu")
    votes = torch.zeros(len(gaussians), count + 1, dtype=torch.float64)
    for index in range(len(cameras)):
        found = shares(index)
        if found is not None:
            covered, known = found
            planes = torch.cat([covered, torch.ones_like(covered[:1])]) * known
            votes += weights_over(gaussians, cameras, index, planes).double()
    return votes[:, :-1], votes[:, -1]
