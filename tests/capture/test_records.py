"""Laws of the records that captures become: cameras and similarities."""

import pytest
import torch

from neural3d.cameras import Cameras, cat_cameras
from neural3d.capture.lenses import unsupported
from neural3d.capture.listing import Skipped, require_frames
from neural3d.errors import InputError
from neural3d.scene import Similarity

from .writers import ring


def test_errors_repeat_no_endless_words():
    """Found by fuzzing readers of every kind: a damaged file's content fills a screen."""
    said = str(InputError(f"a.json: camera_type {5000 * '['!r} is unknown; remove it"))
    assert len(said) < 300 and said.startswith("a.json: camera_type") and said.endswith("is unknown; remove it")
    path = "/" + "/".join(60 * ["folder"])
    assert str(InputError(f"{path}: is no folder")) == f"{path}: is no folder"


@pytest.fixture
def cameras() -> Cameras:
    views = ring(5)
    poses = torch.stack([torch.from_numpy(view.camera_from_world) for view in views])
    sizes = torch.tensor([[48, 32]]).repeat(5, 1)
    return Cameras(poses, torch.full((5, 2), 40.0).double(), sizes / 2.0, sizes)


def test_world_from_camera_is_the_inverse(cameras):
    product = cameras.world_from_camera @ cameras.camera_from_world
    torch.testing.assert_close(product, torch.eye(4).double().expand(5, 4, 4))
    expected = torch.stack([torch.from_numpy(view.center) for view in ring(5)])
    torch.testing.assert_close(cameras.centers_world, expected)


def test_forward_is_where_depth_grows(cameras):
    ahead = cameras.centers_world + 3 * cameras.forward_world
    seen = torch.einsum("vij,vj->vi", cameras.camera_from_world[:, :3, :3], ahead) + cameras.camera_from_world[:, :3, 3]
    torch.testing.assert_close(seen, torch.tensor([[0.0, 0.0, 3.0]]).double().expand(5, 3))


@pytest.mark.parametrize("index", [0, 4, -1, -2, slice(1, 3), [0, 2], torch.tensor([3, 1])])
def test_selecting_keeps_the_axis_of_views(cameras, index):
    expected = cameras.camera_from_world[[index] if isinstance(index, int) else index]
    assert torch.equal(cameras[index].camera_from_world, expected)
    assert len(cameras[index]) == len(expected)


def test_scaling_moves_no_ray(cameras):
    scaled = cameras.scaled(24, 8)
    assert scaled.size_px.tolist() == [[24, 8]] * 5
    corner = (cameras.size_px - cameras.principal_px) / cameras.focal_px
    torch.testing.assert_close((scaled.size_px - scaled.principal_px) / scaled.focal_px, corner)


def test_joining_undoes_splitting(cameras):
    joined = cat_cameras([cameras[:2], cameras[2:]])
    assert all(torch.equal(getattr(joined, n), getattr(cameras, n)) for n in Cameras.__dataclass_fields__)


def test_a_similarity_and_its_inverse():
    rotation = torch.linalg.qr(torch.randn(3, 3, dtype=torch.float64))[0]
    rotation = rotation * torch.linalg.det(rotation).sign()
    b_from_a = Similarity(2.5, rotation, torch.tensor([4e5, -2.0, 3.0], dtype=torch.float64))
    points = torch.randn(20, 3, dtype=torch.float64)
    mapped = b_from_a.apply(points)
    torch.testing.assert_close(mapped, 2.5 * points @ rotation.T + b_from_a.translation)
    torch.testing.assert_close(b_from_a.inverse().apply(mapped), points, atol=1e-9, rtol=0)
    assert torch.equal(Similarity.identity().apply(points), points)
    assert b_from_a.apply(points.float()).dtype == torch.float32


def test_the_names_of_a_damaged_file_are_cut_short(tmp_path):
    """Found by fuzzing a registration.csv: a photo whose name was a thousand brackets filled the screen."""
    skipped = tuple(Skipped(5000 * "[", 5000 * "x") for _ in range(9))
    with pytest.raises(InputError, match="none of its 9 frames can be used") as told:
        require_frames(0, skipped, tmp_path / "registration.csv")
    remedy = (Skipped("a.jpg", unsupported(400 * "9")),)
    with pytest.raises(InputError, match="undistort the photos to PINHOLE first$"):
        require_frames(0, remedy, tmp_path / "images.txt")
    assert len(str(told.value)) < 2000 and str(told.value).endswith("(and 6 more)")
