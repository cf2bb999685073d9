"""A radiance field in the viewer: pictures of the engine for everybody who looks, and no splats."""

from collections.abc import Callable

import pytest
import torch

from neural3d.cameras import Cameras
from neural3d.fields.field import RadianceField, Shaded
from neural3d.fields.rays import Rays
from neural3d.render.fields import field_render_function
from neural3d.train.observer import Progress
from neural3d.viewer import Viewer, view_field
from neural3d.viewer.panel import metrics_table
from neural3d.viewer.space import View


class Glow:
    """A field of one colour."""

    num_parameters = 3

    def __init__(self, color: float) -> None:
        self.color = color

    def shade(self, rays: Rays) -> Shaded:
        count = len(rays)
        return Shaded(torch.full((count, 3), self.color), torch.ones(count), torch.ones(count))

    def densities(self, positions: torch.Tensor) -> torch.Tensor:
        return torch.ones(len(positions))


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> list:
    """What would go to clients; client 1 looks from the origin."""
    pictures: list = []
    monkeypatch.setattr(Viewer, "_deliver", lambda self, client, picture: pictures.append((client, picture)))
    return pictures


def test_a_finished_field_is_drawn_by_the_engine(shown: list, until: Callable):
    assert isinstance(Glow(0.2), RadianceField)
    around = torch.randn(5, 3)
    with view_field(
        Glow(0.2), render_fn_from=field_render_function, around=around, up_world=(0.0, 0.0, 1.0), port=0
    ) as viewer:
        viewer._frames.look(1, View((1.0, 0.0, 0.0, 0.0), (0.0, 0.0, 0.0), 1.0, 90, 60))
        until(lambda: shown and shown[-1][1].shape == (60, 90, 3), "the full picture")
        assert (shown[-1][1] == 51).all() and not len(viewer.clouds) and viewer.errors == 0


def test_training_shows_the_latest_field(shown: list, until: Callable):
    copies = []

    def snapshot() -> Glow:
        copies.append(Glow(0.1 * (1 + len(copies))))
        return copies[-1]

    progress = Progress(5, 10, 0.5, 1.0, 1.0, 20.0, 0.1, 3.0, num_parameters=1234)
    with Viewer(is_field=True, render_fn_from=field_render_function, port=0) as viewer:
        viewer._frames.look(1, View((1.0, 0.0, 0.0, 0.0), (0.0, 0.0, 0.0), 1.0, 40, 40))
        viewer.on_progress(progress, snapshot)
        until(lambda: shown and (shown[-1][1] == 26).all(), "the first model")
        viewer.on_progress(progress, snapshot)
        assert len(copies) == 1, "nobody looks: one copy is enough"
        viewer.show(Glow(1.0))
        until(lambda: (shown[-1][1] == 255).all(), "the second model")
    assert "| Parameters | **1,234** |" in metrics_table(progress)


def test_rendering_blends_the_background():
    class Half(Glow):
        def shade(self, rays: Rays) -> Shaded:
            count = len(rays)
            return Shaded(torch.full((count, 3), 0.25), torch.full((count,), 0.5), torch.full((count,), 2.0))

    camera = Cameras(torch.eye(4)[None], torch.tensor([[3.0, 3.0]]), torch.tensor([[2.0, 1.0]]), torch.tensor([[4, 2]]))
    rendering = field_render_function(Half(0.0), background=torch.tensor([1.0, 0.0, 0.5]))(camera)
    assert torch.allclose(rendering.colors, torch.tensor([0.75, 0.25, 0.5]).expand(1, 2, 4, 3))
    x, y = torch.arange(4) - 1.5, torch.arange(2) - 0.5
    cosine = 1 / (1 + (x[None] / 3) ** 2 + (y[:, None] / 3) ** 2).sqrt()
    assert torch.allclose(rendering.depths[0, ..., 0], 2 * cosine)
