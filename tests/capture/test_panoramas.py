"""Equirectangular photos: cut into views whose turns are exact, by every reader and by ingest."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from neural3d.cameras import Cameras
from neural3d.capture import load_capture
from neural3d.capture.alignment import camera_difference
from neural3d.capture.detect import list_capture
from neural3d.capture.ingest.pipeline import camera_groups, ingest_photos, panorama_rigs
from neural3d.capture.ingest.prepare import prepare_photos
from neural3d.capture.ingest.settings import Settings
from neural3d.capture.ingest.sources import find_source
from neural3d.capture.ingest.state import State
from neural3d.capture.listing import BadFrame
from neural3d.capture.panoramas import VIEWS, cut_mask, cut_view, view_lens, view_pose, view_turn
from neural3d.errors import InputError
from neural3d.render.panorama import panorama_function
from neural3d.render.splats import render_function
from neural3d.splats.gaussians import Gaussians

WIDTH = 512
GPANO = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf GPano:ProjectionType="equirectangular"/></x:xmpmeta>'


def _blobs(count: int, smallest: float) -> Gaussians:
    """Colourful Gaussians all around the origin, 3 to 5 units away."""
    random = torch.Generator().manual_seed(0)
    directions = torch.nn.functional.normalize(torch.randn(count, 3, generator=random), dim=1)
    means = directions * (3 + 2 * torch.rand(count, 1, generator=random))
    sizes = smallest + 4 * smallest * torch.rand(count, 3, generator=random)
    quats, sh = torch.randn(count, 4, generator=random), torch.zeros(count, 1, 3)
    sh[:, 0] = (torch.rand(count, 3, generator=random) - 0.5) / 0.282
    return Gaussians(means, sizes.log(), quats, torch.full((count,), 3.0), sh)


def _pose(turn: tuple[float, float, float], center: tuple[float, float, float]) -> np.ndarray:
    angle = math.hypot(*turn) or 1.0
    x, y, z = np.array(turn) / angle
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    pose = np.eye(4)
    pose[:3, :3] = np.eye(3) + math.sin(angle) * cross + (1 - math.cos(angle)) * cross @ cross
    pose[:3, 3] = -pose[:3, :3] @ np.array(center)
    return pose


def _camera(pose: np.ndarray, width: int, height: int, focal: float) -> Cameras:
    size = torch.tensor([[width, height]])
    return Cameras(torch.tensor(pose).float()[None], torch.full((1, 2), focal), size / 2, size)


def _photographed(model: Gaussians, pose: np.ndarray, width: int) -> np.ndarray:
    render = panorama_function(render_function(model))
    colors = render(_camera(pose, width, width // 2, 1.0)).colors[0]
    return (colors.clamp(0, 1) * 255 + 0.5).byte().numpy()


POSE = _pose((0.3, -0.5, 0.2), (0.2, -0.1, 0.3))


@pytest.fixture(scope="module")
def panorama() -> np.ndarray:
    return _photographed(_blobs(400, 0.12), POSE, WIDTH)


@pytest.mark.parametrize("view", VIEWS)
def test_a_view_is_what_a_camera_there_sees(panorama, view):
    """Cut from a rendered panorama, against the same model rendered by the view's own camera."""
    lens = view_lens(WIDTH)
    seen = render_function(_blobs(400, 0.12))(
        _camera(view_pose(view, POSE), lens.width, lens.height, lens.focal_px[0])
    ).colors[0]
    cut = torch.from_numpy(cut_view(panorama, view)).float() / 255
    # Beyond 45 degrees the panorama was rendered by its neighbours, where a large Gaussian's ellipse is another.
    margin = math.ceil(lens.width / 2 - lens.focal_px[0])
    cut, seen = (image[margin:-margin, margin:-margin] for image in (cut, seen.clamp(0, 1)))

    def psnr(a: torch.Tensor, b: torch.Tensor) -> float:
        return -10 * math.log10(float((a - b).square().mean()))

    assert psnr(cut, seen) > 36
    # A pixel aside costs far more than resampling does.
    assert psnr(cut[:, 1:], seen[:, :-1]) < psnr(cut, seen) - 4


def test_views_of_a_formula():
    """Colours that are a smooth function of direction, at every pixel of every view."""

    def colour(rays: np.ndarray) -> np.ndarray:
        return 127.5 + 100 * rays

    longitude = ((np.arange(768) + 0.5) / 768 - 0.5) * 2 * np.pi
    latitude = (0.5 - (np.arange(384) + 0.5) / 384) * np.pi
    up, right = np.meshgrid(latitude, longitude, indexing="ij")
    rays = np.stack([np.cos(up) * np.sin(right), -np.sin(up), np.cos(up) * np.cos(right)], axis=-1)
    picture = (colour(rays) + 0.5).astype(np.uint8)
    lens = view_lens(768)
    for view in VIEWS:
        plane = (np.arange(lens.width) + 0.5 - lens.principal_px[0]) / lens.focal_px[0]
        inside = np.stack([*np.meshgrid(plane, plane), np.ones((lens.width, lens.width))], axis=-1)
        inside /= np.linalg.norm(inside, axis=-1, keepdims=True)
        expected = colour(inside @ view_turn(view))  # panorama from view
        assert np.abs(cut_view(picture, view) - expected).max() < 1.3, view


def test_turns_are_rotations_and_cover_the_sphere():
    turns = np.stack([view_turn(view) for view in VIEWS])
    np.testing.assert_allclose(turns @ turns.transpose(0, 2, 1), np.eye(3)[None].repeat(6, 0), atol=1e-12)
    np.testing.assert_allclose(np.linalg.det(turns), 1)
    rays = np.random.default_rng(0).normal(size=(5000, 3))
    seen = np.einsum("vij,rj->vri", turns, rays)
    limit = view_lens(4096).width / 2 / view_lens(4096).focal_px[0]
    assert (((np.abs(seen[..., :2]) <= limit * seen[..., 2:]).all(-1)).any(0)).all()


def test_transparent_pixels_keep_their_colour_to_themselves():
    picture = np.zeros((64, 128, 4), dtype=np.uint8)
    picture[:, ::2] = (200, 100, 50, 255)  # every other column; the rest is transparent and black
    cut = cut_view(picture, "front")
    shown = cut[cut[..., 3] > 8][:, :3].astype(int)
    assert np.abs(shown - (200, 100, 50)).max() <= 2


def test_what_does_not_show_all_around_is_refused():
    with pytest.raises(BadFrame, match="300 x 200 pixels, an equirectangular photo is twice as wide as high"):
        cut_view(np.zeros((200, 300, 3), np.uint8), "front")
    with pytest.raises(BadFrame, match="twice as wide"):
        cut_mask(np.ones((200, 300), bool), "front")


# By every reader of a format that has them.


def _opengl(pose: np.ndarray) -> list:
    return (np.linalg.inv(pose) @ np.diag([1.0, -1, -1, 1])).tolist()


def _transforms(folder: Path) -> None:
    frame = {"file_path": "images/p.png", "transform_matrix": _opengl(POSE)}
    meta = {"camera_model": "EQUIRECTANGULAR", "w": WIDTH, "h": WIDTH // 2, "frames": [frame]}
    (folder / "transforms.json").write_text(json.dumps(meta))


def _opensfm(folder: Path) -> None:
    rotation = POSE[:3, :3]
    angle = math.acos((np.trace(rotation) - 1) / 2)
    axis = np.array([rotation[2, 1] - rotation[1, 2], rotation[0, 2] - rotation[2, 0], rotation[1, 0] - rotation[0, 1]])
    vector = (axis / (2 * math.sin(angle)) * angle).tolist()
    camera = {"projection_type": "spherical", "width": WIDTH, "height": WIDTH // 2}
    shot = {"camera": "c", "rotation": vector, "translation": POSE[:3, 3].tolist()}
    content = [{"cameras": {"c": camera}, "shots": {"p.png": shot}, "points": {}}]
    (folder / "reconstruction.json").write_text(json.dumps(content))


def _metashape(folder: Path) -> None:
    numbers = " ".join(str(value) for value in np.linalg.inv(POSE).flatten())
    (folder / "cameras.xml").write_text(
        '<?xml version="1.0"?><document version="1.5"><chunk><sensors><sensor id="0" type="spherical">'
        f'<resolution width="{WIDTH}" height="{WIDTH // 2}"/></sensor></sensors><cameras>'
        f'<camera id="0" sensor_id="0" label="p.png"><transform>{numbers}</transform></camera>'
        "</cameras></chunk></document>"
    )


def _colmap(folder: Path) -> None:
    w = math.sqrt(1 + np.trace(POSE[:3, :3])) / 2
    r = POSE[:3, :3]
    quat = [w, *((np.array([r[2, 1] - r[1, 2], r[0, 2] - r[2, 0], r[1, 0] - r[0, 1]])) / (4 * w))]
    (folder / "sparse/0").mkdir(parents=True)
    (folder / "sparse/0/cameras.txt").write_text(f"1 EQUIRECTANGULAR {WIDTH} {WIDTH // 2} {WIDTH} {WIDTH // 2}\n")
    numbers = " ".join(str(float(value)) for value in (*quat, *POSE[:3, 3]))
    (folder / "sparse/0/images.txt").write_text(f"1 {numbers} 1 p.png\n\n")
    (folder / "sparse/0/points3D.txt").write_text("")


@pytest.mark.parametrize("write", [_transforms, _opensfm, _metashape, _colmap])
def test_readers_cut_panoramas(tmp_path, panorama, write):
    (tmp_path / "images").mkdir()
    Image.fromarray(panorama).save(tmp_path / "images/p.png")
    masked = np.full(panorama.shape[:2], 255, dtype=np.uint8)
    masked[-40:] = 0  # who held the camera
    (tmp_path / "masks").mkdir()
    Image.fromarray(masked).save(tmp_path / "masks/p.png")
    write(tmp_path)
    scene = load_capture(tmp_path)
    assert len(scene.photos) == 6
    for index, photo in enumerate(scene.photos):
        view = Path(photo.name).stem.partition("-")[2]
        np.testing.assert_array_equal(photo.pixels.numpy(), cut_view(panorama, view))
        assert (photo.valid is None) == (view != "down")
        direction = scene.cameras.camera_from_world[index, :3, :3].numpy()
        np.testing.assert_allclose(direction, view_pose(view, POSE)[:3, :3], atol=1e-5)


def test_a_panorama_of_another_shape_is_skipped_by_name(tmp_path):
    (tmp_path / "images").mkdir()
    Image.new("RGB", (WIDTH, 200), (9, 90, 9)).save(tmp_path / "images/p.png")
    frame = {"file_path": "images/p.png", "transform_matrix": _opengl(POSE)}
    meta = {"camera_model": "EQUIRECTANGULAR", "w": WIDTH, "h": 200, "frames": [frame]}
    (tmp_path / "transforms.json").write_text(json.dumps(meta))
    with pytest.raises(InputError, match="p.png: it is 512 x 200 pixels, an equirectangular photo is twice as wide"):
        load_capture(tmp_path)


# By ingest.


def _prepared(tmp_path: Path, settings: Settings) -> State:
    state = State(settings, False)
    for state in prepare_photos(tmp_path / "capture", find_source(tmp_path / "photos"), state, lambda *_: None):
        pass
    return state


def test_ingest_finds_panoramas_by_what_they_say(tmp_path, panorama):
    """A panorama that says so, one that does not, and a photo; each with the mask it has."""
    folder = tmp_path / "photos"
    (folder / "masks").mkdir(parents=True)
    picture = Image.fromarray(panorama)
    picture.save(folder / "around.jpg", xmp=GPANO, quality=98)
    picture.save(folder / "wide.jpg", quality=98)
    Image.new("L", picture.size, 255).save(folder / "masks/around.png")
    state = _prepared(tmp_path, Settings())
    assert sorted(photo.name for photo in state.usable) == sorted(
        ["wide.jpg", *(f"panorama-512/{view}/around.jpg" for view in VIEWS)]
    )
    assert {photo.plain_name for photo in state.usable if photo.has_mask} == {"around.jpg"}
    groups = {group["names"][0]: group for group in camera_groups(state)}
    lens = view_lens(WIDTH)
    assert groups["panorama-512/up/around.jpg"]["params"] == [*lens.focal_px, *lens.principal_px]
    assert groups["wide.jpg"]["params"] == []
    assert len(panorama_rigs(state)) == 1
    again = _prepared(tmp_path, Settings(equirectangular=True))
    assert sum(photo.plain_name == "wide.jpg" for photo in again.usable) == 6
    stored = np.asarray(Image.open(tmp_path / "capture/images/panorama-512/left/wide.jpg")).astype(int)
    assert np.abs(stored - cut_view(np.asarray(Image.open(folder / "wide.jpg")), "left")).max() < 30


def test_photos_that_are_no_panoramas_are_named(tmp_path):
    (tmp_path / "photos").mkdir()
    Image.new("RGB", (300, 200)).save(tmp_path / "photos/p.png")
    (photo,) = _prepared(tmp_path, Settings(equirectangular=True)).photos
    assert "300 x 200 pixels, an equirectangular photo is twice as wide as high" in photo.fault


@pytest.mark.long
def test_poses_of_panoramas(tmp_path):
    """Four panoramas among blobs: all views get poses, those of a panorama stay one rig."""
    pytest.importorskip("pycolmap", reason="pycolmap is not installed")
    model, folder = _blobs(6000, 0.03), tmp_path / "photos"
    folder.mkdir()
    places = [(-0.4, 0.1, 0.3), (0.3, -0.3, -0.1), (0.1, 0.4, -0.4), (0.5, 0.2, 0.4)]
    poses = [_pose((0.1 * i, 0.3 - 0.2 * i, 0.15 * i), place) for i, place in enumerate(places)]
    for index, pose in enumerate(poses):
        Image.fromarray(_photographed(model, pose, 1280)).save(folder / f"p{index}.png")
    report = ingest_photos(folder, tmp_path / "capture", Settings(equirectangular=True))
    assert report.num_registered == 24 and report.failed == {}
    frames = list_capture(tmp_path / "capture").frames
    _, _, views, names = zip(*(frame.name.split("/") for frame in frames), strict=True)
    found = np.stack([frame.camera_from_world for frame in frames])
    truth = np.stack([view_pose(view, poses[int(name[1])]) for view, name in zip(views, names, strict=True)])
    assert camera_difference(found, truth).centers.max() < 0.01
    # Four centres say little about how the worlds are turned to each other: the turns between panoramas are compared.
    between, true = found @ np.linalg.inv(found[0]), truth @ np.linalg.inv(truth[0])
    cosines = (np.einsum("vij,vij->v", between[:, :3, :3], true[:, :3, :3]) - 1) / 2
    assert np.degrees(np.arccos(np.clip(cosines, -1, 1))).max() < 0.2
    front = {name: pose for view, name, pose in zip(views, names, found, strict=True) if view == "front"}
    for view, name, pose in zip(views, names, found, strict=True):
        np.testing.assert_allclose(pose, view_pose(view, front[name]), atol=1e-6)
