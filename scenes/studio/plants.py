"""What grows: the branch of plum blossom in its vase, the succulent in its pot, the stems of the oranges."""

import numpy as np
from jaxtyping import Float

from studio.materials import Surface
from studio.placing import Place, add, turned
from studio.shapes import facing, join, leaf, pointing, sphere, spline, tube

GOLDEN_ANGLE = np.pi * (3 - np.sqrt(5))

# fmt: off
BOTTLE = (
    (0.09, 0.0), (0.09, 0.0), (0.115, 0.02), (0.17, 0.10), (0.19, 0.19), (0.16, 0.29), (0.09, 0.37), (0.052, 0.45),
    (0.045, 0.54), (0.058, 0.60), (0.07, 0.615), (0.066, 0.62), (0.05, 0.60), (0.038, 0.54), (0.036, 0.45),
)
"""Profile of the vase, from its foot over the lip into the neck: (radius, height)."""
POT = (
    (0.10, 0.0), (0.10, 0.0), (0.125, 0.02), (0.16, 0.09), (0.175, 0.16), (0.182, 0.165), (0.186, 0.18),
    (0.182, 0.20), (0.168, 0.20), (0.160, 0.17), (0.15, 0.15),
)
"""Profile of the succulent's pot."""
FLESH = (
    (0.0, (0.70, 0.80, 0.52)), (0.45, (0.38, 0.60, 0.40)), (0.84, (0.45, 0.64, 0.46)), (0.95, (0.80, 0.30, 0.38)),
    (1.0, (0.62, 0.12, 0.22)),
)
"""A leaf's colours from root to tip."""
LIMBS = (
    (0.026, ((0.0, 0.0, 0.35), (0.0, 0.0, 0.60), (0.05, -0.03, 0.80), (0.16, -0.02, 0.93), (0.24, -0.10, 1.10),
             (0.42, -0.16, 1.20), (0.58, -0.27, 1.24))),
    (0.018, ((0.05, -0.03, 0.80), (-0.03, 0.02, 0.92), (-0.06, 0.10, 1.05), (-0.14, 0.12, 1.19), (-0.16, 0.18, 1.30))),
    (0.014, ((0.24, -0.10, 1.10), (0.24, -0.04, 1.22), (0.30, 0.04, 1.33), (0.31, 0.07, 1.42))),
    (0.014, ((0.16, -0.02, 0.93), (0.30, 0.06, 0.97), (0.40, 0.14, 1.05), (0.52, 0.18, 1.06))),
    (0.011, ((-0.06, 0.10, 1.05), (-0.15, 0.03, 1.06), (-0.25, -0.02, 1.12), (-0.30, -0.08, 1.12))),
    (0.010, ((0.42, -0.16, 1.20), (0.46, -0.11, 1.28), (0.55, -0.09, 1.34))),
)
"""The branch, limb by limb: its radius at the start, and where it passes, from the middle of the vase's foot."""
# fmt: on


def vase_with_branch(at: Place, rng: np.random.Generator) -> None:
    """A bottle vase in ox-blood glaze with a branch of plum blossom."""
    glaze = Surface("ox-blood", roughness=0.35).coat(1.0, 0.05)
    glaze.speckle(
        [(0.3, (0.30, 0.03, 0.03)), (0.5, (0.55, 0.07, 0.05)), (0.72, (0.70, 0.22, 0.12))], (7, 7, 2.2), 7.0, 0.5
    )
    body = turned(*BOTTLE)
    add("vase", body.moved(at), glaze.material)
    bark = Surface("bark", roughness=0.8).dimples(55, 0.004, 5.0)
    bark.speckle([(0.35, (0.13, 0.09, 0.07)), (0.65, (0.34, 0.25, 0.19))], (30, 30, 12))
    limbs = [(path * 0.84 + [0, 0, 0.09], radii) for path, radii in _limbs()]
    add("branch", join([tube(path, radii, sides=12) for path, radii in limbs]).moved(at), bark.material)
    _blossoms(at, limbs, rng)


def _limbs() -> list[tuple[Float[np.ndarray, "S 3"], Float[np.ndarray, "S"]]]:
    """The branch as paths and radii, from the middle of the vase's foot."""
    paths = [(spline(k, 10), width) for width, k in LIMBS]
    return [(path, width * np.linspace(1, 0.32, len(path))) for path, width in paths]


def _blossoms(at: Place, limbs: list, rng: np.random.Generator) -> None:
    """Open flowers and buds along the outer parts of the limbs."""
    petal = Surface("petal", roughness=0.6).sheen(0.3)
    petal.along(
        [(0.0, (0.72, 0.10, 0.25)), (0.28, (0.95, 0.55, 0.65)), (0.8, (0.99, 0.86, 0.88)), (1.0, (0.97, 0.75, 0.80))]
    )
    pollen = Surface("pollen", (0.95, 0.72, 0.16), roughness=0.6).material
    bud = Surface("bud", roughness=0.5).along(
        [(0.0, (0.25, 0.12, 0.10)), (0.45, (0.70, 0.20, 0.33)), (1.0, (0.97, 0.72, 0.78))]
    )
    petals, hearts, buds = [], [], []
    for limb, (path, radii) in enumerate(limbs):
        first = 0.58 if limb == 0 else 0.30
        for place in np.linspace(first, 1.0, 8 if limb == 0 else 5 if limb < 4 else 4):
            index = min(int(place * (len(path) - 1)), len(path) - 1)
            tangent = path[index] - path[index - 1]
            outward = rng.normal(size=3) * [1, 1, 0.6] + [0, 0, 0.35]
            outward -= 0.8 * tangent * (outward @ tangent) / (tangent @ tangent)
            turn = facing(outward)
            if rng.random() < 0.26:
                buds.append(sphere(0.022, 1.3).placed(turn, path[index] + turn[:, 2] * (radii[index] + 0.02)))
            else:
                _flower(
                    path[index] + turn[:, 2] * (radii[index] + 0.004), turn, rng.uniform(0.062, 0.084), petals, hearts
                )
    add("petals", join(petals).moved(at), petal.material)
    add("hearts", join(hearts).moved(at), pollen)
    add("buds", join(buds).moved(at), bud.material)


def _flower(
    at: Float[np.ndarray, "3"], turn: Float[np.ndarray, "3 3"], size: float, petals: list, hearts: list
) -> None:
    """Five hollow petals and a heart of pollen."""
    for k in range(5):
        one = leaf(size, 0.95 * size, 0.0025, curl=0.35, tip=0.60, cup=0.5)
        petals.append(one.placed(turn @ pointing(2 * np.pi * k / 5, 0.22), at))
    for k in range(6):
        away = pointing(2 * np.pi * k / 6, 0.95)[:, 0] * 0.40 * size
        hearts.append(sphere(0.006).placed(np.eye(3), at + turn @ away))
    hearts.append(sphere(0.013).placed(np.eye(3), at + turn[:, 2] * 0.10 * size))


def succulent(at: Place, rng: np.random.Generator) -> None:
    """A rosette of fleshy leaves, laid by the golden angle, in a turquoise pot."""
    glaze = Surface("turquoise", roughness=0.4).coat(0.9, 0.1).dimples(9, 0.006)
    glaze.speckle([(0.33, (0.05, 0.33, 0.40)), (0.5, (0.10, 0.52, 0.56)), (0.68, (0.42, 0.75, 0.70))], (9, 9, 20), 6.0)
    pot = turned(*POT)
    add("pot", pot.moved(at), glaze.material)
    soil = Surface("soil", (0.10, 0.07, 0.05), roughness=0.95).dimples(40, 0.02)
    add("soil", turned((0.162, 0.168), (0.10, 0.178), (0.0, 0.18)).moved(at), soil.material)
    flesh = Surface("leaf", roughness=0.42).coat(0.25, 0.25)
    flesh.along(FLESH)
    leaves = []
    for k in range(46):
        age = (k + 1) / 46
        length = 0.055 + 0.215 * age**0.75
        one = leaf(length, 0.40 * length + 0.028, 0.016, curl=0.20, tip=0.70, cup=0.35)
        elevation = 1.42 - 1.22 * age**0.72 + rng.normal() * 0.03
        turn = pointing(k * GOLDEN_ANGLE + rng.normal() * 0.03, elevation)
        leaves.append(one.placed(turn, np.asarray(at) + [0, 0, 0.235 - 0.045 * age] + 0.012 * age * turn[:, 0]))
    add("rosette", join(leaves), flesh.material)


def stem(at: Float[np.ndarray, "3"], turn: Float[np.ndarray, "3 3"]) -> None:
    """The green star where an orange hung, and one leaf."""
    green = Surface("orange leaf", roughness=0.4).coat(0.3, 0.2)
    green.along([(0.0, (0.35, 0.48, 0.16)), (0.5, (0.13, 0.34, 0.12)), (1.0, (0.24, 0.44, 0.14))])
    star = [leaf(0.026, 0.014, 0.002, -0.1).placed(pointing(2 * np.pi * k / 5, 0.1), np.zeros(3)) for k in range(5)]
    blade = leaf(0.17, 0.085, 0.0025, curl=-0.35, tip=0.45, cup=0.2).placed(pointing(2.4, 0.45), np.zeros(3))
    add("stem", join([*star, sphere(0.009), blade]).placed(turn, at), green.material)
