"""The Python of README and CONTRIBUTING runs as it is printed, but on fewer Gaussians for less time."""

import json
import re
from pathlib import Path

import pytest
import torch
from PIL import Image

from neural3d.export.ply import read_ply
from neural3d.run import Run
from neural3d.scene import Scene
from neural3d.train.densify import Densifier

from .small_scenes import is_finite, make_scene, same, stop_at, train

BUDGET = "max_seconds=60"


@pytest.fixture
def examples(repository: Path) -> list[str]:
    texts = ((repository / name).read_text("utf-8") for name in ("README.md", "CONTRIBUTING.md"))
    return [example for text in texts for example in re.findall(r"^```python\n(.*?)^```$", text, re.M | re.S)]


@pytest.fixture
def folder_of_photos(tmp_path, monkeypatch) -> Path:
    """A capture `photos/` of twelve photos in the current folder."""
    monkeypatch.chdir(tmp_path)
    cameras = make_scene(12).cameras.scaled(96, 80)
    write_capture(tmp_path / "photos", make_scene(cameras=cameras))
    return tmp_path


def write_capture(folder: Path, scene: Scene) -> None:
    """As nerfstudio does."""
    (folder / "images").mkdir(parents=True)
    frames = []
    for photo, world_from_camera in zip(scene.photos, scene.cameras.world_from_camera, strict=True):
        Image.fromarray(photo.pixels.numpy()).save(folder / "images" / photo.name)
        opengl = world_from_camera @ torch.diag(torch.tensor([1.0, -1.0, -1.0, 1.0]))
        frames.append({"file_path": f"images/{photo.name}", "transform_matrix": opengl.tolist()})
    (width, height), (fx, fy) = scene.cameras.size_px[0].tolist(), scene.cameras.focal_px[0].tolist()
    lens = {"w": width, "h": height, "fl_x": fx, "fl_y": fy, "cx": width / 2, "cy": height / 2}
    (folder / "transforms.json").write_text(json.dumps({"camera_model": "OPENCV", **lens, "frames": frames}))


def run_example(text: str) -> dict:
    assert BUDGET in text
    names: dict = {}
    exec(compile(text.replace(BUDGET, "steps=200, max_seconds=60.0, max_gaussians=1000"), "README.md", "exec"), names)
    return names


def test_from_a_folder_to_a_picture_in_ten_lines(examples, folder_of_photos, capsys):
    assert len([line for line in examples[0].splitlines() if line.strip()]) <= 10
    text = examples[0].replace(", downscale=2", "")
    names = run_example(text)
    with Image.open("view.png") as picture:
        assert picture.size == (96, 80) and len(picture.convert("RGB").getcolors(96 * 80)) > 100
    assert float(capsys.readouterr().out) > 15
    assert len(read_ply(Path("scene.ply"))) == len(names["gaussians"])


def test_a_densifier_in_thirty_lines(examples, folder_of_photos):
    body = examples[1][examples[1].index("class ") :]
    assert len([line for line in body.splitlines() if line.strip()]) <= 30
    names = run_example(examples[1])
    assert names["result"].completed and is_finite(names["result"].gaussians)
    assert isinstance(names["CopyThePulled"](1), Densifier)


def test_that_densifier_grows_and_resumes(examples, tmp_path):
    """Behind the example's words: the cap holds, and a run in parts gives the same bytes."""
    names: dict = {}
    exec(compile(examples[1][: examples[1].index("scene = ")], "README.md", "exec"), names)
    densifier = names["CopyThePulled"]
    scene, options = make_scene(), {"steps": 130}
    gaussians = train(scene, densifier=densifier(43), **options).gaussians
    assert 40 < len(gaussians) <= 43
    with Run.create(tmp_path / "run", {}) as run:
        train(scene, densifier=densifier(43), run=run, observers=[stop_at(75)], **options)
    with Run.resume(tmp_path / "run") as run:
        again = train(scene, densifier=densifier(43), run=run, **options).gaussians
    assert same(gaussians.tensors(), again.tensors())
