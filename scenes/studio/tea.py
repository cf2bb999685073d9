"""What one drinks from: the teapot and the cups."""

import bpy
import numpy as np
from jaxtyping import Float

from studio import textures
from studio.materials import Surface
from studio.placing import Place, add, turned
from studio.shapes import Shape, facing, lathe, pointing, sphere, spline, tube

GLAZE, INK = tuple(textures.GLAZE), tuple(textures.COBALT)

# fmt: off
POT = (
    (0.17, 0.0), (0.17, 0.0), (0.185, 0.02), (0.26, 0.07), (0.335, 0.17), (0.355, 0.26), (0.325, 0.36), (0.25, 0.43),
    (0.165, 0.462), (0.15, 0.472), (0.147, 0.49), (0.135, 0.49), (0.12, 0.46),
)
"""Profile of the teapot, from its foot over the belly into the neck: (radius, height)."""
LID = (
    (0.146, 0.486), (0.146, 0.495), (0.13, 0.512), (0.07, 0.535), (0.03, 0.545), (0.024, 0.556), (0.034, 0.575),
    (0.04, 0.592), (0.03, 0.612), (0.0, 0.62),
)
"""Profile of the lid with its button."""
BAIL = (
    (-0.25, 0, 0.42), (-0.29, 0, 0.55), (-0.22, 0, 0.74), (0, 0, 0.82), (0.22, 0, 0.74), (0.29, 0, 0.55),
    (0.25, 0, 0.42),
)
"""The handle over the pot, in the plane of the spout."""
SAUCER = (
    (0.0, 0.0), (0.08, 0.0), (0.10, 0.003), (0.17, 0.022), (0.205, 0.034), (0.21, 0.040), (0.203, 0.042),
    (0.165, 0.031), (0.09, 0.014), (0.0, 0.012),
)
"""Profile of the saucer, from the middle of its underside to the middle of its upper side."""
BOWL = (
    (0.055, 0.012), (0.055, 0.012), (0.06, 0.03), (0.10, 0.055), (0.125, 0.10), (0.135, 0.150), (0.137, 0.168),
    (0.132, 0.172), (0.127, 0.165), (0.123, 0.14), (0.11, 0.09), (0.07, 0.055), (0.0, 0.045),
)
"""Profile of the cup, from its foot over the lip to the middle inside."""
LINES = (
    (0.0, GLAZE), (0.535, GLAZE), (0.54, INK), (0.575, INK), (0.58, GLAZE), (0.80, GLAZE), (0.805, INK), (0.812, INK),
    (0.817, GLAZE),
)
"""Two cobalt rings on the saucer, by arc length."""
# fmt: on


def teapot(at: Place, porcelain: bpy.types.Material, white: bpy.types.Material, brass: bpy.types.Material) -> None:
    """A blue-and-white pot with a brass bail handle; its spout points to +x and a little to -y."""
    body = turned(*POT)
    add("teapot", body.moved(at), porcelain)
    lid = turned(*LID)
    add("lid", lid.moved(at), white)
    ring = turned((0.140, 0.486), (0.153, 0.487), (0.155, 0.492), (0.150, 0.497), (0.140, 0.498))
    add("lid ring", ring.moved(at), brass)
    turn = pointing(-0.45, 0.0)
    path = spline([(0.29, 0.0, 0.15), (0.40, 0.0, 0.20), (0.47, 0.0, 0.32), (0.505, 0.0, 0.42), (0.555, 0.0, 0.465)])
    radii = np.interp(np.linspace(0, 1, len(path)), [0, 0.3, 0.8, 1], [0.085, 0.062, 0.034, 0.036])
    add("spout", tube(path, radii, sides=32, rounded=False).placed(turn, np.asarray(at)), white)
    _spout_mouth(path[-1], path[-1] - path[-3], radii[-1], turn, np.asarray(at), white)
    bail = spline(BAIL)
    add("bail", tube(bail, np.full(len(bail), 0.0145), sides=20).placed(turn, np.asarray(at)), brass)
    grip = bail[(bail[:, 2] > 0.755)]
    add("grip", _wrapped(grip, 0.024).placed(turn, np.asarray(at)), _rattan())
    for side in (-1, 1):
        add("lug", sphere(0.034).placed(turn, turn @ np.array([side * 0.25, 0, 0.42]) + at), brass)


def _spout_mouth(
    tip: Float[np.ndarray, "3"],
    along: Float[np.ndarray, "3"],
    radius: float,
    turn: Float[np.ndarray, "3 3"],
    at: Float[np.ndarray, "3"],
    white: bpy.types.Material,
) -> None:
    """A round lip and the dark inside."""
    frame = turn @ facing(along)
    circle = np.linspace(0, 2 * np.pi, 49)
    lip = np.stack([np.cos(circle), np.sin(circle), 0 * circle], axis=1) * (radius - 0.004)
    inside = lathe(np.array([[radius - 0.003, -0.004], [0.5 * radius, -0.006], [0.0, -0.006]]))
    add("lip", tube(lip, np.full(49, 0.0065), closed=True).placed(frame, turn @ tip + at), white)
    add("mouth", inside.placed(frame, turn @ tip + at), Surface("dark", (0.16, 0.11, 0.08), roughness=0.8).material)


def _wrapped(path: Float[np.ndarray, "S 3"], radius: float) -> Shape:
    """A cane wound around a handle: a tube whose radius swells with each turn."""
    t = np.linspace(0, 1, 241)
    fine = np.stack([np.interp(t, np.linspace(0, 1, len(path)), path[:, k]) for k in range(3)], axis=1)
    return tube(fine, radius * (0.93 + 0.13 * np.abs(np.sin(18 * np.pi * t))), sides=20)


def _rattan() -> bpy.types.Material:
    bands = [(0.3, (0.45, 0.26, 0.10)), (0.7, (0.78, 0.56, 0.30))]
    return Surface("rattan", roughness=0.5).speckle(bands, scale=(40.0, 40.0, 40.0)).material


def cup(at: Place, scale: float = 1.0) -> None:
    """A bowl of tea on a saucer, glazed outside in celadon."""
    celadon = Surface("celadon", roughness=0.4).coat(1.0, 0.08)
    celadon.speckle(
        [(0.35, (0.36, 0.60, 0.53)), (0.5, (0.45, 0.69, 0.60)), (0.7, (0.60, 0.79, 0.68))], (14, 14, 7), 5.0
    )
    tea = Surface("tea", (0.58, 0.25, 0.05), roughness=0.08).coat(1.0, 0.03)
    saucer = turned(*SAUCER)
    bowl = turned(*BOWL)
    surface = turned((0.1205, 0.134), (0.08, 0.133), (0.04, 0.133), (0.0, 0.133))
    still = np.eye(3)
    lined = Surface("saucer", roughness=0.4).coat(1.0)
    lined.along(LINES)
    add("saucer", saucer.placed(still, np.asarray(at), scale), lined.material)
    add("cup", bowl.placed(still, np.asarray(at), scale), celadon.material)
    add("tea", surface.placed(still, np.asarray(at), scale), tea.material)
