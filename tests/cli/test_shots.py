"""What a shot says of its frames."""

import torch

from neural3d.cameras import Cameras
from neural3d.cli.shots import Shot
from neural3d.scene import Similarity


def a_shot(numbers: tuple[int, ...], *, moves: bool = True) -> Shot:
    """A camera that goes along x by 1 a frame, whichever frames are there."""
    count = len(numbers)
    poses = torch.eye(4).repeat(count, 1, 1)
    poses[:, 0, 3] = -torch.tensor(numbers, dtype=torch.float32)
    sizes = torch.tensor([[16, 12]]).repeat(count, 1)
    cameras = Cameras(poses, torch.full((count, 2), 20.0), sizes / 2, sizes)
    return Shot(cameras, numbers, ("",) * count, range(count), 24.0, 36.0, Similarity.identity(), moves)


def test_neighbours_are_one_frame_away_where_frames_are_missing():
    """Motion blur and motion vectors are of one frame, not of the way to the next frame that the file has."""
    shot = a_shot((1001, 1002, 1006, 1008))
    places = [
        [None if c is None else round(float(c.centers_world[0, 0]), 3) for c in around(shot)]
        for around in (
            lambda s: [s.previous_camera(i) for i in range(4)],
            lambda s: [s.next_camera(i) for i in range(4)],
        )
    ]
    assert places == [[None, 1001, 1005, 1007], [1002, 1003, 1007, None]]


def test_photos_have_no_neighbours():
    shot = a_shot((0, 8), moves=False)
    assert shot.next_camera(0) is None and shot.previous_camera(1) is None
