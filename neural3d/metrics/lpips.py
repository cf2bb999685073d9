"""LPIPS, where its learned weights are at hand; without them there is no number.

The weights are not ours to ship. Put into one folder the backbone (torchvision's AlexNet or VGG16 state dict) and the
linear heads of LPIPS 0.1 (`alex.pth`, `vgg.pth`), or one file with both, as safetensors or as .pth, and name the folder
in NEURAL3D_LPIPS_WEIGHTS.

Source: Zhang et al. 2018, The Unreasonable Effectiveness of Deep Features as a Perceptual Metric.
"""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Bool, Float
from safetensors.torch import load_file
from torch import Tensor
from torch.nn.functional import conv2d, max_pool2d

from neural3d.errors import InputError
from neural3d.metrics.pixels import with_photo_where_invalid

VARIABLE = "NEURAL3D_LPIPS_WEIGHTS"
SMALLEST_PX = 32
"""Below that the backbones have no pixel left at their last stage."""

_SUFFIXES = {".safetensors", ".pth", ".pt"}
_CONVOLUTION = re.compile(r"(?:^|\.)(?:features|slice\d)\.(\d+)\.(weight|bias)$")
_HEAD = re.compile(r"(?:^|\.)lin(\d)\.model\.1\.weight$")


@dataclass(frozen=True)
class _Layout:
    """Where a backbone's features are taken: the convolutions of each stage by torchvision's index."""

    name: str
    stages: tuple[tuple[int, ...], ...]
    head_channels: tuple[int, ...]
    kernel: int
    """Of the first convolution, by which a file is recognised."""
    pool: tuple[int, int]
    pooled_before: tuple[int, ...]
    strides: Mapping[int, int]
    paddings: Mapping[int, int]


_ALEX = _Layout(
    "alex", ((0,), (3,), (6,), (8,), (10,)), (64, 192, 384, 256, 256), 11, (3, 2), (1, 2), {0: 4}, {0: 2, 3: 2}
)
_VGG = _Layout(
    "vgg",
    ((0, 2), (5, 7), (10, 12, 14), (17, 19, 21), (24, 26, 28)),
    (64, 128, 256, 512, 512),
    3,
    (2, 2),
    (1, 2, 3, 4),
    {},
    {},
)


@dataclass(frozen=True)
class Lpips:
    """A distance between images; smaller is more alike."""

    layout: _Layout
    convolutions: Mapping[int, tuple[Tensor, Tensor]]
    heads: tuple[Tensor, ...]

    @property
    def name(self) -> str:
        """The backbone: "vgg" or "alex"."""
        return self.layout.name

    def __call__(
        self, image: Float[Tensor, "H W 3"], photo: Float[Tensor, "H W 3"], valid: Bool[Tensor, "H W"] | None = None
    ) -> float:
        """LPIPS of an image clamped to [0, 1].

        Limits: invalid pixels take the photo's colour and count as equal.
        """
        sides = (with_photo_where_invalid(image.clamp(0, 1), photo, valid), photo)
        with torch.no_grad():
            features = [self._features(side) for side in sides]
        distances = [
            conv2d((a - b).square(), head.to(a)).mean() for a, b, head in zip(*features, self.heads, strict=True)
        ]
        return float(sum(distances))

    def _features(self, image: Float[Tensor, "H W 3"]) -> list[Tensor]:
        shift, scale = image.new_tensor([-0.030, -0.088, -0.188]), image.new_tensor([0.458, 0.448, 0.450])
        planes = ((2 * image - 1 - shift) / scale).movedim(-1, 0)[None]
        stages = []
        for stage, indices in enumerate(self.layout.stages):
            if stage in self.layout.pooled_before:
                planes = max_pool2d(planes, *self.layout.pool)
            for index in indices:
                weight, bias = (part.to(planes) for part in self.convolutions[index])
                stride, padding = self.layout.strides.get(index, 1), self.layout.paddings.get(index, 1)
                planes = conv2d(planes, weight, bias, stride=stride, padding=padding).relu()
            stages.append(planes / (planes.square().sum(dim=1, keepdim=True).sqrt() + 1e-10))
        return stages


def find_lpips(folder: Path | None = None) -> Lpips | None:
    """The metric whose weights lie in `folder`, by default the one that NEURAL3D_LPIPS_WEIGHTS names.

    VGG is preferred to AlexNet, as papers report it. None when no folder is named.

    Raises: InputError when the folder holds no complete set of weights.
    """
    if folder is None:
        folder = Path(os.environ[VARIABLE]) if os.environ.get(VARIABLE) else None
    if folder is None:
        return None
    states = [_load(path) for path in sorted(folder.glob("*")) if path.suffix in _SUFFIXES]
    for layout in (_VGG, _ALEX):
        found = _assemble(layout, states)
        if found is not None:
            return found
    wanted = "a VGG16 or AlexNet backbone and its LPIPS heads"
    raise InputError(f"{folder}: no complete weights ({wanted}); add the missing files or unset {VARIABLE}")


def _load(path: Path) -> Mapping[str, Tensor]:
    if path.suffix == ".safetensors":
        return load_file(path)
    return torch.load(path, map_location="cpu", weights_only=True)


def _assemble(layout: _Layout, states: list[Mapping[str, Tensor]]) -> Lpips | None:
    """The parts of one backbone, wherever they lie; None when one of them is missing."""
    wanted = {index for stage in layout.stages for index in stage}
    convolutions: dict[int, tuple[Tensor, Tensor]] = {}
    heads: tuple[Tensor, ...] = ()
    for state in states:
        parts = {(int(m[1]), m[2]): tensor for name, tensor in state.items() if (m := _CONVOLUTION.search(name))}
        first = parts.get((0, "weight"))
        if first is not None and first.shape[-1] == layout.kernel and wanted <= {index for index, _ in parts}:
            convolutions = {index: (parts[index, "weight"], parts[index, "bias"]) for index in wanted}
        found = {int(m[1]): tensor for name, tensor in state.items() if (m := _HEAD.search(name))}
        if tuple(found[i].shape[1] for i in sorted(found)) == layout.head_channels:
            heads = tuple(found[i] for i in sorted(found))
    return Lpips(layout, convolutions, heads) if convolutions and heads else None
