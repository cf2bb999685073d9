"""Readers believe nothing: whatever is cut off, flipped or claimed ends in one line, or in Gaussians."""

import gzip
import io
import json
import struct
import warnings
import zipfile
from pathlib import Path

import pytest
import torch

from neural3d.errors import InputError
from neural3d.export.formats import read_splats, write_splats

from .splats import IDENTITY, like_a_scene
from .test_formats import BOUNDS, needs

NAMES = [name for name in BOUNDS if name != "a.ply"]  # test_ply.py has its own


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """A small good file of each format."""
    folder, found = tmp_path_factory.mktemp("good"), {}
    for name in NAMES:
        try:
            write_splats(folder / needs(name), like_a_scene(40, degree=1), capture_from_scene=IDENTITY)
        except pytest.skip.Exception:
            continue
        found[name] = (folder / name).read_bytes()
    return found


def read(path: Path, data: bytes) -> str | None:
    """The complaint; None where Gaussians came out."""
    path.write_bytes(data)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # rows that are not finite are left out with one
            found = read_splats(path)
    except InputError as error:
        assert str(path.parent) in str(error) and "\n" not in str(error) and len(str(error)) < 1000
        return str(error)
    assert all(bool(tensor.isfinite().all()) for tensor in found.tensors().values())
    return None


@pytest.mark.parametrize("name", NAMES)
def test_cut_files_are_refused(tmp_path: Path, written: dict[str, bytes], name: str):
    data = written[needs(name)]
    for part in range(24):
        cut = len(data) * part // 24
        if not (name == "a.splat" and cut and cut % 32 == 0):  # that is what a shorter .splat is
            assert read(tmp_path / name, data[:cut]), cut


@pytest.mark.parametrize("name", NAMES)
def test_flipped_bytes_end_in_a_line_or_in_gaussians(tmp_path: Path, written: dict[str, bytes], name: str):
    data = written[needs(name)]
    places = torch.randint(0, len(data), (60,)).tolist() + list(range(0, 48, 2))
    for place, value in zip(places, torch.randint(0, 256, (len(places),)).tolist(), strict=True):
        read(tmp_path / name, data[:place] + bytes([value]) + data[place + 1 :])


def claim(tmp_path: Path, name: str, data: bytes, message: str) -> None:
    complaint = read(tmp_path / name, data)
    assert complaint is not None and message in complaint, complaint


@pytest.mark.parametrize("count", [41, 10**9, 2**32 - 1])
def test_spz_that_claims_more_than_it_holds(tmp_path: Path, written: dict[str, bytes], count: int):
    plain = gzip.decompress(written["a.spz"])
    more = gzip.compress(plain[:8] + struct.pack("<I", count) + plain[12:])
    claim(tmp_path, "a.spz", more, "ends before its Gaussians" if count == 41 else "cannot hold them")
    write_splats(tmp_path / "b.spz", like_a_scene(40), capture_from_scene=IDENTITY, version=4)
    data = (tmp_path / "b.spz").read_bytes()
    claim(tmp_path, "b.spz", data[:8] + struct.pack("<I", count) + data[12:], f"expected {9 * count}")
    # The table's claim fits the header's, but not the stream.
    lied = bytearray(data[:8] + struct.pack("<I", count) + data[12:])
    for number, size in enumerate((9, 1, 3, 3, 4, 45)):
        struct.pack_into("<Q", lied, 32 + 16 * number + 8, size * count)
    claim(tmp_path, "b.spz", bytes(lied), "holds 360 bytes of 369" if count == 41 else "cannot hold them")


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        (0, b"XGSP", "does not begin with NGSP"),
        (4, b"\x09", "version 9"),
        (12, b"\x07", "degree 7"),
        (13, b"\xff", "255 bits"),
    ],
)
def test_spz_headers_that_make_no_sense(tmp_path: Path, written: dict[str, bytes], place, value, message):
    plain = gzip.decompress(written["a.spz"])
    claim(tmp_path, "a.spz", gzip.compress(plain[:place] + value + plain[place + len(value) :]), message)


def with_meta(data: bytes, change) -> bytes:
    """A SOG file whose meta.json a function has changed."""
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(out, "w") as new:
        for name in old.namelist():
            content = old.read(name)
            if name == "meta.json":
                meta = json.loads(content)
                change(meta)
                content = json.dumps(meta).encode()
            new.writestr(name, content)
    return out.getvalue()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda meta: meta.update(count=10**12), "whole number from 1"),
        (lambda meta: meta.update(count=10**8), "pixels for 100000000 values"),
        (lambda meta: meta.update(count="40"), "whole number"),
        (lambda meta: meta.update(version=1), "no SOG of version 2"),
        (lambda meta: meta.pop("quats"), "no quats.files"),
        (lambda meta: meta["means"].update(files=["../../secret.webp", "b"]), "holds no ../../secret"),
        (lambda meta: meta["scales"].update(codebook=[0.0] * 255), "list of 256 numbers"),
        (lambda meta: meta["sh0"].update(codebook=[float("inf")] * 256), "list of 256 numbers"),
        (lambda meta: meta["shN"].update(count=1), "behind the"),
        (lambda meta: meta["shN"].update(bands=4), "from 1 to 3"),
        (lambda meta: meta["shN"].update(bands=3), "pixels"),
    ],
)
def test_sog_that_claims_nonsense(tmp_path: Path, written: dict[str, bytes], change, message: str):
    claim(tmp_path, "a.sog", with_meta(written["a.sog"], change), message)


@pytest.mark.parametrize("how", ["an index that leads before the file", "a stream that is none", "encrypted"])
def test_sog_whose_archive_lies(tmp_path: Path, written: dict[str, bytes], how: str):
    """Found by fuzzing: what zipfile meets there it tells in errors of its own, and of the system's."""
    data = bytearray(written["a.sog"])
    entry = data.index(b"PK\x01\x02")
    if how.startswith("an index"):
        struct.pack_into("<I", data, data.rindex(b"PK\x05\x06") + 16, 2**31)
    elif how.startswith("a stream"):
        for start in (data.index(b"PK\x03\x04") + 8, entry + 10):
            struct.pack_into("<H", data, start, zipfile.ZIP_DEFLATED)
    else:
        struct.pack_into("<H", data, entry + 8, 1)
    claim(tmp_path, "a.sog", bytes(data), "the file is damaged")


def test_pictures_of_an_unpacked_sog_stay_within_its_folder(tmp_path: Path, written: dict[str, bytes]):
    with zipfile.ZipFile(io.BytesIO(written["a.sog"])) as archive:
        archive.extractall(tmp_path / "sog")
    assert len(read_splats(tmp_path / "sog" / "meta.json")) == 40
    (tmp_path / "sog" / "quats.webp").rename(tmp_path / "quats.webp")
    meta = json.loads((tmp_path / "sog" / "meta.json").read_text())
    meta["quats"]["files"] = ["../quats.webp"]
    (tmp_path / "sog" / "meta.json").write_text(json.dumps(meta))
    with pytest.raises(InputError, match="refused"):
        read_splats(tmp_path / "sog" / "meta.json")


def with_json(data: bytes, change) -> bytes:
    """A GLB whose description a function has changed."""
    (size,) = struct.unpack_from("<I", data, 12)
    content = json.loads(data[20 : 20 + size])
    change(content)
    text = json.dumps(content).encode()
    text += b" " * (-len(text) % 4)
    return data[:12] + struct.pack("<I", len(text)) + data[16:20] + text + data[20 + size :]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c["accessors"][0].update(count=10**12), "beyond its buffer"),
        (lambda c: c["accessors"][0].update(count=39), "differ in their number"),
        (lambda c: c["accessors"][0].update(count=-1), "whole number"),
        (lambda c: c["accessors"][0].update(type="MAT4"), "of a form"),
        (lambda c: c["accessors"][0].update(sparse={}), "of a form"),
        (lambda c: c["bufferViews"][0].update(byteOffset=10**9), "beyond its buffer"),
        (lambda c: c["bufferViews"][0].update(byteOffset=True), "whole number"),
        (lambda c: c["bufferViews"][0].update(byteStride=4), "beyond its buffer"),
        (lambda c: c["bufferViews"][0].update(buffer=3), "no buffers[3]"),
        (lambda c: c["buffers"][0].update(uri="http://example.com/a.bin"), "fetches nothing"),
        (lambda c: c["buffers"][0].update(uri="../a.bin"), "refused"),
        (lambda c: c["buffers"][0].update(uri="data:x;base64,!!"), "data is damaged"),
        (lambda c: c["nodes"][0].update(scale=[1, 2, 1]), "shears"),
        (lambda c: c["nodes"][0].update(scale=[-1, 1, 1]), "mirrors"),
        (lambda c: c["nodes"][0].update(scale=["a", 1, 1]), "makes no sense"),
        (lambda c: c["nodes"][0].update(children=[0]), "nested without end"),
        (lambda c: c["nodes"][0].pop("mesh"), "no Gaussian splats"),
        (lambda c: c["scenes"][0].update(nodes=[5]), "no nodes[5]"),
        (
            lambda c: c["meshes"][0]["primitives"][0]["extensions"]["KHR_gaussian_splatting"].update(kernel="x"),
            "kernel 'x'",
        ),
        (
            lambda c: c["meshes"][0]["primitives"][0]["attributes"].pop("KHR_gaussian_splatting:SCALE"),
            "without KHR_gaussian_splatting:SCALE",
        ),
    ],
)
def test_glb_that_claims_nonsense(tmp_path: Path, written: dict[str, bytes], change, message: str):
    claim(tmp_path, "a.glb", with_json(written["a.glb"], change), message)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("element vertex 40", "element vertex 4000000000", "must be one for 256"),
        ("element chunk 1\n", "element chunk 15625000\n", "15625000 chunks"),
        ("element sh 40", "element sh 39", "do not fit"),
        ("property uint packed_scale", "property uint packed_other", "packed_scale of vertex is missing"),
        ("property uint packed_scale", "property int packed_scale", "no binary little-endian"),
        ("property uchar f_rest_8", "property uchar f_rest_9", "do not fit"),
        ("property float max_b", "property float max_x2", "max_b of chunk is missing"),
        ("property float max_b", "property float max_r", "of chunk twice"),
        ("binary_little_endian", "binary_big_endian", "not binary little-endian"),
    ],
)
def test_compressed_ply_that_claims_nonsense(
    tmp_path: Path, written: dict[str, bytes], old: str, new: str, message: str
):
    assert written["a.compressed.ply"].count(old.encode()) == 1
    message = message.replace("no binary", "not binary")
    claim(tmp_path, "a.ply", written["a.compressed.ply"].replace(old.encode(), new.encode()), message)


def test_a_billion_compressed_gaussians_are_refused_before_memory_is_taken(tmp_path: Path, written: dict[str, bytes]):
    data = written["a.compressed.ply"].replace(b"element vertex 40", b"element vertex 1073741824")
    data = data.replace(b"element chunk 1\n", b"element chunk 4194304\n").replace(b"sh 40", b"sh 1073741824")
    claim(tmp_path, "a.ply", data, "claims 4194304 rows of chunk")


def test_files_of_nothing_known_are_named(tmp_path: Path):
    claim(tmp_path, "a.obj", b"o cube", "not a PLY, nor any other")
    claim(tmp_path, "a.spz", b"hello", "no SPZ")
    claim(tmp_path, "a.sog", b"hello", "no SOG")
    claim(tmp_path, "a.gltf", b"hello", "no JSON")
    with pytest.raises(InputError, match="no such file"):
        read_splats(tmp_path / "nothing.spz")
