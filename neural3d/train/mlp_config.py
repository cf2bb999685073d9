"""What can be chosen about training the paper's network; every schedule is a fraction of the run."""

from dataclasses import dataclass
from typing import Literal

from neural3d.fields.mlp_shape import MlpShape
from neural3d.train.limits import OF_FIELDS, check_fields, number, one_of, switch, whole


@dataclass(frozen=True)
class MlpConfig:
    """How a field of fully connected networks is trained: the paper's networks, for minutes on a CPU by default.

    Source: Mildenhall et al. 2020, section 5.3; `PAPERS_MLP` has all of its numbers.
    """

    steps: int = 200_000
    """Total steps of the run; fixes every schedule."""
    max_seconds: float | None = 300.0
    """Total training time; None for none. A run that time ends promises no particular bytes."""
    seed: int = 0
    background: Literal["auto", "white", "black", "random"] = "auto"
    """Behind the field while training; auto is random for captures with alpha, else black."""
    rays: int = 1024
    """A step looks along, drawn from all photos."""
    coarse_samples: int = 64
    """On each ray, evenly."""
    fine_samples: int = 16
    """More on each ray, where the coarse network saw something; 0 for no second network."""
    depth: int = 8
    width: int = 256
    skip: int = 5
    """Layers after which the place comes in once more."""
    position_frequencies: int = 10
    direction_frequencies: int = 4
    """0: colour does not depend on the direction."""
    ndc: bool = False
    """Normalised device coordinates, for captures whose cameras all face one way."""
    occupancy_cells: int = 128
    """Along each axis of the grid that says where photos with alpha let something be: only there the networks are
    asked; 0 for everywhere, as in the paper."""
    density_noise: float = 0.0
    """Standard deviation of what is added to densities before their ReLU in training; the paper's 1 for real scenes."""
    central_until: float = 0.02
    """Fraction of the run in which only the middle of each photo is looked at, so that densities do not all die."""
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """Of products; auto: bfloat16 where the processor multiplies it faster. Sums and weights are float32."""
    rate_start: float = 1e-3
    rate_end: float = 1e-4
    """Adam's step size, with a logarithmic decay in between."""
    checkpoint_seconds: float = 60.0
    """Between two checkpoints."""

    def __post_init__(self) -> None:
        """Refuse what cannot be trained.

        Raises:
            InputError: Names the field.
        """
        limits = {
            **OF_FIELDS,
            "rays": whole(1, 2**20),
            "coarse_samples": whole(3, 4096),
            "fine_samples": whole(0, 4096),
            "depth": whole(1, 64),
            "width": whole(2, 4096),
            "skip": whole(1),
            "position_frequencies": whole(1, 24),
            "direction_frequencies": whole(0, 24),
            "ndc": switch(),
            "occupancy_cells": whole(0, 512),
            "density_noise": number(0),
            "central_until": number(0, 1),
            "precision": one_of("auto", "float32", "bfloat16"),
        }
        check_fields(self, limits)

    @property
    def shape(self) -> MlpShape:
        """Of each network."""
        return MlpShape(self.depth, self.width, self.skip, self.position_frequencies, self.direction_frequencies)


PAPERS_MLP = MlpConfig(fine_samples=128, occupancy_cells=0, rate_start=5e-4, rate_end=5e-5)
"""As the paper has it, for days of training."""
TINY_MLP = MlpConfig(
    fine_samples=0,
    depth=4,
    width=128,
    skip=4,
    position_frequencies=6,
    direction_frequencies=0,
    occupancy_cells=64,
    rate_start=2e-3,
    rate_end=2e-4,
)
"""tiny NeRF for a CPU: one small network, 64 samples, a recognisable new view within two minutes."""
