"""Masks in the course of an ingest: for photos that brought none, once, and named where other tools look."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from neural3d.capture.detect import list_capture
from neural3d.capture.foreground import grab_cut
from neural3d.capture.ingest.masks import mask_ingest
from neural3d.capture.ingest.result_files import write_results
from neural3d.capture.ingest.settings import Settings
from neural3d.capture.ingest.state import WORK_FOLDER, PreparedPhoto, State, load_state, save_state
from neural3d.errors import InputError

from .test_foreground import FOCAL, POSES, SIDE, _cloud, _outline
from .writers import ColmapCamera, View, write_colmap

CAMERA = ColmapCamera(1, "PINHOLE", SIDE, SIDE, (FOCAL, FOCAL, SIDE / 2, SIDE / 2))


@pytest.fixture
def ingested(tmp_path) -> Path:
    """What an ingest of six photos of a red ball leaves; the second brought a mask of its own."""
    pytest.importorskip("cv2", reason="OpenCV is not installed")
    random, photos = np.random.default_rng(1), []
    for folder in ("images", "masks"):
        (tmp_path / folder).mkdir()
    for index, pose in enumerate(POSES):
        colors = np.where(_outline(pose)[..., None], (190, 60, 50), (70, 80, 110))
        noisy = (colors + random.normal(0, 12, (SIDE, SIDE, 3))).clip(0, 255).astype(np.uint8)
        Image.fromarray(noisy).save(tmp_path / f"images/{index}.png")
        photos.append(PreparedPhoto(f"{index}.png", f"/p/{index}.png", "1:2", SIDE, SIDE, "lens", has_mask=index == 1))
    Image.new("L", (SIDE, SIDE), 255).save(tmp_path / "masks/1.png.png")
    cloud = _cloud()[0]
    views = [View(f"{index}.png", (0, 0, 0), pose) for index, pose in enumerate(POSES)]
    write_colmap(tmp_path / "sparse/0", views, [CAMERA], list(zip(cloud.xyz, cloud.rgb.tolist(), strict=True)))
    (tmp_path / WORK_FOLDER).mkdir()
    save_state(tmp_path, State(Settings(), False, tuple(photos), mapped={"report": {}}))
    write_results(tmp_path, {"1.png"})
    return tmp_path


def test_photos_without_a_mask_get_one(ingested):
    brought = (ingested / "masks/1.png.png").read_bytes()
    report = mask_ingest(ingested, grab_cut, "auto")
    assert report.num_masks == 5 and not report.failed
    assert (ingested / "masks/1.png.png").read_bytes() == brought
    frames = json.loads((ingested / "transforms.json").read_text())["frames"]
    assert [frame["mask_path"] for frame in frames] == [f"masks/{index}.png.png" for index in range(6)]
    for frame, pose in zip(list_capture(ingested).frames, POSES, strict=True):
        mask, truth = np.asarray(Image.open(frame.mask_path)) > 127, _outline(pose)
        assert frame.name.endswith("1.png") or (mask & truth).sum() / (mask | truth).sum() > 0.85


def test_masks_are_made_once_for_the_same_poses(ingested):
    first = mask_ingest(ingested, grab_cut, "auto")

    def told(placed):
        raise AssertionError("they are there")

    assert mask_ingest(ingested, grab_cut, "auto", told) == first
    with pytest.raises(AssertionError, match="they are there"):
        mask_ingest(ingested, grab_cut, "mine:red", told)
    # What a start that finds the poses anew leaves:
    save_state(ingested, replace(load_state(ingested), mapped={"report": {}}))
    with pytest.raises(AssertionError, match="they are there"):
        mask_ingest(ingested, grab_cut, "auto", told)


def test_a_mask_that_is_not_found_again_is_named_no_more(ingested):
    """A photo that loses its mask is used whole; what a photo brought stays."""
    mask_ingest(ingested, grab_cut, "auto")
    brought = (ingested / "masks/1.png.png").read_bytes()
    save_state(ingested, replace(load_state(ingested), mapped={"report": {}}))
    levels = iter([130, 130, 256, 130, 130])  # the third of those without a mask of their own shows nothing
    report = mask_ingest(ingested, lambda picture, seeds: picture[..., 0] >= next(levels), "mine")
    assert len(report.failed) == 1 and report.num_masks == 4
    masks = {frame.image_path.stem: frame.mask_path for frame in list_capture(ingested).frames}
    assert [stem for stem, mask in masks.items() if mask is None] == ["3"]
    assert (ingested / "masks/1.png.png").read_bytes() == brought and not (ingested / "masks/3.png.png").exists()


def test_a_capture_of_another_origin_is_refused(ingested):
    (ingested / "ingest.json").unlink()
    with pytest.raises(InputError, match=r"ingest.json: is missing; find the poses first: neural3d ingest"):
        mask_ingest(ingested, grab_cut, "auto")
