"""LPIPS: nothing without weights, the published formula with them (here random ones, as the real are not ours)."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from neural3d.errors import InputError
from neural3d.metrics import find_lpips

ALEX_HEADS = (64, 192, 384, 256, 256)


def alexnet() -> nn.Sequential:
    """The convolutions of torchvision's AlexNet, under its indices."""
    return nn.Sequential(
        *(nn.Conv2d(3, 64, 11, 4, 2), nn.ReLU(), nn.MaxPool2d(3, 2)),
        *(nn.Conv2d(64, 192, 5, padding=2), nn.ReLU(), nn.MaxPool2d(3, 2)),
        *(nn.Conv2d(192, 384, 3, padding=1), nn.ReLU()),
        *(nn.Conv2d(384, 256, 3, padding=1), nn.ReLU()),
        *(nn.Conv2d(256, 256, 3, padding=1), nn.ReLU()),
    )


def vgg16() -> nn.Sequential:
    """The convolutions of torchvision's VGG16, under its indices."""
    layers: list[nn.Module] = []
    channels = 3
    for width in (64, 64, 0, 128, 128, 0, 256, 256, 256, 0, 512, 512, 512, 0, 512, 512, 512):
        layers += [nn.Conv2d(channels, width, 3, padding=1), nn.ReLU()] if width else [nn.MaxPool2d(2, 2)]
        channels = width or channels
    return nn.Sequential(*layers)


def expected(network: nn.Sequential, taps: tuple[int, ...], heads: list[torch.Tensor], a, b) -> float:
    """The metric as its paper writes it, on the module itself."""
    total = torch.zeros(())
    shift, scale = torch.tensor([-0.030, -0.088, -0.188]), torch.tensor([0.458, 0.448, 0.450])
    sides = [((2 * image - 1 - shift) / scale).permute(2, 0, 1)[None] for image in (a, b)]
    with torch.no_grad():
        for index, layer in enumerate(network):
            sides = [layer(side) for side in sides]
            if index in taps:
                units = [side / (side.norm(dim=1, keepdim=True) + 1e-10) for side in sides]
                head = heads[taps.index(index)]
                total += ((units[0] - units[1]) ** 2 * head.reshape(1, -1, 1, 1)).sum(1).mean()
    return float(total)


@pytest.mark.parametrize(
    ("build", "taps", "channels", "name"),
    [(alexnet, (1, 4, 7, 9, 11), ALEX_HEADS, "alex"), (vgg16, (3, 8, 15, 22, 29), (64, 128, 256, 512, 512), "vgg")],
)
def test_equals_the_formula_on_the_network_itself(tmp_path: Path, build, taps, channels, name):
    network = build()
    heads = [torch.rand(1, c, 1, 1) for c in channels]
    torch.save({f"features.{key}": value for key, value in network.state_dict().items()}, tmp_path / "backbone.pth")
    save_file({f"lin{i}.model.1.weight": head for i, head in enumerate(heads)}, tmp_path / "heads.safetensors")
    lpips = find_lpips(tmp_path)
    a, b = torch.rand(40, 48, 3), torch.rand(40, 48, 3)
    assert lpips is not None and lpips.name == name
    assert lpips(a, b) == pytest.approx(expected(network, taps, heads, a, b), rel=1e-4)
    assert lpips(a, a) == 0


def test_without_a_folder_there_is_no_number(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("NEURAL3D_LPIPS_WEIGHTS", raising=False)
    assert find_lpips() is None


def test_incomplete_weights_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("NEURAL3D_LPIPS_WEIGHTS", str(tmp_path))
    save_file(
        {f"lin{i}.model.1.weight": torch.rand(1, c, 1, 1) for i, c in enumerate(ALEX_HEADS)}, tmp_path / "a.safetensors"
    )
    with pytest.raises(InputError, match="no complete weights"):
        find_lpips()
