"""How the operators' tests reach a GPU: copies go there, results, gradients and changes in place come back."""

import pytest
import torch
from device_operators import devices_to_test, on_device, operators_on

from neural3d.ops.adam import adam_step
from neural3d.ops.color_affine import color_affine
from neural3d.ops.library import native
from neural3d.ops.records import Projected

from .backends import project
from .random_scenes import make_gaussians, make_view


def test_gradients_come_back():
    image, matrix = torch.rand(3, 5, 7, requires_grad=True), torch.rand(3, 4)
    direct, moved = color_affine(image, matrix), on_device(color_affine, "cpu")(image, matrix)
    assert torch.equal(moved, direct) and moved.data_ptr() != direct.data_ptr()
    assert torch.equal(*(torch.autograd.grad(result.square().sum(), image)[0] for result in (direct, moved)))


def test_changes_in_place_come_back():
    states = [[torch.full((4, 2), value) for value in (1.0, 0.5, 0.0, 0.0)] for _ in range(2)]
    rates = torch.full((2,), 0.1)
    for function, state in zip((adam_step, on_device(adam_step, "cpu")), states, strict=True):
        function(*state, rates, step=1)
    assert (states[1][0] != 1.0).all()
    assert all(map(torch.equal, *states))


def test_the_function_sees_copies():
    seen = []
    on_device(lambda tensor, *, record: seen.extend([tensor, record]), "cpu")(rows := torch.ones(3), record=(rows,))
    assert torch.equal(seen[0], rows) and seen[0].data_ptr() != rows.data_ptr() != seen[1][0].data_ptr()


def test_records_go_and_come(reference):
    seen = project(reference, make_gaussians(20), make_view())
    back = on_device(lambda record: record, "cpu")(seen)
    assert isinstance(back, Projected) and torch.equal(back.conics, seen.conics) and back.conics is not seen.conics


def test_raw_operators_are_found_by_name():
    image, matrix = torch.rand(3, 5, 7), torch.rand(3, 4)
    moved = operators_on("cpu", native()).color_affine(image, matrix)
    assert torch.equal(moved, native().color_affine(image, matrix))


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
@pytest.mark.parametrize("named, complaint", [("cuda", "finds no GPU"), ("tpu", "expected cpu or cuda, got 'tpu'")])
def test_a_device_that_is_not_there_is_no_reason_to_pass(monkeypatch, named, complaint):
    monkeypatch.setenv("NEURAL3D_TEST_DEVICE", named)
    with pytest.raises(pytest.UsageError, match=complaint):
        devices_to_test()


def test_the_cpu_alone_can_be_asked_for(monkeypatch):
    monkeypatch.setenv("NEURAL3D_TEST_DEVICE", "cpu")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert devices_to_test() == ["cpu"]
    monkeypatch.delenv("NEURAL3D_TEST_DEVICE")
    assert devices_to_test() == ["cpu", "cuda"]
