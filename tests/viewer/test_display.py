"""What the engine's pictures show: outputs of splats and of fields, and photos beside the render."""

import math

import numpy as np
import pytest
import torch

from neural3d.cameras import Cameras
from neural3d.fields.field import Shaded
from neural3d.fields.rays import Rays
from neural3d.metrics import flip_map
from neural3d.render.colormaps import COLORMAPS, colored
from neural3d.render.model import model_render_function
from neural3d.scene import Photo
from neural3d.splats.gaussians import Gaussians
from neural3d.viewer.comparison import Comparison, photo_in_view
from neural3d.viewer.display import OUTPUTS, Display, Drawing, drawn_cameras, picture
from neural3d.viewer.pointer import picked_point


class Ball:
    """A grey ball of radius 1 around the origin, half transparent on the side of -x."""

    num_parameters = 1

    def shade(self, rays: Rays) -> Shaded:
        middle = -(rays.origins * rays.directions).sum(1)
        apart = (rays.origins + middle[:, None] * rays.directions).norm(dim=1)
        hit = (apart < 1) & (middle > 0)
        distances = torch.where(hit, middle - (1 - apart**2).clamp(min=0).sqrt(), 0)
        alphas = hit.float() * torch.where(rays.origins[:, 0] + distances * rays.directions[:, 0] < 0, 0.5, 1.0)
        return Shaded(0.5 * alphas[:, None].expand(-1, 3), alphas, distances)

    def densities(self, positions: torch.Tensor) -> torch.Tensor:
        return (positions.norm(dim=1) < 1).float()


def wall() -> Gaussians:
    """Opaque splats on the plane z = 3 that fill the view, light grey."""
    x, y = torch.meshgrid(torch.linspace(-3, 3, 61), torch.linspace(-3, 3, 61), indexing="ij")
    count = x.numel()
    scales = torch.tensor([math.log(0.1), math.log(0.1), math.log(0.001)]).expand(count, 3)
    return Gaussians(
        means_world=torch.stack([x.flatten(), y.flatten(), torch.full((count,), 3.0)], dim=1),
        log_scales=scales.clone(),
        quats_wxyz=torch.tensor([[1.0, 0.0, 0.0, 0.0]]).repeat(count, 1),
        logit_opacities=torch.full((count,), 6.0),
        sh=torch.full((count, 1, 3), 0.25 / 0.28209479177387814),
    )


def camera(width: int = 40, height: int = 30, focal: float = 30.0, turn_rad: float = 0.0) -> Cameras:
    """At (0, 0, -4) for the ball, looking along +z, turned about its vertical axis."""
    pose = torch.eye(4)
    pose[:3, :3] = torch.tensor(
        [[math.cos(turn_rad), 0, -math.sin(turn_rad)], [0, 1, 0], [math.sin(turn_rad), 0, math.cos(turn_rad)]]
    )
    pose[:3, 3] = -pose[:3, :3] @ torch.tensor([0.0, 0.0, -4.0])
    size = torch.tensor([[width, height]])
    return Cameras(pose[None], torch.full((1, 2), focal), size / 2.0, size)


def drawn(model, display: Display, cameras: Cameras) -> np.ndarray:
    drawing = Drawing(model_render_function(model), model)
    view = drawn_cameras(cameras, display)
    return picture(drawing.channels(view, display.output), view, display).numpy()


@pytest.mark.parametrize("model", [Ball(), wall()], ids=["field", "splats"])
@pytest.mark.parametrize("output", OUTPUTS)
def test_every_output_is_drawn_of_fields_and_of_splats(model, output: str):
    image = drawn(model, Display(output=output, background=(1.0, 0.0, 0.0)), camera())
    assert image.shape == (30, 40, 3) and image.dtype == np.uint8
    if isinstance(model, Ball):
        expected = (0, 0, 0) if output == "Opacity" else (255, 0, 0)
        assert tuple(image[0, 0]) == expected, "the background lies where nothing is"
    assert tuple(image[15, 20]) != (255, 0, 0)


def test_the_values_are_those_of_the_model():
    background = (0.0, 1.0, 0.0)
    field = Ball()
    assert drawn(field, Display("Opacity"), camera())[15, 24].tolist() == [255] * 3
    assert drawn(field, Display("Opacity"), camera())[15, 16].tolist() == [128] * 3
    assert drawn(field, Display("Colour", background=background), camera())[15, 24].tolist() == [128] * 3
    assert drawn(field, Display("Colour", background=background), camera())[15, 16].tolist() == [64, 191, 64]
    facing = drawn(wall(), Display("Normals"), camera())[15, 20].astype(int)
    assert np.abs(facing - [128, 128, 0]).max() <= 2, "the wall's normals look along -z"


def test_depth_goes_from_near_to_far_through_the_map():
    turned = camera(turn_rad=0.5)
    image = drawn(wall(), Display("Depth", colormap="gray"), turned)[15].astype(int)[:, 0]
    x = (torch.arange(40) + 0.5 - 20) / 30
    rays = torch.stack([x, 0 * x, torch.ones(40)], dim=1) @ turned.camera_from_world[0, :3, :3]
    depths = (7 / rays[:, 2]).numpy()  # the wall is 7 before the camera's place along the world's z
    inside = np.abs(7 * (rays[:, 0] / rays[:, 2]).numpy()) < 2.5
    assert inside.sum() > 10 and np.corrcoef(depths[inside], image[inside])[0, 1] > 0.99
    assert np.ptp(image[inside]) > 60


@pytest.mark.parametrize("name", COLORMAPS)
def test_maps_stay_in_range_and_grow_brighter_or_change(name: str):
    colors = colored(torch.tensor([-1.0, *(k / 10 for k in range(11)), 2.0]), name)
    assert colors.shape == (13, 3) and 0 <= float(colors.min()) and float(colors.max()) <= 1
    assert torch.equal(colors[0], colors[1]) and torch.equal(colors[11], colors[12])
    assert len({tuple(color) for color in (colors[1:12] * 255).int().tolist()}) == 11


def test_magma_and_viridis_are_the_published_ones_at_their_ends():
    assert (colored(torch.tensor([0.0, 1.0]), "magma") * 255).round().int().tolist() == [[0, 0, 4], [252, 253, 191]]
    assert (colored(torch.tensor([0.0, 1.0]), "viridis") * 255).round().int().tolist() == [[68, 1, 84], [253, 231, 37]]


def photo_of(cameras: Cameras, valid: torch.Tensor | None = None) -> Photo:
    """A smooth picture whose colours say where on it one looks."""
    width, height = cameras.size_px[0].tolist()
    y, x = torch.meshgrid((torch.arange(height) + 0.5) / height, (torch.arange(width) + 0.5) / width, indexing="ij")
    return Photo("a.png", (torch.stack([x, y, 0 * x + 0.5], dim=-1) * 255).round().to(torch.uint8), valid=valid)


def test_a_photo_seen_by_its_own_camera_is_itself():
    own = camera(64, 48, 50.0)
    photo = photo_of(own)
    comparison = Comparison(photo, own, "Wipe")
    seen, there = photo_in_view(photo.pixels.float() / 255, comparison, own)
    assert there.all() and torch.allclose(seen, photo.pixels.float() / 255, atol=1e-3)


def test_a_photo_seen_by_a_turned_camera_lies_where_the_same_rays_go():
    own, view = camera(64, 48, 50.0), camera(80, 50, 40.0, turn_rad=0.2)
    photo = photo_of(own)
    seen, there = photo_in_view(photo.pixels.float() / 255, Comparison(photo, own, "Wipe"), view)
    point = torch.tensor([0.4, 0.3, 1.0])  # in the world, before both
    pixels = []
    for cameras in (own, view):
        local = cameras.camera_from_world[0, :3, :3] @ point + cameras.camera_from_world[0, :3, 3]
        pixels.append((local[:2] / local[2] * cameras.focal_px[0] + cameras.principal_px[0]).tolist())
    (x, y), (u, v) = pixels
    found = seen[round(v - 0.5), round(u - 0.5)]
    assert there[round(v - 0.5), round(u - 0.5)]
    assert found[0] == pytest.approx(x / 64, abs=0.015) and found[1] == pytest.approx(y / 48, abs=0.015)
    assert not there[25, 0] or not there[25, 79], "beyond its border there is no photo"


def test_a_wipe_shows_the_photo_on_the_left_and_the_render_on_the_right():
    own = camera(64, 48, 50.0)
    photo = photo_of(own)
    image = drawn(wall(), Display(comparison=Comparison(photo, own, "Wipe", 0.5)), own)
    plain = drawn(wall(), Display(), own)
    assert np.abs(image[:, :31].astype(int) - photo.pixels[:, :31].numpy()).max() <= 1
    assert np.array_equal(image[:, 34:], plain[:, 34:])
    assert np.array_equal(drawn(wall(), Display(comparison=Comparison(photo, own, "Wipe", 0.0)), own), plain)


def test_side_by_side_shows_both_whole():
    own = camera(64, 48, 50.0)
    photo = photo_of(own)
    image = drawn(wall(), Display(comparison=Comparison(photo, own, "Side by side")), own)
    assert image.shape == (48, 64, 3)
    left = image[12:36, :32]
    assert left[12, 1, 0] < 20 and left[12, 30, 0] > 235, "all of the photo's width lies in the left half"
    assert (image[0, :32] == 0).all(), "above it there is the background"


def test_differences_are_those_of_the_images():
    own = camera(64, 48, 50.0)
    photo = photo_of(own, valid=torch.arange(64)[None].expand(48, 64) < 32)
    plain = torch.from_numpy(drawn(wall(), Display(), own)).float() / 255
    colors = photo.pixels.float() / 255
    image = drawn(wall(), Display(comparison=Comparison(photo, own, "Difference")), own)
    expected = colored((plain - colors).abs().mean(-1) / 0.5, "magma")
    assert np.abs(image[:, :31] / 255 - expected[:, :31].numpy()).max() < 0.03
    assert np.abs(image[:, 34:] / 255 - 0.3 * plain[:, 34:].numpy()).max() < 0.01, "nothing is compared where masked"
    whole = Comparison(photo_of(own), own, "FLIP error")
    errors = drawn(wall(), Display(comparison=whole), own)
    assert np.abs(errors / 255 - colored(flip_map(plain, colors), "magma").numpy()).max() < 0.05


@pytest.mark.parametrize("model", [Ball(), wall()], ids=["field", "splats"])
def test_a_ray_picks_the_point_that_it_hits(model):
    surface = -1.0 if isinstance(model, Ball) else 3.0
    point = picked_point(model, (0.02, 0.0, -4.0), (0.0, 0.0, 2.0))
    assert point is not None and point.tolist() == pytest.approx([0.02, 0.0, surface], abs=0.02)
    assert picked_point(model, (0.0, 0.0, -4.0), (0.0, 0.0, -1.0)) is None
