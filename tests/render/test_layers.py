"""Tiles make the same image as one piece; depth, normals and positions are those of a scene that one can work out."""

import pytest
import torch

from neural3d.fields.field import Shaded
from neural3d.fields.rays import Rays
from neural3d.render.color_spaces import acescg_from_linear, to_scene
from neural3d.render.layers import LayerTile, cropped, depth_normals, layer_tiles, points_at
from neural3d.render.splats import render_splats
from neural3d.srgb import decode_srgb, encode_srgb

from .scenes import cameras_around, disk, some_gaussians, straight_camera


def whole(tiles, name: str, size: tuple[int, int]) -> torch.Tensor:
    tiles = list(tiles)
    image = torch.full((size[1], size[0], getattr(tiles[0], name).shape[-1]), torch.nan)
    for tile in tiles:
        part = getattr(tile, name)
        image[tile.top : tile.top + part.shape[0], tile.left : tile.left + part.shape[1]] = part
    return image


@pytest.mark.parametrize("name", ["colors", "alphas", "depths", "normals"])
def test_tiles_are_the_whole_image(name: str):
    """Gaussians far outside a tile reach into it, too."""
    gaussians, camera = some_gaussians(), cameras_around(1)
    size = tuple(camera.size_px[0].tolist())
    small, large = (whole(layer_tiles(gaussians, camera, tile_px=side), name, size) for side in (16, 1024))
    assert torch.allclose(small, large, atol=2e-5)


def test_colours_are_those_of_the_renderer():
    gaussians, camera = some_gaussians(), cameras_around(1)
    (tile,) = layer_tiles(gaussians, camera)
    expected = render_splats(gaussians, camera, with_depth=True)
    assert torch.equal(tile.colors, expected.colors[0]) and torch.equal(tile.alphas, expected.alphas[0])
    assert torch.allclose(tile.depths, expected.depths[0], atol=1e-5)


def test_a_disk_faces_the_camera_at_its_distance():
    (tile,) = layer_tiles(disk(radius=0.4), straight_camera())
    there = tile.alphas[..., 0] > 0.02
    assert there.sum() > 300
    assert torch.allclose(tile.depths[there], torch.tensor(4.0), atol=1e-4)
    assert torch.allclose(tile.normals[there], torch.tensor([0.0, 0, -1]), atol=1e-4)
    assert (tile.depths[tile.alphas == 0] == 0).all() and (tile.alphas == 0).any()


def test_points_lie_on_the_disk():
    camera = straight_camera()
    (tile,) = layer_tiles(disk(0.5), camera)
    points = points_at(camera, tile.depths)[tile.alphas[..., 0] > 0.02]
    assert torch.allclose(points[:, 2], torch.tensor(0.5), atol=1e-4)
    assert float(points[:, 0].max()) > 1 and float(points[:, 1].min()) < -1


def test_a_window_of_a_view_shows_that_part_of_it():
    gaussians, camera = some_gaussians(), cameras_around(1, (96, 64))
    full = render_splats(gaussians, camera).colors[0]
    part = render_splats(gaussians, cropped(camera, 16, 16, 64, 32)).colors[0]
    # The renderer bends Gaussians outside the image otherwise, depending on its size: the middle is what must agree.
    assert torch.allclose(part, full[16:48, 16:80], atol=0.05)
    assert (part - full[16:48, 16:80]).abs().mean() < 1e-3


def test_normals_of_a_sloping_plane():
    """Z = 4 + x: the normal that faces the camera is (1, 0, -1) / sqrt 2."""
    camera = straight_camera(back=0.0)
    x = (torch.arange(70) + 0.5 - 35) / 60
    depths = (4 / (1 - x)).expand(50, 70)[..., None].clone()
    depths[20, 20] = 0
    normals = depth_normals(camera, depths)
    assert normals.shape == (48, 68, 3)
    expected = torch.tensor([1.0, 0, -1]) / 2**0.5
    assert torch.allclose(normals[30:, 30:], expected.expand(18, 38, 3), atol=1e-3)
    assert (normals[18:21, 19] == 0).all() and (normals[19, 18:21] == 0).all(), "nothing to lean on beside a hole"


class PlaneField:
    """A field that is one opaque plane at z = 1 in the world."""

    num_parameters = 0

    def shade(self, rays: Rays) -> Shaded:
        distances = (1 - rays.origins[:, 2]) / rays.directions[:, 2]
        return Shaded(torch.full((len(rays), 3), 0.25), torch.ones(len(rays)), distances)

    def densities(self, positions: torch.Tensor) -> torch.Tensor:
        return torch.zeros(len(positions))


def test_fields_have_layers_too():
    camera = straight_camera()
    tiles = list(layer_tiles(PlaneField(), camera, tile_px=32))
    assert len(tiles) == 6 and all(isinstance(tile, LayerTile) for tile in tiles)
    assert torch.allclose(whole(tiles, "depths", (70, 50)), torch.tensor(5.0), atol=1e-4)
    expected = torch.tensor([0.0, 0, -1]).expand(50, 70, 3)
    assert torch.allclose(whole(tiles, "normals", (70, 50)), expected, atol=1e-3)


def test_the_curve_has_an_inverse_and_known_values():
    display = torch.linspace(0, 2, 201, dtype=torch.float64)
    assert torch.allclose(encode_srgb(decode_srgb(display)), display, atol=1e-9)
    assert float(decode_srgb(torch.tensor(0.5))) == pytest.approx(0.21404, abs=1e-5)
    assert float(decode_srgb(torch.tensor(1.0))) == pytest.approx(1.0)


def test_half_covered_white_is_half_of_white_light():
    """Decoding without dividing by alpha first would give 0.21."""
    premultiplied, alpha = torch.full((1, 3), 0.5), torch.full((1, 1), 0.5)
    assert torch.allclose(to_scene(premultiplied, alpha, "linear"), torch.full((1, 3), 0.5))
    assert torch.allclose(to_scene(premultiplied, alpha, "acescg"), torch.full((1, 3), 0.5), atol=1e-6)
    assert torch.equal(to_scene(premultiplied, alpha, "srgb"), premultiplied)


def test_nothing_has_no_colour_and_bright_stays_bright():
    colors, alphas = torch.tensor([[0.0, 0, 0], [1.5, -0.1, 0.2]]), torch.tensor([[0.0], [1.0]])
    light = to_scene(colors, alphas, "linear")
    assert light[0].tolist() == [0, 0, 0] and float(light[1, 0]) > 2.4 and float(light[1, 1]) == 0


def test_acescg_is_opencolorios():
    ocio = pytest.importorskip("PyOpenColorIO", reason="needs opencolorio: pip install opencolorio")
    config = ocio.Config.CreateFromBuiltinConfig("cg-config-v2.1.0_aces-v1.3_ocio-v2.3")
    display = torch.rand(50, 3, generator=torch.Generator().manual_seed(3))
    processor = config.getProcessor("sRGB - Texture", "ACEScg").getDefaultCPUProcessor()
    expected = torch.tensor([processor.applyRGB(color) for color in display.tolist()])
    found = to_scene(display, torch.ones(50, 1), "acescg")
    assert torch.allclose(found, expected, atol=2e-5)
    assert torch.allclose(acescg_from_linear().sum(1), torch.ones(3).double(), atol=1e-6)
