"""Object ids: the hashes of the specification, what a pixel is made of, and masks that say which Gaussian is whose."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from neural3d.capture.lenses import Lens
from neural3d.errors import InputError
from neural3d.render import cryptomatte
from neural3d.render.exr import ExrFrame, ExrSettings, write_exr
from neural3d.render.objects import NONE, Objects, objects_in_views
from neural3d.render.splats import render_splats
from neural3d.splats.gaussians import Gaussians, cat_gaussians

from .scenes import CAPTURE_FROM_SCENE, cameras_around, disk, some_gaussians, straight_camera
from .test_exr import parts_of

pytest.importorskip("mmh3", reason="needs mmh3: pip install OpenEXR mmh3 tifffile")
WHERE = {"capture_from_scene": CAPTURE_FROM_SCENE}
NAMES = ("cup", "Löffel", "table")


def halves(gaussians: Gaussians) -> Objects:
    """Left of the middle, right of it before the middle, and the rest, of no object."""
    x, _, z = gaussians.means_world.unbind(1)
    return Objects(NAMES, torch.where(x < 0, 0, torch.where(z < 0, 1, NONE)))


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("hello", 6.0705627102400005616e-17),
        ("cube", -4.08461912519e15),
        ("sphere", 2.79018604383e15),
        ("plane", 3.66557617593e-11),
    ],
)
def test_names_have_the_ids_of_the_reference(name: str, expected: float):
    """Source: Cryptomatte's own tests of MurmurHash3 as a float."""
    assert cryptomatte.float_of(cryptomatte.object_id(name)) == pytest.approx(expected, rel=1e-11)


def test_layers_have_the_keys_of_the_reference():
    """Source: the sample pictures of the specification, whose layers are crypto_object and crypto_material."""
    assert cryptomatte.layer_key("crypto_object") == "cryptomatte/f834d0a"
    assert cryptomatte.layer_key("crypto_material") == "cryptomatte/bda530a"


def test_ids_are_numbers_whatever_the_hash(monkeypatch: pytest.MonkeyPatch):
    """An exponent of all ones would be infinite or no number, one of zeros denormal, which programs flush."""
    mmh3 = cryptomatte.require_mmh3(Path("a.exr"))
    for bits in (0x7F812345, 0xFF800000, 0x00012345, 0x80000000):
        monkeypatch.setattr(mmh3, "hash", lambda *_, bits=bits, **__: bits)
        value = np.float32(cryptomatte.float_of(cryptomatte.object_id("x")))
        assert np.isfinite(value) and abs(value) >= np.finfo(np.float32).tiny
    with pytest.raises(InputError, match=r"cup, table: two of them have one id; rename one"):
        cryptomatte.cryptomatte_header(("cup", "table"))


def test_a_pixel_says_what_covers_it(tmp_path: Path):
    """By two other ways: pictures of each object's Gaussians in white among black ones, and the file's own alpha."""
    gaussians, frame = some_gaussians(), ExrFrame(cameras_around(1))
    objects, settings = halves(gaussians), ExrSettings(layers=("rgba", "object"), precision="float")
    write_exr(tmp_path / "a.exr", gaussians, frame, settings=settings, objects=objects, **WHERE)
    found = parts_of(tmp_path / "a.exr")
    assert set(found) == {"rgba", "CryptoObject00", "CryptoObject01"}
    assert found["CryptoObject01"][0].channelnames == tuple(f"CryptoObject01.{c}" for c in "RGBA")
    assert str(found["CryptoObject00"][0].format) == "float"
    pairs = np.concatenate([found["CryptoObject00"][1], found["CryptoObject01"][1]], axis=-1)
    ids, shares = pairs[..., 0::2], pairs[..., 1::2]
    assert (np.diff(shares, axis=-1) <= 0).all(), "the largest first"
    for number, name in enumerate(NAMES):
        white = torch.where(objects.object_from_gaussian == number, 0.5 / 0.28209479177387814, -50.0)
        sh = torch.cat([white[:, None, None].expand(-1, 1, 3), torch.zeros(len(gaussians), 3, 3)], dim=1)
        colored = Gaussians(**{**gaussians.tensors(), "sh": sh})
        expected = render_splats(colored, frame.camera).colors[0, ..., 0].numpy()
        is_it = ids.view(np.uint32) == np.uint32(cryptomatte.object_id(name))
        assert np.abs(np.where(is_it, shares, 0).sum(-1) - expected).max() < 1e-5, name
    assert (shares.sum(-1) <= found["rgba"][1][..., 3] + 1e-5).all()
    assert (ids[shares == 0] == 0).all() and (shares[..., 1] > 0.05).any(), "some pixels show two objects"


def test_the_header_has_the_manifest_of_the_ids_in_the_pixels(tmp_path: Path):
    gaussians = cat_gaussians([disk(radius=0.3), disk(0.5, radius=0.3)])
    objects = Objects(NAMES[:2], torch.tensor([1, 0]))
    settings = ExrSettings(layers=("rgba", "object"))
    write_exr(tmp_path / "a.exr", gaussians, ExrFrame(straight_camera()), settings=settings, objects=objects, **WHERE)
    spec, pixels = parts_of(tmp_path / "a.exr")["CryptoObject00"]
    said = {name: spec.getattribute(f"cryptomatte/3ae39a5/{name}") for name in ("name", "hash", "conversion")}
    assert said == {"name": "CryptoObject", "hash": "MurmurHash3_32", "conversion": "uint32_to_float32"}
    manifest = json.loads(spec.getattribute("cryptomatte/3ae39a5/manifest"))
    assert set(manifest) == set(NAMES[:2])
    assert f"{pixels[25, 35, :1].view(np.uint32)[0]:08x}" == manifest["Löffel"] and pixels[25, 35, 1] > 0.95


def test_an_object_goes_through_the_lens_with_the_picture(tmp_path: Path):
    """Shares are bent, not ids, which have no middle."""
    camera = straight_camera()
    lens = Lens("OPENCV", 70, 50, (60.0, 60.0), (35.0, 25.0), radial=(0.2,))
    settings = ExrSettings(layers=("rgba", "object"), precision="float")
    model, objects = disk(radius=0.3), Objects(("disk",), torch.tensor([0]))
    frame = ExrFrame(camera, lens=lens)
    write_exr(tmp_path / "a.exr", model, frame, settings=settings, objects=objects, **WHERE)
    found = {name: pixels for name, (_, pixels) in parts_of(tmp_path / "a.exr").items()}
    shares = found["CryptoObject00"]
    assert np.abs(shares[..., 1] - found["rgba"][..., 3]).max() < 1e-5
    assert set(np.unique(shares[..., 0])) == {0, np.float32(cryptomatte.float_of(cryptomatte.object_id("disk")))}


def test_masks_of_views_find_the_objects_gaussians():
    """Masks are what the objects' Gaussians show, alone, where they are more than half of the pixel."""
    gaussians, cameras = some_gaussians(80), cameras_around(4)
    truth = torch.where(gaussians.means_world[:, 0] < 0, 0, 1)
    apart = gaussians.means_world * 0.5 + torch.tensor([1.0, 0, 0]) * (2 * truth - 1)[:, None]
    gaussians = Gaussians(**{**gaussians.tensors(), "means_world": apart})
    white = [torch.where(truth == number, 0.5 / 0.28209479177387814, -50.0) for number in (0, 1)]
    sh = [torch.cat([w[:, None, None].expand(-1, 1, 3), torch.zeros(80, 3, 3)], dim=1) for w in white]
    seen = [render_splats(Gaussians(**{**gaussians.tensors(), "sh": one}), cameras).colors[..., 0] for one in sh]
    known = torch.ones(50, 70, dtype=torch.bool)

    def shares(index: int):
        return None if index == 3 else (torch.stack([(one[index] > 0.5).float() for one in seen]), known)

    found = objects_in_views(gaussians, cameras, ("left", "right"), shares).object_from_gaussian
    named = found != NONE
    assert named.float().mean() > 0.9 and torch.equal(found[named], truth[named])
    nothing = objects_in_views(gaussians, cameras, ("left", "right"), lambda index: None).object_from_gaussian
    assert (nothing == NONE).all()


def test_pixels_that_a_photo_does_not_have_do_not_vote():
    """A Gaussian that is in the mask wherever it is known belongs to the object, though most of it is not known."""
    model, camera = disk(radius=0.3), straight_camera()
    known = torch.zeros(50, 70, dtype=torch.bool)
    known[:, 34:] = True
    known[:, 40:] = False
    planes = known.float()[None]
    assert objects_in_views(model, camera, ("disk",), lambda i: (planes, known)).object_from_gaussian.tolist() == [0]
    everywhere = torch.ones_like(known)
    alone = objects_in_views(model, camera, ("disk",), lambda i: (planes, everywhere)).object_from_gaussian
    assert alone.tolist() == [NONE], "the bound would not see what lies outside"
