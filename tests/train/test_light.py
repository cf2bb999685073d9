"""Training on linear light: how it is blended and compared, and that light above white comes back."""

from dataclasses import replace

import pytest
import torch

from neural3d.cameras import Cameras
from neural3d.reference.photometric import ssim_map
from neural3d.render.color_spaces import to_scene
from neural3d.render.layers import layer_tiles
from neural3d.render.paths import look_at
from neural3d.render.splats import render_splats
from neural3d.scene import Photo, Scene, Similarity
from neural3d.splats.gaussians import Gaussians
from neural3d.splats.view import splat_view, view_of
from neural3d.srgb import decode_slope, decode_srgb, encode_slope, encode_srgb
from neural3d.train.config import LearningRates
from neural3d.train.exposure import AffineMap
from neural3d.train.gradients import photo_gradient
from neural3d.train.light import display_target, light_loss
from neural3d.train.photos import TrainingPhoto, build_pyramid
from neural3d.train.splats import SplatConfig, train_splats

SH_DC = 0.28209479177387814


def gaussians_of_light(count: int = 40, seed: int = 3, *, brightest: float = 8.0) -> Gaussians:
    """Some of which are far brighter than white."""
    random = torch.Generator().manual_seed(seed)
    light = brightest * torch.rand(count, 1, 3, generator=random) ** 3
    return Gaussians(
        means_world=torch.randn(count, 3, generator=random) * 0.5,
        log_scales=-1.7 + 0.3 * torch.randn(count, 3, generator=random),
        quats_wxyz=torch.tensor([[1.0, 0, 0, 0]]).repeat(count, 1),
        logit_opacities=torch.full((count,), 2.0),
        sh=torch.cat([(encode_srgb(light) - 0.5) / SH_DC, 0.1 * torch.randn(count, 3, 3, generator=random)], dim=1),
        linear=True,
    )


def cameras_around(count: int = 8, size: tuple[int, int] = (48, 36)) -> Cameras:
    angles = torch.arange(count) * (2 * torch.pi / count)
    centers = torch.stack([4 * angles.cos(), 4 * angles.sin(), torch.ones(count)], dim=-1)
    sizes = torch.tensor([size]).repeat(count, 1)
    poses = look_at(centers, torch.zeros(count, 3), torch.tensor([0.0, 0, 1])).float()
    return Cameras(poses, torch.full((count, 2), 60.0), sizes / 2, sizes)


def light_of(gaussians: Gaussians, cameras: Cameras, index: int) -> torch.Tensor:
    with torch.no_grad():
        return splat_view(gaussians, view_of(cameras, index), torch.zeros(3)).image.permute(1, 2, 0)


def photo_of(light: torch.Tensor, **more: torch.Tensor) -> TrainingPhoto:
    shown = (255 * encode_srgb(light)).round().clamp(0, 255).byte()
    planes = {"alpha": None, "valid": None, **more}
    return TrainingPhoto(view_of(cameras_around(), 0), shown, light=light.half(), **planes)


def scene_of_light(gaussians: Gaussians, count: int = 8) -> Scene:
    cameras = cameras_around(count)
    lights = [light_of(gaussians, cameras, i) for i in range(count)]
    photos = tuple(Photo(f"{i}.exr", photo_of(light).pixels, light=light.half()) for i, light in enumerate(lights))
    indices = torch.arange(count)
    frame, up = Similarity.identity(), torch.tensor([0.0, 0, 1])
    return Scene(cameras, photos, indices, indices[:1], None, frame, 4.0, up, False, 1.0)


def test_slopes_are_those_of_the_curve():
    values = torch.tensor([0.0, 0.001, 0.02, 0.3, 1.0, 7.5], dtype=torch.float64, requires_grad=True)
    for curve, slope in ((decode_srgb, decode_slope), (encode_srgb, encode_slope)):
        (expected,) = torch.autograd.grad(curve(values).sum(), values)
        assert torch.allclose(slope(values), expected)


@pytest.mark.parametrize("curve", [decode_srgb, encode_srgb, decode_slope, encode_slope])
def test_threads_change_no_byte_of_the_curves(curve):
    """Of a prime number of values, so that no thread's part fills its vectors."""
    values = 9 * torch.rand(300_007, generator=torch.Generator().manual_seed(0))
    found = []
    for count in (1, 2, 3):
        torch.set_num_threads(count)
        found.append(curve(values))
    assert torch.equal(found[0], found[1]) and torch.equal(found[0], found[2])


@pytest.mark.parametrize("dtype, rtol", [(torch.float32, 2e-6), (torch.float64, 1e-12)])
def test_the_curves_are_the_standards(dtype, rtol):
    display = torch.cat([torch.tensor([0.0, 0.04, 1.0], dtype=dtype), torch.logspace(-6, 1.5, 500, dtype=dtype)])
    light = [x / 12.92 if x <= 0.04045 else ((x + 0.055) / 1.055) ** 2.4 for x in display.tolist()]
    expected = torch.tensor(light, dtype=torch.float64)
    torch.testing.assert_close(decode_srgb(display).double(), expected, rtol=rtol, atol=0)
    torch.testing.assert_close(encode_srgb(expected.to(dtype)), display, rtol=rtol, atol=1e-8)
    assert decode_srgb(display)[0] == 0 and encode_srgb(display)[0] == 0 and decode_srgb(display)[2] == 1


def test_light_is_blended_as_light():
    """Half of a light of 4 before black is a light of 2, whatever a display shows of it."""
    sh = ((encode_srgb(torch.tensor(4.0)) - 0.5) / SH_DC).repeat(1, 1, 3)
    disk = Gaussians(
        torch.zeros(1, 3), torch.full((1, 3), 1.0), torch.tensor([[1.0, 0, 0, 0]]), torch.zeros(1), sh, linear=True
    )
    (tile,) = layer_tiles(disk, cameras_around(1))
    assert tile.is_light and torch.allclose(tile.colors, 4 * tile.alphas.expand(-1, -1, 3), rtol=1e-4)
    assert 0.45 < tile.alphas.max() < 0.51
    shown = render_splats(disk, cameras_around(1)).colors[0]
    assert torch.allclose(shown, encode_srgb(tile.colors), rtol=1e-5)
    white = render_splats(disk, cameras_around(1), background=torch.ones(3)).colors[0]
    assert torch.allclose(white, encode_srgb(tile.colors + 1 - tile.alphas), rtol=1e-4)
    as_light = to_scene(tile.colors, tile.alphas, "linear", is_light=True)  # divided by alpha, and multiplied again
    torch.testing.assert_close(as_light, tile.colors, rtol=2.0**-23, atol=0)
    as_display = to_scene(tile.colors, tile.alphas, "srgb", is_light=True)
    assert torch.allclose(as_display, encode_srgb(torch.tensor(4.0)) * tile.alphas.expand(-1, -1, 3), rtol=1e-4)


@pytest.mark.parametrize("masked", [False, True])
def test_the_loss_and_its_gradient_are_those_of_the_reference(masked: bool):
    gaussians, cameras = gaussians_of_light(), cameras_around()
    valid = torch.rand(36, 48, generator=torch.Generator().manual_seed(1)) > 0.3 if masked else None
    alpha = torch.randint(0, 256, (36, 48), generator=torch.Generator().manual_seed(2)).byte() if masked else None
    photo, background = (
        photo_of(light_of(gaussians, cameras, 0), alpha=alpha, valid=valid),
        torch.tensor([0.2, 0.9, 0.5]),
    )
    shown = (light_of(gaussians, cameras, 1) + 0.01).permute(2, 0, 1).contiguous().requires_grad_()
    target = display_target(photo, background)
    known = torch.ones(36, 48, dtype=torch.bool) if valid is None else valid
    image = torch.where(known, encode_srgb(shown), target)
    each = 0.8 * (image - target).abs() + 0.2 * (1 - ssim_map(image, target))
    expected = torch.where(known, each, 0).sum() / (3 * known.sum())
    (slope,) = torch.autograd.grad(expected, shown)
    loss, squared, gradient = light_loss(shown.detach(), photo, valid, background, 0.2)
    assert float(loss) == pytest.approx(expected.item(), rel=1e-5)
    assert torch.allclose(gradient, slope, atol=1e-4 * float(slope.abs().max()))
    clamped = (image.clamp(0, 1) - target.clamp(0, 1)).square().mean(0)
    assert float(squared) == pytest.approx(clamped[known].mean().item(), rel=1e-4)


@pytest.mark.parametrize("level", [1.0, 1e4, 6e4])
def test_the_gradient_of_bright_light_is_no_rounding_noise(level: float):
    """A flat light, shown a little too bright and hardly structured, against the reference in float64."""
    random = torch.Generator().manual_seed(0)
    photo = photo_of(torch.full((36, 48, 3), level))
    shown = 1.01 * level * (1 + 1e-3 * torch.rand(3, 36, 48, generator=random))
    image = encode_srgb(shown).double().requires_grad_()
    similarity = ssim_map(image, encode_srgb(photo.light.float()).double().permute(2, 0, 1))
    (slope,) = torch.autograd.grad(1 - similarity.mean(), image)
    loss, _, gradient = light_loss(shown, photo, None, torch.zeros(3), 1.0)
    assert float(loss) == pytest.approx(1 - similarity.mean().item(), rel=1e-5)
    expected = slope.float() * encode_slope(shown)
    torch.testing.assert_close(gradient, expected, rtol=1e-5, atol=1e-6 * float(expected.abs().max()))


def test_the_gradient_is_the_same_at_any_number_of_threads():
    gaussians, cameras = gaussians_of_light(), cameras_around(8, (211, 199))
    shown = light_of(gaussians, cameras, 1).permute(2, 0, 1).contiguous()
    photo = photo_of(light_of(gaussians, cameras, 0))
    found = []
    for count in (1, 2, 3):
        torch.set_num_threads(count)
        found.append(light_loss(shown, photo, None, torch.zeros(3), 0.2)[2])
    assert torch.equal(found[0], found[1]) and torch.equal(found[0], found[2])


def test_every_parameter_is_pulled_as_autograd_pulls():
    """Through the curve of each colour, the blending, a photo's exposure and the curve of the picture."""
    gaussians, cameras = gaussians_of_light(), cameras_around()
    photo = photo_of(light_of(gaussians_of_light(seed=4), cameras, 0))
    matrix = torch.eye(3, 4) * 1.1 + 0.01
    found = photo_gradient(
        gaussians, photo, torch.tensor([0.3, 0.3, 0.3]), sh_degree=1, exposure=AffineMap(matrix), ssim_weight=0.0
    )
    leaves = gaussians.map(lambda tensor: tensor.clone().requires_grad_())
    image = splat_view(leaves, photo.view, torch.tensor([0.3, 0.3, 0.3])).image
    shown = torch.einsum("ij,jhw->ihw", matrix[:, :3], image) + matrix[:, 3, None, None]
    loss = (encode_srgb(shown) - display_target(photo, torch.zeros(3))).abs().mean()
    expected = torch.autograd.grad(loss, list(leaves.tensors().values()))
    assert float(found.loss) == pytest.approx(loss.item(), rel=1e-5)
    for (name, gradient), slope in zip(found.gaussians.tensors().items(), expected, strict=True):
        assert torch.allclose(gradient, slope, atol=1e-4 * float(slope.abs().max())), name


def test_the_pyramid_halves_light():
    scene = scene_of_light(gaussians_of_light(), count=2)
    scene = replace(scene, cameras=scene.cameras.scaled(96, 72), photos=tuple(map(_doubled, scene.photos)))
    full, half = (level[0] for level in build_pyramid(scene, 1).levels)
    assert full.light.shape == (72, 96, 3) and half.light.shape == (36, 48, 3)
    assert torch.allclose(half.light.float(), full.light[::2, ::2].float(), rtol=1e-3)
    assert torch.equal(half.pixels, (255 * encode_srgb(half.light.float())).round().clamp(0, 255).byte())


def _doubled(photo: Photo) -> Photo:
    twice = {"pixels": photo.pixels, "light": photo.light}
    return replace(photo, **{name: t.repeat_interleave(2, 0).repeat_interleave(2, 1) for name, t in twice.items()})


def test_light_above_white_comes_back_within_two_percent():
    """A scene of lights up to 8, learnt from its photos and rendered as light from where one was taken."""
    truth = gaussians_of_light(12)
    scene = scene_of_light(truth)
    start = replace(truth, sh=0 * truth.sh, log_scales=truth.log_scales - 0.2, linear=False)
    limits = {"steps": 1500, "max_seconds": None, "max_gaussians": 12, "coarse_until": 0.0, "sh_degree": 1}
    config = SplatConfig(**limits, exposure="none", rates=replace(LearningRates(), sh_dc=0.05))
    result = train_splats(scene, config, initial=start).gaussians
    assert result.linear
    for index in (0, 3):
        expected, found = (light_of(model, scene.cameras, index) for model in (truth, result))
        bright = expected.amax(-1) > 1.5
        assert bright.sum() > 20 and expected.max() > 3
        assert float(found[bright].sum() / expected[bright].sum()) == pytest.approx(1, abs=0.02)
        errors = (found[bright] - expected[bright]).abs().amax(-1) / expected[bright].amax(-1)
        assert float(errors.median()) < 0.02
