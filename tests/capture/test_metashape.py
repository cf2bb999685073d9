"""Metashape's chunks on the Earth, its rigs, its lenses."""

import re
from pathlib import Path

import numpy as np
import pytest

from neural3d.capture.detect import list_capture
from neural3d.capture.georeference.geodesy import geocentric, topocentric_axes
from neural3d.errors import InputError

from . import format_writers as writers
from .writers import ring, write_photos


def _metashape(root: Path):
    views = ring(4)
    write_photos(root / "images", views)
    writers.write_metashape(root, views)
    return views, root / "cameras.xml"


def _transform(rotation, translation, scale: float) -> str:
    turn, shift = (" ".join(repr(float(value)) for value in np.ravel(part)) for part in (rotation, translation))
    return f"<transform><rotation>{turn}</rotation><translation>{shift}</translation><scale>{scale}</scale></transform>"


CHUNK = np.array([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]]), np.array([1.0, -2.0, 0.5]), 3.0
"""What the writer puts its cameras into."""
BERLIN = np.array([52.5, 13.4, 80.0])


def _on_earth(fix) -> str:
    axes, (rotation, translation, scale) = topocentric_axes(fix), CHUNK
    return _transform(axes.T @ rotation, geocentric(fix[None])[0] + axes.T @ translation, scale)


@pytest.mark.parametrize("fix", [BERLIN, np.array([-33.9, -70.6, 5100.0]), np.array([69.6, 179.99999, 0.0])])
def test_metashapes_georeferenced_chunk(tmp_path, fix):
    """Poses on the Earth become metres around a place that is told; up is up."""
    views, path = _metashape(tmp_path)
    text = path.read_text()
    path.write_text(text.replace(_transform(*CHUNK), _on_earth(fix)))
    assert path.read_text() != text
    listing = list_capture(tmp_path)
    for frame, view in zip(listing.frames, views, strict=True):
        np.testing.assert_allclose(frame.camera_from_world[:3, :3], view.camera_from_world[:3, :3], atol=1e-5)
        center = -frame.camera_from_world[:3, :3].T @ frame.camera_from_world[:3, 3]
        np.testing.assert_allclose(center, view.center - CHUNK[1], atol=1e-5)
    (note,) = listing.notes
    told = re.search(r"metres east, north and up of latitude (.*), longitude (.*), altitude (.*) m", note)
    origin = np.array([[float(word) for word in told.groups()]])
    apart = np.linalg.norm(geocentric(origin) - geocentric(fix[None]))
    assert apart == pytest.approx(np.linalg.norm(CHUNK[1]), abs=5e-3)


def test_metashapes_components_share_one_origin(tmp_path):
    """Also where the chunk says nothing and the component all; one that is nowhere on the Earth is left out by name."""
    views, path = _metashape(tmp_path)
    components = f'<component id="0">{_on_earth(BERLIN)}</component><component id="1"/>'
    text = path.read_text().replace(_transform(*CHUNK), f"<components>{components}</components>")
    for index in range(4):
        text = text.replace(f'<camera id="{index}" ', f'<camera id="{index}" component_id="{int(index == 3)}" ')
    path.write_text(text)
    listing = list_capture(tmp_path)
    assert len(listing.frames) == 3
    centers = [-frame.camera_from_world[:3, :3].T @ frame.camera_from_world[:3, 3] for frame in listing.frames]
    np.testing.assert_allclose(centers, [view.center - CHUNK[1] for view in views[:3]], atol=1e-5)
    reasons = {entry.name: entry.reason for entry in listing.skipped}
    assert reasons["v003"].startswith("its component is not georeferenced, others are;")


@pytest.mark.parametrize("shift", [(5e5, 6.358e6, 100.0), (5e5, 6.25e6, 100.0)])
def test_metashapes_own_grid_is_no_place_on_the_globe(tmp_path, shift):
    """Coordinates in a grid, which a local system's reference says of those that could be both."""
    views, path = _metashape(tmp_path)
    rotation, translation, scale = CHUNK
    moved = _transform(rotation, translation + shift, scale) + '<reference>LOCAL_CS["Local Coordinates"]</reference>'
    path.write_text(path.read_text().replace(_transform(*CHUNK), moved))
    frame = list_capture(tmp_path).frames[0]
    center = -frame.camera_from_world[:3, :3].T @ frame.camera_from_world[:3, 3]
    np.testing.assert_allclose(center, views[0].center + shift, atol=1e-6)


def _metashape_rig(root: Path) -> list:
    """Shots of two cameras: the second has no transform, its sensor a place on the rig in the units of the chunk."""
    views, path = _metashape(root)
    turn, center = writers.RIG[1]
    numbers = [" ".join(repr(float(value)) for value in np.ravel(part)) for part in (turn.T, center)]
    text = path.read_text()
    first = re.search(r"<sensor .*?</sensor>", text)[0]
    place = f"<rotation>{numbers[0]}</rotation><location>{numbers[1]}</location></sensor>"
    second = first.replace('id="0"', 'id="1" master_id="0"').replace("</sensor>", place)
    text = text.replace(first, first + second)
    for index in (1, 3):
        camera = rf'<camera id="{index}" sensor_id="0" (label="\w+")>.*?</camera>'
        text = re.sub(camera, rf'<camera id="{index}" sensor_id="1" master_id="{index - 1}" \1/>', text)
    path.write_text(text)
    return views


def test_metashapes_rigs(tmp_path):
    """By hand: a camera stands at its master's place plus its own, turned as the master is."""
    views = _metashape_rig(tmp_path)
    frames = list_capture(tmp_path).frames
    assert len(frames) == 4
    for index, frame in enumerate(frames):
        master, (turn, center) = views[index - index % 2], writers.RIG[index % 2]
        rotation = master.camera_from_world[:3, :3]
        np.testing.assert_allclose(frame.camera_from_world[:3, :3], turn @ rotation, atol=1e-9)
        placed = -frame.camera_from_world[:3, :3].T @ frame.camera_from_world[:3, 3]
        np.testing.assert_allclose(placed, master.center + CHUNK[2] * rotation.T @ center, atol=1e-9)


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        (
            "<location>",
            "<place>",
            "belongs to the rig of camera 0, and its sensor has no rotation and location; export",
        ),
        (
            '<sensor id="1" master_id="0"',
            '<sensor id="1"',
            "its sensor's place is counted from another sensor than that",
        ),
        (
            '<sensor id="1" master_id="0"',
            '<sensor id="1" master_id="2"',
            "counted from another sensor than that camera's",
        ),
        ('<camera id="0"', '<camera id="7"', "belongs to the rig of camera 0, which was not aligned"),
        ("<location>", "<location>nan ", "expected 3 finite numbers"),
    ],
)
def test_metashapes_rigs_that_are_not_read_are_told(tmp_path, old, new, reason):
    _metashape_rig(tmp_path)
    path = tmp_path / "cameras.xml"
    text = path.read_text()
    close = ("</location>", "</place>") if new == "<place>" else ("", "")
    path.write_text(text.replace(old, new).replace(*close))
    assert path.read_text() != text
    reasons = {entry.name: entry.reason for entry in list_capture(tmp_path).skipped}
    assert reason in reasons["v001"]
    assert "COLMAP" in reasons["v001"] or "aligned" in reason or "finite" in reason


def _fisheye(text: str) -> str:
    return text.replace('label="phone" type="frame"', 'label="phone" type="fisheye"')


@pytest.mark.parametrize(
    ("change", "notes"),
    [
        (lambda text: text, []),
        (_fisheye, ["the tangential coefficients (p1, p2) of the fisheye phone are left out"]),
        (
            lambda text: _fisheye(text).replace("<p1>0.004</p1><p2>0.005</p2>", "<p1>0</p1><p2>-0.005</p2>"),
            ["the tangential coefficients (p1, p2) of the fisheye phone are left out"],
        ),
        (lambda text: _fisheye(text).replace("<p1>0.004</p1><p2>0.005</p2>", ""), []),
        (
            lambda text: text.replace("</calibration>", "<b2>-0.3</b2></calibration>"),
            ["the skew (b2) of phone is left out"],
        ),
    ],
)
def test_metashapes_values_that_are_left_out_are_told(tmp_path, change, notes):
    _, path = _metashape(tmp_path)
    path.write_text(change(path.read_text()))
    assert list(list_capture(tmp_path).notes) == notes


def test_photoscans_older_calibrations_are_refused(tmp_path):
    """They ended in a focal length of 0."""
    _, path = _metashape(tmp_path)
    path.write_text(path.read_text().replace("<f>40.0</f><cx>0.5</cx>", "<fx>42</fx><fy>40</fy><cx>24.5</cx>"))
    with pytest.raises(InputError, match=r"cameras.xml: .*fx and fy, as PhotoScan up to 1.2 .*in Metashape and export"):
        list_capture(tmp_path)
