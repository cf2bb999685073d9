"""The page for the time in which poses are found, and the training's page that takes its place."""

import http.client
from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch

from neural3d.cameras import Cameras
from neural3d.capture.ingest.snapshots import Snapshot
from neural3d.render.paths import look_at
from neural3d.scene import Points
from neural3d.viewer import PosePreview, Viewer


def snapshot(name: str, count: int) -> Snapshot:
    angles = torch.linspace(0, 3, count)
    centers = torch.stack([angles.cos(), angles.sin(), torch.zeros(count)], dim=-1)
    poses = look_at(centers, torch.zeros(count, 3), torch.tensor([0.0, 0, 1])).float()
    size = torch.tensor([[48, 32]]).repeat(count, 1)
    points = Points(torch.randn(20, 3), torch.zeros(20, 3, dtype=torch.uint8))
    return Snapshot(
        name, Cameras(poses, torch.full((count, 2), 40.0), size / 2, size), points, torch.tensor([0.0, 0, 1])
    )


@pytest.fixture
def preview() -> Iterator[PosePreview]:
    page = PosePreview(port=0)
    yield page
    page.close()


def status(port: int, token: str) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    try:
        connection.request("GET", f"/?token={token}")
        return connection.getresponse().status
    finally:
        connection.close()


def names(preview: PosePreview) -> set[str]:
    return set(preview.server.scene._handle_from_node_name)


def test_cameras_come_as_they_are_found(preview):
    preview.tell("2/4 features  20 of 80")
    assert preview.seen is None and "as soon as the first ones stand" in preview._text.content
    assert not any(name.startswith("/cameras") for name in names(preview))
    for count in (3, 7, 2):  # another model may be begun, with fewer
        preview.show(snapshot(str(count), count))
        assert sum(name.startswith("/cameras/") for name in names(preview)) == count
    assert "/points" in names(preview) and preview.seen == "2"
    preview.show(replace(snapshot("bare", 2), points=None))
    assert "/points" not in names(preview)
    preview.tell("4/4 poses  7 of 80")
    assert preview._text.content == "**4/4 poses  7 of 80**"


def test_the_trainings_page_takes_its_place(preview):
    """At the same address, so that windows that are open find it."""
    assert (status(preview.port, preview.token), status(preview.port, "x")) == (200, 403)
    preview.close()
    with Viewer(port=preview.port, token=preview.token) as viewer:
        assert viewer.url == preview.url
        assert (status(preview.port, preview.token), status(preview.port, "x")) == (200, 403)
