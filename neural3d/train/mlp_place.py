"""Where the networks of the first paper are asked: between which bounds, and in which cells."""

from dataclasses import replace

from neural3d.fields.possible import PossibleCells
from neural3d.fields.space import Ball, Space
from neural3d.scene import Scene
from neural3d.train.field_space import field_space
from neural3d.train.hashgrid_place import hashgrid_place
from neural3d.train.mlp_config import MlpConfig
from neural3d.train.visual_hull import possible_cells

HULL_CELLS = 128
"""Along each axis of the grid."""


def mlp_place(scene: Scene, config: MlpConfig) -> tuple[Space, PossibleCells | None]:
    """The field's coordinates and, of an object with alpha, the cells that its photos let be; None for everywhere.

    Raises:
        InputError: The capture does not suit the coordinates, or its alpha leaves nothing.
    """
    space = field_space(scene, ndc=config.ndc)
    if config.ask_everywhere or type(space) is not Ball:
        return space, None
    place = hashgrid_place(scene)
    possible = possible_cells(scene, place, HULL_CELLS)
    x, y, z = ((at - middle) / space.radius for at, middle in zip(place.center, space.center, strict=True))
    return space, PossibleCells(replace(place, center=(x, y, z), half=place.half / space.radius), possible)
