"""What can be chosen about training neural points; every schedule is a fraction of the run."""

from dataclasses import dataclass
from typing import Literal

from neural3d.fields.points import PointsShape
from neural3d.ops.blend_points import WIDTHS
from neural3d.ops.nearest_points import MOST_NEIGHBORS
from neural3d.train.limits import OF_MARCHED_FIELDS, Limit, above, check_fields, number, one_of, whole


@dataclass(frozen=True)
class PointsConfig:
    """How a field of neural points is trained.

    Source: Xu et al. 2022, section 3 and 4; smaller networks than theirs, without weights that were trained before.
    """

    steps: int = 30_000
    """Total steps of the run; fixes every schedule."""
    max_seconds: float | None = 300.0
    """Total training time; None for none. A run that time ends promises no particular bytes."""
    seed: int = 0
    background: Literal["auto", "white", "black", "random"] = "auto"
    """Behind the field while training; auto is random for captures with alpha, else black."""
    points_from: Literal["auto", "capture", "splats"] = "auto"
    """Where the first points lie: on the capture's, or on surfaces that splats show; auto: the capture's if they are so
    many that surfaces look closed, `max_points` or more."""
    splat_share: float = 0.1
    """Of the training time that fitting these splats takes; it counts."""
    splat_steps: int = 1500
    """The same in steps, no more than the field takes; whichever comes first ends it."""
    max_points: int = 100_000
    samples: int = 1 << 17
    """A step looks at about so many places, on as many rays as that takes."""
    most_rays: int = 8192
    """Of a step."""
    features: int = 32
    """Of a point: 16, 32 or 64."""
    width: int = 64
    """Units of a hidden layer."""
    neighbors: int = 8
    """That are blended at a place, at most; the paper's."""
    reach: float = 2.5
    """How far a point is seen, in distances between neighbouring points."""
    occupancy_cells: int = 128
    """Along each axis of the grid that says where something is."""
    change_steps: int = 500
    """From one look at which points are to come and go to the next."""
    change_from: float = 0.02
    change_until: float = 0.7
    """Fractions of the run between which points come and go."""
    prune_below: float = 0.1
    """Points that are less sure go; the paper's."""
    grow_opacity: float = 0.3
    """A ray's most opaque sample becomes a point if it is more opaque than this."""
    grow_distance: float = 0.6
    """And farther from all points than so many radii."""
    certainty: float = 2e-3
    """Weight of the loss that draws confidences to 0 and 1; the paper's."""
    rate_start: float = 1e-2
    rate_end: float = 3e-4
    """Adam's step size, with a logarithmic decay in between."""
    checkpoint_seconds: float = 60.0
    """Between two checkpoints."""

    def __post_init__(self) -> None:
        """Refuse what cannot be trained.

        Raises:
            InputError: Names the field.
        """
        limits = {
            **OF_MARCHED_FIELDS,
            "points_from": one_of("auto", "capture", "splats"),
            "splat_share": above(0, 0.9),
            "splat_steps": whole(1),
            "max_points": whole(10, 2**24),
            "features": Limit("16, 32 or 64", lambda value: value in WIDTHS and not isinstance(value, bool)),
            "neighbors": whole(1, MOST_NEIGHBORS),
            "reach": above(0, 100),
            "change_steps": whole(1),
            "change_from": number(0, 1),
            "change_until": number(0, 1),
            "prune_below": number(0, 1),
            "grow_opacity": number(0, 0.99),
            "grow_distance": number(0, 1),
            "certainty": number(0),
        }
        check_fields(self, limits)

    @property
    def shape(self) -> PointsShape:
        """Of what is learnt."""
        return PointsShape(self.features, self.width, self.neighbors)
