"""Where the networks of the first paper are asked: between which bounds, and in which cells."""

from dataclasses import replace

from neural3d.fields.hashgrid import HashGridPlace
from neural3d.fields.possible import PossibleCells
from neural3d.fields.space import Ball, Space
from neural3d.scene import Scene
from neural3d.train.field_space import field_space
from neural3d.train.hashgrid_place import hashgrid_place
from neural3d.train.mlp_config import MlpConfig
from neural3d.train.visual_hull import possible_cells


def mlp_place(scene: Scene, config: MlpConfig) -> tuple[Space, HashGridPlace | None]:
    """The field's coordinates and, around an object with alpha, a box; None where networks are asked everywhere.

    Raises:
        InputError: The capture does not suit the coordinates, or its alpha leaves nothing.
    """
    space = field_space(scene, ndc=config.ndc)
    boxed = config.occupancy_cells > 0 and type(space) is Ball
    return space, hashgrid_place(scene) if boxed else None


def mlp_cells(scene: Scene, config: MlpConfig) -> tuple[Space, PossibleCells | None]:
    """The same with the cells of the box that the photos let be, in the field's coordinates.

    Raises:
        InputError: As `mlp_place`.
    """
    space, place = mlp_place(scene, config)
    if place is None:
        return space, None
    assert isinstance(space, Ball)
    possible = possible_cells(scene, place, config.occupancy_cells)
    x, y, z = ((at - middle) / space.radius for at, middle in zip(place.center, space.center, strict=True))
    return space, PossibleCells(replace(place, center=(x, y, z), half=place.half / space.radius), possible)
