"""Evaluation: only held-out views, only valid pixels, photos with alpha over the same background as the render."""

import dataclasses
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from neural3d.cameras import Cameras
from neural3d.errors import InputError
from neural3d.evaluation import evaluate, evaluation_background, photo_colors
from neural3d.render.rendering import Rendering
from neural3d.scene import Photo, Scene, Similarity
from neural3d.srgb import decode_srgb, encode_srgb

HEIGHT, WIDTH = 12, 16


@pytest.fixture
def scene() -> Scene:
    """Three views whose camera tells which one it is by its x."""
    poses = torch.eye(4).repeat(3, 1, 1)
    poses[:, 0, 3] = torch.arange(3)
    size = torch.tensor([[WIDTH, HEIGHT]]).repeat(3, 1)
    pixels = [torch.randint(40, 200, (HEIGHT, WIDTH, 3), dtype=torch.uint8) for _ in range(3)]
    return Scene(
        cameras=Cameras(poses, torch.full((3, 2), 10.0), size / 2, size),
        photos=tuple(Photo(f"part/{i:04d}.jpg", p) for i, p in enumerate(pixels)),
        train_indices=torch.tensor([1]),
        test_indices=torch.tensor([0, 2]),
        points=None,
        capture_from_scene=Similarity.identity(),
        extent=1.0,
        up_world=torch.tensor([0.0, -1.0, 0.0]),
        has_alpha=False,
        downscale=1.0,
    )


def renderer(scene: Scene, background: torch.Tensor, error: float = 0.0):
    """Renders each photo itself, brighter by `error`."""

    def render(cameras: Cameras) -> Rendering:
        colors = photo_colors(scene.photos[int(cameras.camera_from_world[0, 0, 3])], background)[None] + error
        return Rendering(colors, torch.ones(1, HEIGHT, WIDTH, 1))

    return render


def test_scores_of_a_known_error(scene: Scene, tmp_path: Path):
    found = evaluate(renderer(scene, torch.zeros(3), 0.1), scene)
    content = found.to_json()
    assert [view.index for view in found.views] == [0, 2] and content["num_views"] == 2
    assert content["psnr"] == pytest.approx(20, abs=1e-3)
    assert content["psnr_color_corrected"] > 80
    assert 0 < content["ssim"] < 1 and 0 < content["flip"] < 0.5
    assert content["lpips"] is None and content["render_fps"] > 0


def test_a_perfect_render(scene: Scene):
    found = evaluate(renderer(scene, torch.zeros(3)), scene, indices=[1])
    assert [view.name for view in found.views] == ["part/0001.jpg"]
    assert found.mean("psnr") == math.inf and found.mean("flip") == 0 and found.mean("ssim") == pytest.approx(1)


def test_photos_with_alpha_lie_on_the_background(scene: Scene):
    alpha = torch.zeros(HEIGHT, WIDTH, dtype=torch.uint8)
    alpha[2:8] = 255
    photos = tuple(dataclasses.replace(photo, alpha=alpha) for photo in scene.photos)
    scene = dataclasses.replace(scene, photos=photos, has_alpha=True)
    assert evaluate(renderer(scene, torch.ones(3)), scene).mean("psnr") == math.inf, "white by default"
    assert evaluate(renderer(scene, torch.zeros(3)), scene).mean("psnr") < 10
    assert evaluate(renderer(scene, torch.zeros(3)), scene, background=torch.zeros(3)).mean("psnr") == math.inf


def test_photos_with_alpha_are_mixed_with_the_background_as_the_model_blends():
    """Half of a white photo over black is half the light, which a display shows brighter than half its values."""
    pixels, half = torch.full((2, 2, 3), 255, dtype=torch.uint8), torch.full((2, 2), 51, dtype=torch.uint8)
    photo, black = Photo("a.png", pixels, alpha=half), torch.zeros(3)
    assert torch.allclose(photo_colors(photo, black), torch.tensor(0.2))
    assert torch.allclose(photo_colors(photo, black, linear=True), encode_srgb(torch.tensor(0.2)), atol=1e-5)
    assert torch.equal(photo_colors(dataclasses.replace(photo, alpha=None), black, linear=True), torch.ones(2, 2, 3)), (
        "nothing is mixed"
    )
    bright = dataclasses.replace(photo, light=torch.full((2, 2, 3), 2.0).half())
    assert torch.allclose(photo_colors(bright, black, linear=True), encode_srgb(torch.tensor(0.4)), atol=1e-4)
    assert photo_colors(bright, torch.full((3,), 1.0), linear=True).max() <= 1, "what a display shows"


def test_light_is_judged_as_light(scene: Scene):
    alpha = torch.full((HEIGHT, WIDTH), 128, dtype=torch.uint8)
    photos = tuple(dataclasses.replace(photo, alpha=alpha) for photo in scene.photos)
    scene = dataclasses.replace(scene, photos=photos, has_alpha=True)

    def render(cameras: Cameras) -> Rendering:
        photo = scene.photos[int(cameras.camera_from_world[0, 0, 3])]
        light = decode_srgb(photo.pixels.float() / 255) * (128 / 255) + (127 / 255)
        return Rendering(encode_srgb(light)[None], torch.ones(1, HEIGHT, WIDTH, 1))

    assert evaluate(render, scene, linear=True).mean("psnr") > 80
    assert evaluate(render, scene).mean("psnr") < 40


@pytest.mark.parametrize(
    ("has_alpha", "choice", "expected"),
    [
        (True, "auto", 1),
        (True, "random", 1),
        (True, "black", 0),
        (False, "auto", 0),
        (False, "random", 0),
        (False, "white", 1),
    ],
)
def test_the_background_of_an_evaluation(has_alpha: bool, choice: str, expected: int):
    assert evaluation_background(has_alpha, choice).tolist() == [expected] * 3


def test_invalid_pixels_and_views_do_not_count(scene: Scene):
    valid = torch.ones(HEIGHT, WIDTH, dtype=torch.bool)
    valid[:, :5] = False
    nothing = torch.zeros_like(valid)
    masks = [valid, None, nothing]
    photos = tuple(dataclasses.replace(p, valid=m) for p, m in zip(scene.photos, masks, strict=True))
    scene = dataclasses.replace(scene, photos=photos)

    def render(cameras: Cameras) -> Rendering:
        colors = photo_colors(scene.photos[0], torch.zeros(3)).clone()
        colors[:, :5] = 0.99
        return Rendering(colors[None], torch.ones(1, HEIGHT, WIDTH, 1))

    found = evaluate(render, scene)
    assert found.skipped == ("part/0002.jpg",) and len(found.views) == 1
    assert found.mean("psnr") == math.inf and found.mean("flip") == 0


def test_nothing_to_evaluate_is_an_input_error(scene: Scene):
    empty = dataclasses.replace(scene, test_indices=torch.zeros(0, dtype=torch.int64))
    with pytest.raises(InputError, match="no held-out view"):
        evaluate(renderer(scene, torch.zeros(3)), empty)


def test_pictures_stand_side_by_side(scene: Scene, tmp_path: Path):
    evaluate(renderer(scene, torch.zeros(3), 0.1), scene, output=tmp_path / "renders")
    assert sorted(entry.name for entry in (tmp_path / "renders").iterdir()) == ["00000-0000.png", "00002-0002.png"]
    with Image.open(tmp_path / "renders" / "00002-0002.png") as image:
        pixels = np.asarray(image)
    assert pixels.shape == (HEIGHT, 3 * WIDTH, 3)
    assert np.array_equal(pixels[:, :WIDTH], scene.photos[2].pixels.numpy())
    assert np.abs(pixels[:, WIDTH : 2 * WIDTH].astype(int) - pixels[:, :WIDTH] - 25.5).max() <= 0.5
