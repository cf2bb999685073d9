"""What can be chosen about training a hash grid; every schedule is a fraction of the run."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from neural3d.fields.hashgrid import HashGridShape
from neural3d.ops.records import HashLevels
from neural3d.train.limits import OF_MARCHED_FIELDS, above, check_fields, number, one_of, switch, whole


@dataclass(frozen=True)
class HashGridConfig:
    """How a field in a hash grid is trained.

    Source: Mueller et al. 2022, section 4, 5.4 and appendix E; fewer and wider levels than theirs, as a CPU takes the
    time of a row for each corner, however wide the row.
    """

    steps: int = 30_000
    """Total steps of the run; fixes every schedule."""
    max_seconds: float | None = 300.0
    """Total training time; None for none. A run that time ends promises no particular bytes."""
    seed: int = 0
    background: Literal["auto", "white", "black", "random"] = "auto"
    """Behind the field while training; auto is random for captures with alpha, else black."""
    samples: int = 1 << 17
    """A step looks at about so many places, on as many rays as that takes, where photos have alpha."""
    most_rays: int = 8192
    """Of such a step."""
    levels: int = 8
    log2_features: int = 2
    """Of a row of the table: 0 to 3 for 1, 2, 4 or 8."""
    log2_rows: int = 17
    """Of the table, for each level at most."""
    coarsest: int = 16
    """Cells along each axis in the first level."""
    finest: int = 1024
    """Cells along each axis in the last level."""
    width: int = 64
    """Units of a hidden layer."""
    appearance: int = 0
    """Numbers that are learnt for each photo, for what changes between them."""
    occupancy_cells: int = 128
    """Along each axis of the grid that says where something is."""
    open_rays: int = 2048
    """Of a step, where photos have no alpha."""
    proposals: int = 64
    """Intervals of a ray for which there is a guess of what is there, where photos have no alpha."""
    ray_samples: int = 32
    """Places along a ray that are looked at after that."""
    distortion: float | None = None
    """Weight of the distortion loss, which draws a ray's light together; None for 0.01 where photos have no alpha, and
    0 where they have. Of Barron et al. 2022."""
    exposure: Literal["none", "affine"] = "affine"
    """How each photo's colours may differ from the scene's, where photos have no alpha."""
    refine_cameras: bool = False
    """Learn small corrections of the training photos' poses and focal lengths with the field."""
    exposure_rate: float = 1e-3
    """Adam's step size for that at first; it decays as the others do."""
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
            "levels": whole(1, 32),
            "log2_features": whole(0, 3),
            "log2_rows": whole(1, 24),
            "coarsest": whole(1, 2**20),
            "finest": whole(self.coarsest, 2**20),
            "appearance": whole(0, 64),
            "open_rays": whole(1, 2**20),
            "proposals": whole(2, 1024),
            "ray_samples": whole(2, 1024),
            "distortion": number(0).or_none(),
            "exposure": one_of("none", "affine"),
            "exposure_rate": above(0),
            "refine_cameras": switch(),
        }
        check_fields(self, limits)

    @property
    def shape(self) -> HashGridShape:
        """Of what is learnt."""
        levels = HashLevels(self.levels, self.coarsest, self.finest, self.log2_rows)
        return HashGridShape(levels, 1 << self.log2_features, self.width, self.appearance)


HASHGRID_PRESETS: Mapping[str, HashGridConfig] = {
    "fast": HashGridConfig(max_seconds=60.0, log2_rows=15, finest=512),
    "default": HashGridConfig(),
    "best": HashGridConfig(max_seconds=600.0, log2_rows=18, finest=2048),
}
"""By the names that --preset knows."""
