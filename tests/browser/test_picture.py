"""What a visitor does in the picture itself, by clicks and drags: photos, the ruler, the centre, gizmos, files."""

import re
from pathlib import Path

import numpy as np

from browser.small_scene import BLOBS
from browser.visitor import Told, apart, go_to, pixel_of, screen, until_it_shows, wait
from neural3d.viewer import Viewer
from neural3d.viewer.models import MAIN

RED, GREEN = (place for place, _ in (BLOBS["red"], BLOBS["green"]))
BALL = 0.3
"""No part of a ball that is picked lies farther from its middle."""
ARROW = 0.8
"""Where an arrow of a gizmo is taken hold of, in its lengths: nearer the middle are arcs that turn, and squares."""
FROM_BEHIND = ((7.0, -1.0, 1.0), (0.0, -0.5, 0.3))
"""Both photos and all balls are in sight."""


def take_up(viewer: Viewer, page, tool: str) -> None:
    """Press the button of a tool for clicks on the picture."""
    until_it_shows(
        lambda: page.click(tool), lambda: viewer.server.scene._scene_pointer_cb != [], f"{tool!r} is taken up"
    )


def hit(viewer: Viewer, page, place) -> None:
    page.click_at(*pixel_of(viewer, place))


def test_a_click_on_a_photo_leads_to_where_it_was_taken(viewer: Viewer, shared_page, shots: Path) -> None:
    (visit,), (client,) = viewer.visits.values(), viewer.server.get_clients().values()
    for index, center in ((0, (4.0, 0.0, 0.0)), (1, (4.0, -2.0, 0.0))):
        go_to(viewer, *FROM_BEHIND)
        wait(lambda: visit._photo is None, "he stands at no photo")
        screen(shared_page, shots, f"photos-{index}")
        until_it_shows(
            # A little before its eye: its picture is the larger part of it.
            lambda center=center: hit(viewer, shared_page, (center[0] - 0.05, center[1], center[2])),
            lambda index=index: visit._photo == index,
            f"he stands at photo {index}",
        )
        wait(lambda: visit._has_arrived, "his page says that he has come there")
        assert apart(client.camera.position, center) < 1e-2
        shared_page.wait_for(f"document.body.innerText.includes('{index + 1} of 2')")


def test_the_ruler_measures_from_click_to_click(viewer: Viewer, shared_page, shots: Path) -> None:
    place = viewer.controls._place
    go_to(viewer, (4.0, 0.4, 0.3), (0.0, 0.4, 0.0))
    shared_page.click_tab("View")
    shared_page.open_folder("Place")

    def measure() -> None:
        take_up(viewer, shared_page, "Measure a distance")
        until_it_shows(lambda: hit(viewer, shared_page, RED), lambda: len(place._ends) >= 1, "one end")
        until_it_shows(lambda: hit(viewer, shared_page, GREEN), lambda: len(place._ends) >= 2, "the other end")

    def is_measured() -> bool:
        ends = place._ends
        return len(ends) == 2 and apart(ends[0], RED) < BALL and apart(ends[1], GREEN) < BALL

    until_it_shows(measure, is_measured, "both ends lie on their balls")
    shared_page.wait_for("document.body.innerText.includes('units of the capture')")
    length = float(re.search(r"Distance: ([\d.]+) units", shared_page.text()).group(1))
    assert abs(length - apart(place._ends[0], place._ends[1])) < 1e-3 and 0.6 < length < 1.0
    screen(shared_page, shots, "ruler")
    shared_page.click("Remove the measure")
    wait(lambda: not place._ends and not place._drawn, "it is gone")
    shared_page.wait_for("!document.body.innerText.includes('units of the capture')")


def test_the_camera_turns_round_what_was_clicked(viewer: Viewer, shared_page, shots: Path) -> None:
    go_to(viewer, (4.0, 0.4, 0.3), (0.0, 0.4, 0.0))
    told = Told(viewer)

    def center() -> None:
        take_up(viewer, shared_page, "Set centre of rotation")
        hit(viewer, shared_page, GREEN)

    def is_center() -> bool:
        return apart(told.look_at, GREEN) < BALL and viewer.server.scene._scene_pointer_cb == []

    until_it_shows(center, is_center, "the green ball is the centre")
    distance, before = told.distance, told.position
    until_it_shows(
        lambda: shared_page.drag((300, 500), (420, 500)),
        lambda: apart(told.position, before) > 0.2,
        "the camera has turned",
    )
    assert abs(told.distance - distance) < 0.01 * distance
    assert apart(told.look_at, GREEN) < BALL
    screen(shared_page, shots, "turned")
    shared_page.open_folder("Place")


def test_a_model_is_moved_by_its_gizmo_and_put_back(viewer: Viewer, shared_page, shots: Path) -> None:
    shared_page.click_tab("Files")
    shared_page.tick("Move with a gizmo")
    wait(lambda: viewer.controls._models._gizmo is not None, "there is a gizmo")

    def place() -> np.ndarray:
        return viewer.document.models[MAIN].world_from_model.translation.numpy()

    assert not place().any()
    length = viewer.controls._models._gizmo.scale

    def pull() -> None:
        go_to(viewer, (4.0, 0.4, 0.5), (0.0, 0.2, 0.0))  # what misses the arrow turns the camera
        x, y, z = (float(part) for part in viewer.controls._models._gizmo.position)  # an earlier pull may come late
        start = pixel_of(viewer, (x, y + ARROW * length, z))
        shared_page.drag(start, (start[0] + 80, start[1]))

    until_it_shows(pull, lambda: bool(np.abs(place()).max() > 0.05), "it has moved")
    wait(lambda: apart(viewer.clouds._handles[MAIN].position, place()) < 1e-3, "what the browser draws has moved, too")
    moved = place()
    assert moved[1] > 0.05 and np.abs(moved[[0, 2]]).max() < 0.01 * moved[1], "along the arrow, to the right"
    screen(shared_page, shots, "gizmo")
    shared_page.tick("Move with a gizmo")
    wait(lambda: viewer.controls._models._gizmo is None, "the gizmo is gone")
    shared_page.click_tab("Edit")
    for _ in range(10):
        if not (before := place()).any():
            break
        shared_page.click("Undo")
        wait(lambda before=before: not np.array_equal(place(), before), "a step back")
    assert not place().any()


def test_the_crop_box_follows_its_gizmo(viewer: Viewer, shared_page, shots: Path) -> None:
    shared_page.click_tab("Edit")
    shared_page.choose("Region", "Box")
    shared_page.tick("Show only what is inside")
    wait(lambda: viewer.document.models.crop is not None, "it is cropped")
    gizmo = viewer.controls._edit._region._gizmo
    before = viewer.document.models.crop.center

    def pull() -> None:
        go_to(viewer, (4.0, 0.4, 4.0), (0.0, 0.4, 0.2))  # no arrow points at him
        x, y, z = (float(part) for part in gizmo.position)
        start = pixel_of(viewer, (x, y + ARROW * gizmo.scale, z))
        shared_page.drag(start, (start[0] + 60, start[1]))

    until_it_shows(pull, lambda: viewer.document.models.crop.center[1] > before[1] + 0.05, "the box has moved")
    shown = viewer.document.models.merged(with_selection=False)
    assert 0 < len(shown) < 600, "and some of the balls are outside"
    screen(shared_page, shots, "crop-moved")
    shared_page.tick("Show only what is inside")
    shared_page.choose("Region", "None")
    wait(lambda: viewer.document.models.crop is None, "all is there again")
