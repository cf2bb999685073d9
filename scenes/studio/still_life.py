"""The still life: a tray with a mosaic, a teapot, a blossoming branch, books, a succulent, oranges, a knot of brass.

The tray's top is z = 0, its radius 1; +z is up. Each function puts one thing on the tray.
"""

import bpy
import numpy as np

from studio import textures
from studio.materials import Surface, image
from studio.placing import Place, add, turned
from studio.plants import stem, succulent, vase_with_branch
from studio.shapes import Shape, box, facing, grid, join, lathe, pointing, sphere, tube
from studio.tea import cup, teapot

# fmt: off
RIM = (
    (0.0, -0.15), (0.0, -0.15), (0.90, -0.15), (0.90, -0.15), (0.97, -0.138), (1.0, -0.105), (0.995, -0.085),
    (0.985, -0.075), (0.985, -0.045), (0.995, -0.035), (1.01, -0.01), (1.003, 0.016), (0.98, 0.022), (0.962, 0.014),
    (0.955, 0.0), (0.955, -0.01),
)
"""Profile of the tray's edge, from the middle of its underside to the mosaic: (radius, height)."""
WALNUT = (
    (0.30, (0.20, 0.10, 0.06)), (0.48, (0.40, 0.23, 0.13)), (0.60, (0.50, 0.31, 0.18)), (0.75, (0.27, 0.15, 0.09)),
)
"""Colours of the wood by the value of its noise."""
MARBLE = (
    (0.40, (0.09, 0.10, 0.12)), (0.52, (0.16, 0.18, 0.20)), (0.56, (0.75, 0.73, 0.68)), (0.60, (0.13, 0.15, 0.17)),
)
"""Dark, with a light vein."""
# fmt: on


def build(seed: int) -> None:
    """Model everything into the current Blender scene."""
    rng = np.random.default_rng(seed)
    brass = Surface("brass", (0.88, 0.66, 0.30), roughness=0.24, metallic=1.0).dimples(60, 0.0006).material
    porcelain = Surface("porcelain", roughness=0.45).coat(1.0)
    porcelain = porcelain.picture(image("porcelain", textures.porcelain())).material
    white = Surface("white glaze", tuple(textures.GLAZE), roughness=0.4).coat(1.0).material
    tray(brass)
    runner()
    teapot((-0.10, -0.10, 0.0), porcelain, white, brass)
    vase_with_branch((-0.47, 0.44, 0.0), rng)
    books((0.42, 0.43, 0.0))
    succulent((0.44, 0.40, 0.205), rng)
    cup((0.44, -0.46, 0.006))
    cup((0.72, 0.03, 0.0), scale=0.86)
    oranges(rng)
    knot((-0.62, -0.02, 0.0), brass)


def tray(brass: bpy.types.Material) -> None:
    """A turned walnut disc with a brass band and feet; its top is a mosaic."""
    maps = textures.mosaic()
    stone = Surface("mosaic", roughness=0.36).picture(image("mosaic", maps.color))
    stone.picture(image("gilding", maps.metal, is_color=False), "Metallic")
    stone.height(image("joints", maps.height, is_color=False), 0.006)
    top = lathe(np.array([[0.955, 0.0], [0.6, 0.0], [0.3, 0.0], [0.0, 0.0]]), segments=192)
    flat = top.points[top.quads][..., :2] * 0.5 + 0.5
    add("mosaic", Shape(top.points, top.quads, flat), stone.material)
    walnut = Surface("walnut", roughness=0.38).coat(0.35, 0.2)
    walnut.speckle(
        WALNUT,
        scale=(1.6, 11.0, 14.0),
        detail=8.0,
        warp=0.8,
    )
    rim = turned(*RIM)
    add("tray", rim, walnut.material)
    add("band", turned((0.98, -0.074), (0.997, -0.070), (1.001, -0.060), (0.997, -0.050), (0.98, -0.046)), brass)
    feet = [sphere(0.07, 0.7).moved((0.72 * np.cos(a), 0.72 * np.sin(a), -0.185)) for a in 2 * np.pi * np.arange(5) / 5]
    add("feet", join(feet), brass)


def runner() -> None:
    """A woven cloth from under the cup over the edge of the tray, hanging in folds."""
    woven = Surface("cloth", roughness=0.85).sheen(0.3).picture(image("cloth", textures.cloth())).dimples(90, 0.002)
    s, t = np.meshgrid(np.linspace(0, 1, 180), np.linspace(-0.25, 0.25, 90), indexing="ij")
    run = 1.03 * s
    edge, bend = 0.70, 0.045
    over = np.clip(run - edge, 0, bend * np.pi / 2)
    fallen = np.clip(run - edge - bend * np.pi / 2, 0, None)
    fold = np.clip(fallen / 0.3, 0, 1) * (0.034 * np.sin(15 * t + 0.6) + 0.014 * np.sin(37 * t + 2.0))
    soft = 0.006 * np.sin(9 * t + 5 * s) * np.clip((0.45 - np.abs(run - 0.3)) / 0.3, 0, 1) ** 2
    away = np.minimum(run, edge) + bend * np.sin(over / bend) + 0.10 * fallen + np.maximum(fold, -0.035 - 0.05 * fallen)
    height = 0.031 - bend * (1 - np.cos(over / bend)) - fallen * 0.98
    lift = np.clip((run - 0.42) / 0.2, 0, 1)
    height = np.where(run < edge, 0.005 + (0.031 - 0.005) * lift * lift * (3 - 2 * lift), height) + np.abs(soft)
    across = t * (1 + 0.12 * np.clip(fallen / 0.4, 0, 1))
    azimuth = -1.02
    outward = np.array([np.cos(azimuth), np.sin(azimuth), 0])
    sideways = np.array([-np.sin(azimuth), np.cos(azimuth), 0])
    chord = 0.30 + away - 0.5 * across**2 * np.clip((run - 0.1) / 0.5, 0, 1)
    points = chord[..., None] * outward + across[..., None] * sideways + height[..., None] * np.array([0, 0, 1.0])
    shape = grid(points)
    add("runner", Shape(shape.points, shape.quads, shape.uvs[..., ::-1]), woven.material)


def books(at: Place) -> None:
    """Two books, cloth-bound, not quite square on each other."""
    paper = Surface("pages", roughness=0.9).picture(image("pages", textures.pages())).material
    green = textures.book_cover(np.array([7, 9]), np.array([0.10, 0.26, 0.20]), textures.GOLD)
    rust = textures.book_cover(np.array([9, 12]), np.array([0.62, 0.25, 0.13]), textures.IVORY)
    for name, cover, size, angle, lift in (
        ("lower", green, (0.60, 0.78, 0.110), 0.62, 0.0),
        ("upper", rust, (0.50, 0.66, 0.095), 0.28, 0.110),
    ):
        cloth = Surface(name, roughness=0.75).sheen(0.2).picture(image(name, cover)).material
        turn, place = pointing(angle, 0.0), np.asarray(at) + [0, 0, lift]
        block, board = box((size[0] - 0.03, size[1] - 0.03, size[2] - 0.03)), box((size[0], size[1], 0.014))
        spine = box((0.016, size[1], size[2])).moved((-size[0] / 2, 0, 0))
        add(f"{name} pages", block.placed(turn, place + [0, 0, 0.015]), paper, smooth=False)
        add(f"{name} back", board.placed(turn, place), cloth, smooth=False, bevel=0.005)
        add(f"{name} front", board.placed(turn, place + [0, 0, size[2] - 0.014]), cloth, smooth=False, bevel=0.005)
        add(f"{name} spine", spine.placed(turn, place), cloth, smooth=False, bevel=0.006)


def oranges(rng: np.random.Generator) -> None:
    """Three whole oranges and a half that shows its cut."""
    peel = Surface("peel", (0.90, 0.40, 0.05), roughness=0.36).coat(0.15, 0.3)
    peel.speckle([(0.35, (0.86, 0.33, 0.03)), (0.65, (0.96, 0.52, 0.08))], (6, 6, 6)).dimples(48, 0.004)
    for x, y, radius in ((-0.50, -0.53, 0.150), (-0.23, -0.72, 0.135), (-0.72, -0.36, 0.128)):
        turn = facing(rng.normal(size=3) * [1, 1, 0.3] + [0, 0, 1.2])
        middle = np.array([x, y, 0.965 * radius])
        add("orange", sphere(radius, 0.95).placed(turn, middle), peel.material)
        stem(middle + turn[:, 2] * 0.945 * radius, turn)
    cut = Surface("cut", roughness=0.28).coat(0.5, 0.15).picture(image("citrus", textures.citrus()))
    half = turned(
        (0.0, -0.125), (0.0, -0.125), (0.05, -0.119), (0.10, -0.083), (0.127, -0.03), (0.131, -0.006), (0.128, 0.0)
    )
    face = lathe(np.array([[0.1285, 0.0], [0.06, 0.0], [0.0, 0.0]]))
    flat = face.points[face.quads][..., :2] / 0.257 + 0.5
    turn = facing(np.array([-0.35, -0.62, 0.70]))
    place = np.array([-0.02, -0.60, 0.118]) + [0.09, -0.20, 0]
    add("half", half.placed(turn, place), peel.material)
    add("cut", Shape(face.points, face.quads, flat).placed(turn, place), cut.material)


def knot(at: Place, brass: bpy.types.Material) -> None:
    """A trefoil of brass on a block of dark marble."""
    marble = Surface("marble", roughness=0.22).coat(0.4, 0.08)
    marble.speckle(
        MARBLE,
        (4, 4, 4),
        10.0,
        1.2,
    )
    turn = pointing(0.5, 0.0)
    add("block", box((0.21, 0.21, 0.085)).placed(turn, np.asarray(at)), marble.material, smooth=False, bevel=0.008)
    t = np.linspace(0, 2 * np.pi, 241)
    path = np.stack([np.sin(t) + 2 * np.sin(2 * t), np.cos(t) - 2 * np.cos(2 * t), -1.1 * np.sin(3 * t)], axis=1)
    ring = tube(path * 0.047, np.full(len(path), 0.026), sides=24, closed=True)
    upright = facing(np.array([-0.75, -0.62, 0.22]))
    add("knot", ring.placed(upright, np.asarray(at) + [0, 0, 0.085 + 0.155]), brass)
