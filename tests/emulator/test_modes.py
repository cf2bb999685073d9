"""The CUDA drivers from Gaussians to the loss and back: in every mode, at every size."""

import pytest
import torch
from ops.backends import DRIVERS, Backend, gradients, load_backend, render
from ops.random_scenes import as_dtype, make_gaussians, make_view
from torch import Tensor

BACKGROUND = torch.tensor([0.2, 0.5, 0.8])
SIZES = [(1, 1), (1, 257), (257, 1), (16, 16), (33, 47), (257, 257)]


@pytest.fixture(scope="module", params=DRIVERS)
def drivers(request: pytest.FixtureRequest) -> Backend:
    """The CUDA drivers, on the emulator and on the GPU."""
    return load_backend(request.param)


def loss_gradients(
    backend: Backend, gaussians: dict[str, Tensor], size: tuple[int, int], *, masked: bool = False, **options
) -> dict[str, Tensor]:
    """What the photometric loss of a render pulls on every parameter, through a colour map and a grid."""
    view, (width, height) = make_view(*size, focal=0.8 * max(size)).to(torch.float32), size
    generator = torch.Generator().manual_seed(5)
    photo = torch.randint(0, 256, (height, width, 3), dtype=torch.uint8, generator=generator)
    seen = photo[..., 0].contiguous() if masked else None
    matrix, grid = torch.eye(3, 4), torch.eye(3, 4).flatten().view(12, 1, 1, 1).expand(12, 4, 3, 3).contiguous()

    def loss(inputs: dict[str, Tensor]) -> Tensor:
        image, _ = render(backend, {name: inputs[name] for name in gaussians}, view, BACKGROUND, **options)
        shown = backend.bilateral_slice(backend.color_affine(image, inputs["matrix"]), inputs["grid"])
        valid = None if seen is None else seen > 40
        return backend.photometric_loss(shown, photo, target_alpha=seen, valid=valid, background=BACKGROUND)

    return gradients(loss, gaussians | {"matrix": matrix, "grid": grid})


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("antialiased", [False, True])
@pytest.mark.parametrize("degree", [0, 1, 2, 3])
def test_every_parameter_is_pulled(drivers, degree, antialiased, masked):
    gaussians = as_dtype(make_gaussians(40, size=0.3), torch.float32)
    options = {"degree": degree, "antialiased": antialiased, "masked": masked}
    grads = loss_gradients(drivers, gaussians, (37, 29), **options)
    expected = loss_gradients(load_backend("native"), gaussians, (37, 29), **options)
    for name, grad in grads.items():
        used = grad[:, : (degree + 1) ** 2] if name == "sh" else grad.flatten(1).T if name == "grid" else grad
        assert grad.isfinite().all() and (used != 0).any(dim=0).all(), name
        assert (grad - expected[name]).abs().max() <= 1e-4 * expected[name].abs().max(), name


@pytest.mark.parametrize("size", SIZES)
def test_every_size(drivers, size):
    gaussians = as_dtype(make_gaussians(30, size=0.2), torch.float32)
    assert all(grad.isfinite().all() for grad in loss_gradients(drivers, gaussians, size, masked=True).values())


@pytest.mark.parametrize("count", [0, 1])
def test_hardly_any_gaussians(drivers, count):
    grads = loss_gradients(drivers, as_dtype(make_gaussians(count), torch.float32), (37, 29))
    assert all(len(grads[name]) == count for name in ("means_world", "sh"))


def test_nobody_is_seen(drivers):
    gaussians = as_dtype(make_gaussians(20), torch.float32)
    gaussians["means_world"][:, 2] -= 100
    grads = loss_gradients(drivers, gaussians, (37, 29))
    assert all((grads[name] == 0).all() for name in gaussians)


def test_a_view_into_a_tensor_may_begin_anywhere():
    """Rows that do not begin at 16 bytes are read number by number; copies for a GPU would begin where rows should."""
    emulated = load_backend("emulated")
    gaussians = as_dtype(make_gaussians(50, size=0.2), torch.float32)
    shifted = {
        name: torch.cat([torch.zeros(1), tensor.flatten()])[1:].view_as(tensor) for name, tensor in gaussians.items()
    }
    assert any(tensor.data_ptr() % 16 for tensor in shifted.values())
    view = make_view().to(torch.float32)
    for one, other in zip(render(emulated, gaussians, view, BACKGROUND), render(emulated, shifted, view, BACKGROUND)):
        assert torch.equal(one, other)
