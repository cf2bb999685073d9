"""Prior files from strangers: each way to be wrong is one line, and nothing in them is run."""

import json
import os
import pickle
import struct
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from neural3d.errors import InputError
from neural3d.priors.files import load_prior, save_prior
from neural3d.priors.prior import PriorConfig
from neural3d.priors.registry import make_prior


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("priors") / "a.prior"
    save_prior(path, make_prior(PriorConfig("ae-linear", 8)), {"seed": 0})
    return path


def refused(path: Path, said: str) -> None:
    with pytest.raises(InputError, match=said) as caught:
        load_prior(path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


class Trap:
    """Makes a folder when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)

    def __reduce__(self):
        return os.mkdir, (self.path,)


def test_a_pickle_is_refused_and_not_run(tmp_path: Path):
    bare = tmp_path / "bare.prior"
    bare.write_bytes(pickle.dumps(Trap(tmp_path / "sprung")))
    refused(bare, "a pickle, which can run any program when it is opened, is refused")
    archive = tmp_path / "archive.prior"
    torch.save({"weight": torch.zeros(2)}, archive)
    refused(archive, "a pickle")
    assert not (tmp_path / "sprung").exists()


def test_what_is_no_prior(file: Path, tmp_path: Path):
    refused(tmp_path / "nowhere.prior", "no such file")
    for name, content in (("text", b"hello, this is no prior at all"), ("empty", b""), ("cut", file.read_bytes()[:-9])):
        path = tmp_path / name
        path.write_bytes(content)
        refused(path, "not a prior's file, or cut short")
    save_file({"a": torch.zeros(1)}, tmp_path / "other.safetensors")
    refused(tmp_path / "other.safetensors", "safetensors, but no prior")


def _changed(file: Path, path: Path, change) -> Path:
    """The file with its header's JSON changed."""
    data = file.read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + length])
    inner = json.loads(header["__metadata__"]["neural3d_prior"])
    header["__metadata__"]["neural3d_prior"] = change(inner)
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data[8 + length :])
    return path


@pytest.mark.parametrize(
    "field, value, said",
    [
        ("name", "nonsense", "no prior is called 'nonsense'"),
        ("name", 3, "config.name is 3"),
        ("name", "vae", "not a whole vae prior"),
        ("size", 16, "not a whole ae-linear prior .* tensors are missing or of another shape"),
        ("size", 10**12, "size 1000000000000: a prior's patches are"),
        ("size", True, "config.size is True"),
        ("labels", [1], "config.labels are no names"),
        ("downscale", -1.0, "config.downscale is -1.0"),
        ("downscale", float("nan"), "config.downscale is nan"),
        ("maps", "dreams", "maps 'dreams': expected given"),
        ("maps", "edges", "ae-linear goes by no maps"),
        ("more", 1, "its config has other fields"),
    ],
)
def test_a_header_that_lies(file: Path, tmp_path: Path, field, value, said):
    def change(inner):
        inner["config"][field] = value
        return json.dumps(inner)

    path = _changed(file, tmp_path / "changed.prior", change)
    with pytest.raises(InputError, match=said):
        load_prior(path)


@pytest.mark.parametrize(
    "text, said",
    [("{", "its header is no JSON"), ("[]", "prior format None"), ('{"format_version": 9}', "prior format 9"),
     ("[" * 100_000, "its header is no JSON")],
)  # fmt: skip
def test_a_header_that_is_none(file: Path, tmp_path: Path, text, said):
    refused(_changed(file, tmp_path / "changed.prior", lambda inner: text), said)


def test_weights_that_are_not_finite(tmp_path: Path):
    prior = make_prior(PriorConfig("ae-linear", 8))
    with torch.no_grad():
        prior.codec.decoder.bias[0] = torch.nan
    save_prior(tmp_path / "a.prior", prior, {})
    refused(tmp_path / "a.prior", "codec.decoder.bias holds numbers that are not finite")


def test_weights_begin_where_their_sums_come_out_the_same(tmp_path):
    """Libraries of matrices add in an order that depends on where a matrix begins in its cache line."""
    save_prior(tmp_path / "a.prior", make_prior(PriorConfig("vae", 8), 0), {"odd": "header"})
    assert {tensor.data_ptr() % 64 for tensor in load_prior(tmp_path / "a.prior").tensors().values()} == {0}
