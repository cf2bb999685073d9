"""The pretended device finds what it is there to find."""

import pytest
import torch
from ops.random_rays import field_arguments

from neural3d.ops.blend_points import blend_points
from neural3d.train.readings import Letter

from .pretended import ELSEWHERE, PretendedDevice, pretended_device


@pytest.fixture
def there(monkeypatch):
    with pretended_device(monkeypatch) as device:
        yield device


def test_numbers_are_real(there: PretendedDevice):
    tensor = torch.arange(3.0).to(ELSEWHERE)
    tensor[0] = 5.0
    tensor[1:].add_(torch.ones(2, device=ELSEWHERE))
    assert tensor.device == ELSEWHERE
    assert tensor.cpu().tolist() == [5.0, 2.0, 3.0]


@pytest.mark.parametrize(
    "mistake",
    [
        lambda tensor: tensor + torch.ones(3),
        lambda tensor: torch.ones(3).add_(tensor),
        lambda tensor: tensor[torch.tensor([0, 1])],
        lambda tensor: torch.stack([tensor, torch.ones(3)]),
        lambda tensor: torch.ops.neural3d.visible_rows(tensor.view(1, 3)) + torch.ones(1),
        lambda tensor: tensor.numpy(),
    ],
)
def test_what_forgets_the_device_fails(mistake, there):
    with pytest.raises(RuntimeError, match="lies on the host|numpy"):
        mistake(torch.zeros(3, device=ELSEWHERE))


@pytest.mark.parametrize(
    "wait",
    [
        lambda tensor: float(tensor[0]),
        lambda tensor: bool((tensor > 0).all()),
        lambda tensor: tensor.cpu(),
        lambda tensor: tensor.nonzero(),
        lambda tensor: tensor[tensor > 0],
        lambda tensor: torch.ones(3).to(ELSEWHERE),
        lambda tensor: tensor.copy_(torch.ones(3)),
    ],
)
def test_what_makes_the_host_wait_is_noted(wait, there):
    wait(torch.zeros(3, device=ELSEWHERE))
    assert len(there.waits) == 1


def test_what_a_driver_waits_for_is_noted(there):
    ellipses = [torch.rand(9, size, device=ELSEWHERE) for size in (2, 3, 2)]
    depths = torch.rand(9, device=ELSEWHERE)
    *lists, pairs = torch.ops.neural3d.bin_gaussians_within(*ellipses[:2], depths, ellipses[2], 40, 40, 1000)
    assert there.waits == [] and pairs.device == ELSEWHERE
    letter = Letter(pairs)
    exact = torch.ops.neural3d.bin_gaussians(*ellipses[:2], depths, ellipses[2], 40, 40)
    assert there.waits == ["bin_gaussians"]
    assert letter.read() == len(exact[1]) > 0
    assert there.reads == [["bin_gaussians"]]


def test_neighbors_are_blended_without_a_wait(there):
    values = [tensor.to(ELSEWHERE, non_blocking=True) for tensor in field_arguments(torch.float32)["blend_points"][:6]]
    blend_points(*values, 0.3)
    assert there.waits == []


def test_what_does_not_is_not(there):
    tensor = torch.zeros(3, device=ELSEWHERE)
    tensor.copy_(torch.ones(3), non_blocking=True)
    tensor.to("cpu", non_blocking=True)
    torch.where(tensor > 0, tensor, 0).sum() * torch.tensor(2.0)
    assert there.waits == []
