"""Withheld arcs: what is withheld, and that what completes better scores better."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from open3d_or_skip import open3d_or_skip
from surface_ball import ball, cameras_around, exact_view

from neural3d.bench.arcs import AS_TRAINED, Arc, Seen, azimuths_deg, judged, without_arc
from neural3d.errors import InputError
from neural3d.scene import Photo, Scene, Similarity
from neural3d.surface.bake import bake
from neural3d.surface.mesh import Mesh
from neural3d.surface.unwrap import unwrap
from neural3d.texture.atlas import atlas_of

open3d_or_skip()
pytest.importorskip("xatlas")
SIDE = 48


@pytest.fixture(scope="module")
def scene() -> Scene:
    """Exact photos of a ball, from all around; x is up."""
    cameras = cameras_around(32, SIDE)
    views = [exact_view(cameras[i]) for i in range(len(cameras))]
    photos = tuple(
        Photo(
            f"{i}.png",
            (255 * view.colors).round().byte(),
            (255 * (view.depths[..., 0] > 0).byte()),
        )
        for i, view in enumerate(views)
    )
    every, none = torch.arange(32), torch.zeros(0, dtype=torch.long)
    return Scene(
        cameras, photos, every, none, None, Similarity.identity(), 3.5, torch.tensor([1.0, 0, 0]), True, 1.0
    )  # fmt: skip


def test_an_arc_is_withheld_as_a_whole(scene: Scene):
    half = without_arc(scene, Arc(180.0, 90.0))
    azimuths = azimuths_deg(scene)
    apart = ((azimuths - azimuths[0] - 90 + 180) % 360 - 180).abs()
    assert 8 < len(half.test_indices) < 24
    assert float(apart[half.test_indices].max()) <= 90 < float(apart[half.train_indices].min())
    assert sorted([*half.test_indices.tolist(), *half.train_indices.tolist()]) == list(range(32))
    turned = without_arc(scene, Arc(180.0, 270.0))
    assert set(turned.train_indices.tolist()) & set(half.test_indices.tolist())
    for degrees, which in ((360.0, "all"), (0.0, "none")):
        with pytest.raises(InputError, match=f"holds {which} of the capture's cameras"):
            without_arc(scene, Arc(degrees, 1.0))


def test_what_continues_the_colours_scores_better_than_one_colour(scene: Scene):
    """On a ball whose colours change slowly: a membrane before one colour, one colour before nothing at all."""
    arc = without_arc(scene, Arc(200.0, 90.0))
    flat = unwrap(whole_ball(), 96)
    views = [exact_view(arc.cameras[index]) for index in arc.train_indices.tolist()]
    atlas = atlas_of(flat, bake(flat, views, 96))
    assert 0.02 < float((~atlas.known).float().mean()) < 0.5
    # Of the model, what no training camera saw is not there yet.
    model, seen_points = ball(1500), atlas.texels.points[atlas.known]
    is_seen = torch.cdist(model.means_world, seen_points).amin(1) < 0.08
    seen = Seen(arc, model[is_seen.nonzero()[:, 0]], atlas)
    rows, sheets = judged(seen, (AS_TRAINED, "flat", "smooth"))
    for better, worse in (("smooth", "flat"), ("flat", AS_TRAINED)):
        assert rows[better]["psnr_unseen"] > rows[worse]["psnr_unseen"] + 1
    assert rows["smooth"]["mesh_psnr_unseen"] > rows["flat"]["mesh_psnr_unseen"] + 1
    assert rows["smooth"]["card"]["layout"] < rows["flat"]["card"]["layout"]
    # What the photos show stays: new splats stand behind it.
    assert rows["smooth"]["psnr_trained"] > rows[AS_TRAINED]["psnr_trained"] - 0.5
    assert sheets and all(sheet.shape[1] == 4 * SIDE for sheet in sheets.values())
    with pytest.raises(InputError, match="take a wider arc"):
        judged(replace(seen, scene=replace(arc, test_indices=arc.train_indices[:1])), (AS_TRAINED,))


def whole_ball() -> Mesh:
    o3d = open3d_or_skip()
    found = o3d.geometry.TriangleMesh.create_sphere(1.0, 16)
    vertices, triangles = (torch.from_numpy(np.asarray(t)) for t in (found.vertices, found.triangles))
    return Mesh(vertices.float(), triangles.long(), torch.full((len(vertices), 3), 0.5))
