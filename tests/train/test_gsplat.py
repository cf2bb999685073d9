"""gsplat in the place of our renderer: the same picture, the same gradients, the same training.

On the CPU a stand-in answers for gsplat's kernels; on a machine with a GPU and gsplat they answer themselves.
"""

import importlib.util
import inspect
import sys
from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch

from neural3d.devices import require_kernels
from neural3d.errors import InputError
from neural3d.render.gsplat_view import gsplat_render_function, gsplat_view
from neural3d.render.splats import render_splats
from neural3d.splats.gaussians import Gaussians
from neural3d.splats.view import View, splat_view, view_of
from neural3d.train.exposure import AffineMap
from neural3d.train.gradients import photo_gradient
from neural3d.train.gsplat_gradients import gsplat_photo_gradient
from neural3d.train.photos import build_pyramid
from neural3d.train.splats import train_splats

from .gsplat_stand_in import Given, front_of_gsplat, front_of_twins, gsplat_replaced
from .small_scenes import HEIGHT, QUICK, WIDTH, make_scene, psnr_of, ring, truth

BACKGROUND = torch.tensor([0.2, 0.5, 0.8])
IS_INSTALLED = importlib.util.find_spec("gsplat") is not None
needs_gsplat = pytest.mark.skipif(not IS_INSTALLED, reason="gsplat is not installed; the extra [cuda] has it")
FRONTS = [
    pytest.param(front_of_twins, id="twins"),
    pytest.param(front_of_gsplat, id="gsplat's reference", marks=needs_gsplat),
]
CUT = 2 / 255
"""gsplat leaves out a pixel's last Gaussian, and cuts alpha at 0.999: by about this much pixels may differ."""


@pytest.fixture(params=FRONTS)
def calls(request: pytest.FixtureRequest) -> Iterator[list[Given]]:
    """What a stand-in for gsplat is called with, in the course of a test."""
    with gsplat_replaced(request.param) as calls:
        yield calls


def colorful(count: int = 30, *, antialiased: bool = False) -> Gaussians:
    """Gaussians that show a wrong quaternion, harmonic, or order of axes."""
    gaussians = replace(truth(count, sh_degree=3), antialiased=antialiased)
    gaussians.sh[:, 1:] = 0.2 * torch.randn(count, 15, 3)
    gaussians.logit_opacities.copy_(torch.linspace(-3, 3, count))
    gaussians.log_scales[:, 0] -= 1.0
    return gaussians


def off_center() -> View:
    """A camera whose focal lengths and principal point differ along x and y."""
    cameras = replace(ring(5)[2], focal_px=torch.tensor([[50.0, 38.0]]), principal_px=torch.tensor([[20.0, 25.0]]))
    return view_of(cameras, 0)


@pytest.mark.parametrize("antialiased", [False, True])
@pytest.mark.parametrize("degree", [0, 1, 3])
def test_it_shows_what_we_show(calls, degree, antialiased):
    gaussians, view = colorful(antialiased=antialiased), off_center()
    theirs = gsplat_view(gaussians, view, BACKGROUND, sh_degree=degree)
    ours = splat_view(gaussians, view, BACKGROUND, sh_degree=degree)
    assert theirs.image.shape == (3, HEIGHT, WIDTH) and theirs.image.is_contiguous()
    assert (theirs.image - ours.image).abs().max() < CUT
    assert (theirs.image - ours.image).abs().mean() < 2e-4
    assert (theirs.alphas - ours.alphas).abs().max() < CUT
    seen = ours.projected.extents_px[:, 0] > 0
    assert (theirs.means_px[0] - ours.projected.means_px)[seen].abs().max() < 1e-3
    assert theirs.visible[seen].all()
    assert calls[0]["packed"] is False and calls[0]["sh_degree"] == degree


def test_light_is_not_blended_as_display_colours(calls):
    with pytest.raises(ValueError, match="blended as light, which gsplat's renderer does not do"):
        gsplat_view(replace(colorful(), linear=True), off_center(), BACKGROUND)


def test_the_background_is_behind(calls):
    gaussians, view = colorful(), off_center()
    black, colored = (gsplat_view(gaussians, view, behind) for behind in (torch.zeros(3), BACKGROUND))
    expected = black.image + (1 - black.alphas) * BACKGROUND[:, None, None]
    assert (colored.image - expected).abs().max() < 1e-6


@pytest.mark.parametrize("has_alpha", [False, True])
def test_it_pulls_as_we_pull(calls, has_alpha):
    gaussians, exposure = colorful(20), AffineMap(torch.eye(3, 4) + 0.1 * torch.randn(3, 4))
    photo = build_pyramid(make_scene(has_alpha=has_alpha), 0).levels[0][2]
    options = {"sh_degree": 3, "exposure": exposure, "ssim_weight": 0.2}
    ours = photo_gradient(gaussians, photo, BACKGROUND, **options)
    theirs = gsplat_photo_gradient(gaussians, photo, BACKGROUND, **options)
    assert theirs.loss.item() == pytest.approx(ours.loss.item(), abs=1e-3)
    assert theirs.squared_error.item() == pytest.approx(ours.squared_error.item(), rel=0.02)
    assert torch.equal(theirs.visible & ours.visible, ours.visible)
    for name, expected in ours.gaussians.tensors().items():
        pull = theirs.gaussians.tensors()[name]
        assert pull.is_contiguous() and not pull.requires_grad
        assert cosine(pull, expected) > 0.999, name
    assert cosine(theirs.means_px[ours.visible], ours.means_px[ours.visible]) > 0.999
    assert cosine(theirs.exposure, ours.exposure) > 0.999


def test_training_goes_the_same_way(calls):
    scene, config = make_scene(4, points=20), replace(QUICK, steps=12, coarse_levels=0)
    first = train_splats(scene, replace(config, steps=1)).gaussians
    ours = train_splats(scene, config).gaussians
    theirs = train_splats(scene, config, gradient_of=gsplat_photo_gradient).gaussians
    assert len(calls) == 12 and len(theirs) == len(ours)
    assert psnr_of(theirs, scene) == pytest.approx(psnr_of(ours, scene), abs=0.05)
    assert psnr_of(theirs, scene) > psnr_of(first, scene) + 0.5


def test_the_render_function_is_the_renders(calls):
    gaussians, cameras = colorful(), ring(3)
    rendering = gsplat_render_function(gaussians, background=BACKGROUND)(cameras)
    expected = render_splats(gaussians, cameras, background=BACKGROUND)
    assert (rendering.colors - expected.colors).abs().max() < CUT
    assert (rendering.alphas - expected.alphas).abs().max() < CUT


def cosine(one: torch.Tensor, other: torch.Tensor) -> float:
    return torch.cosine_similarity(one.flatten(), other.flatten(), dim=0).item()


@needs_gsplat
def test_the_stand_in_has_gsplats_signature():
    from gsplat import rasterization

    with gsplat_replaced(front_of_twins):
        from gsplat import rasterization as stand_in
    real = inspect.signature(rasterization).parameters
    for name, parameter in inspect.signature(stand_in).parameters.items():
        assert real[name].default == parameter.default, name
    assert list(real)[:20] == list(inspect.signature(stand_in).parameters)[:20]


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_one_line_says_so():
    with pytest.raises(InputError, match="^--backend gsplat: torch finds no NVIDIA GPU.*leave it out$"):
        require_kernels("gsplat")


def test_without_gsplat_one_line_says_so(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setitem(sys.modules, "gsplat", None)
    with pytest.raises(InputError, match=r"gsplat.* is not installed; pip install gsplat"):
        require_kernels("gsplat")


@pytest.mark.skipif(not torch.cuda.is_available() or not IS_INSTALLED, reason="there is no GPU, or no gsplat")
@pytest.mark.parametrize("antialiased", [False, True])
def test_the_kernels_show_and_pull_as_ours_do(antialiased):
    require_kernels("gsplat")
    gaussians = colorful(antialiased=antialiased).map(lambda tensor: tensor.cuda())
    photo = build_pyramid(make_scene(), 0).levels[0][2]
    view = View(*(value.cuda() if isinstance(value, torch.Tensor) else value for value in vars(photo.view).values()))
    photo, background = replace(photo, view=view, pixels=photo.pixels.cuda()), BACKGROUND.cuda()
    theirs, ours = gsplat_view(gaussians, view, background), splat_view(gaussians, view, background)
    assert (theirs.image - ours.image).abs().max() < CUT
    assert (theirs.image - ours.image).abs().mean() < 2e-4
    options = {"sh_degree": 3, "exposure": None, "ssim_weight": 0.2}
    pulls = [of(gaussians, photo, background, **options) for of in (gsplat_photo_gradient, photo_gradient)]
    for name, expected in pulls[1].gaussians.tensors().items():
        assert cosine(pulls[0].gaussians.tensors()[name], expected) > 0.999, name
