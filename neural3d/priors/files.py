"""A prior as a file: safetensors, with what it is in the header. Nothing that could run code is ever opened."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from neural3d.errors import InputError
from neural3d.priors.prior import Prior, PriorConfig
from neural3d.priors.registry import make_prior
from neural3d.storage import atomic_write

FORMAT_VERSION = 3
_KEY = "neural3d_prior"
_MAX_LABELS = 10_000
_ZIP, _PICKLE_PROTOCOLS = b"PK\x03\x04", {bytes([0x80, protocol]) for protocol in range(2, 6)}


def save_prior(path: Path, prior: Prior, training: dict[str, Any]) -> None:
    """Write it; `training` says how it came about, for people.

    Raises: StorageError.
    """
    tensors = {name: tensor.detach().contiguous().clone() for name, tensor in prior.tensors().items()}
    header = {"format_version": FORMAT_VERSION, "config": asdict(prior.config), "training": training}
    metadata = {_KEY: json.dumps(header, allow_nan=False)}
    size_bytes = sum(tensor.nbytes for tensor in tensors.values()) + 65536
    atomic_write(path, lambda temporary: save_file(tensors, temporary, metadata=metadata), estimate_bytes=size_bytes)


def load_prior(path: Path) -> Prior:
    """Read what `save_prior` wrote; no memory is taken for weights that the file does not hold.

    Raises: InputError for a pickle, another kind of file, or one that is damaged.
    """
    header, tensors = _read(path)
    config = _config_of(path, header)
    with torch.device("meta"):
        prior = make_prior(config)
    try:
        prior.load_tensors(tensors)
    except ValueError as error:
        raise InputError(f"{path}: not a whole {config.name} prior ({error}); train it again") from error
    bad = [name for name, tensor in tensors.items() if tensor.is_floating_point() and not tensor.isfinite().all()]
    if bad:
        raise InputError(f"{path}: {bad[0]} holds numbers that are not finite; train it again")
    return prior


def _read(path: Path) -> tuple[Any, dict[str, Tensor]]:
    if not path.is_file():
        raise InputError(f"{path}: no such file; give what `neural3d prior train --output` wrote")
    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            text = (file.metadata() or {}).get(_KEY)
            if text is None:
                raise InputError(f"{path}: safetensors, but no prior; give what `neural3d prior train` wrote")
            # Copied, as their places in the file suit no cache line: sums of some processors' libraries differ by that.
            return json.loads(text), {name: file.get_tensor(name).clone() for name in file.keys()}
    except SafetensorError as error:
        raise InputError(f"{path}: {_what_it_is(path)}; give what `neural3d prior train` wrote") from error
    except (json.JSONDecodeError, RecursionError) as error:
        raise InputError(f"{path}: its header is no JSON ({error}); train it again") from error


def _what_it_is(path: Path) -> str:
    with path.open("rb") as file:
        head = file.read(9)
    # A safetensors file may begin like a pickle: with the length of its header, which begins with a brace.
    if head[:4] == _ZIP or (head[:2] in _PICKLE_PROTOCOLS and head[8:] != b"{"):
        return "a pickle, which can run any program when it is opened, is refused"
    return "not a prior's file, or cut short"


def _config_of(path: Path, header: Any) -> PriorConfig:
    """The header's config, of which nothing is believed.

    Raises: InputError.
    """
    version = header.get("format_version") if isinstance(header, dict) else None
    if version != FORMAT_VERSION:
        raise InputError(f"{path}: prior format {version}, this reads {FORMAT_VERSION}; update, or train again")
    fields = header.get("config")
    kinds = {"name": str, "size": int, "labels": list, "downscale": int | float, "maps": str}
    if not isinstance(fields, dict) or fields.keys() != kinds.keys():
        raise InputError(f"{path}: its config has other fields than {', '.join(kinds)}; train it again")
    for name, kind in kinds.items():
        if not isinstance(fields[name], kind) or isinstance(fields[name], bool):
            raise InputError(f"{path}: config.{name} is {fields[name]!r}; train it again")
    labels = fields["labels"]
    if len(labels) > _MAX_LABELS or not all(isinstance(label, str) for label in labels):
        raise InputError(f"{path}: config.labels are no names; train it again")
    if not 1 <= fields["downscale"] < 1e6:
        raise InputError(f"{path}: config.downscale is {fields['downscale']}, expected at least 1; train it again")
    return PriorConfig(fields["name"], fields["size"], tuple(labels), float(fields["downscale"]), fields["maps"])
