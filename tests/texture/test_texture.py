"""A surface completed: charts, windows, methods, what goes back into the texture and into the splats."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from jaxtyping import Float
from open3d_or_skip import open3d_or_skip
from surface_ball import ball, cameras_around
from torch import Tensor

from neural3d.errors import InputError
from neural3d.priors.exemplar.quilting import Texels as Source
from neural3d.priors.fitting import seeded
from neural3d.render.splats import render_splats
from neural3d.splats.gaussians import cat_gaussians
from neural3d.surface.bake import Texture
from neural3d.surface.mesh import Mesh
from neural3d.surface.texels import texels_of
from neural3d.surface.unwrap import unwrap
from neural3d.texture.atlas import Atlas, atlas_of
from neural3d.texture.charts import chart_of, frame_around, next_frame, written_back
from neural3d.texture.choice import choose
from neural3d.texture.complete import CompleteConfig, Completed, Progress, complete, library_of
from neural3d.texture.pictures import camera_on, surface_picture, turntable
from neural3d.texture.proposals import filled, proposer, require_method
from neural3d.texture.splats import recolored, surface_gaussians, unlearnt, with_completed, with_sides
from neural3d.texture.styles import restyled
from neural3d.texture.tiles import tile

from .sheets import atlas_texture, sheet

pytest.importorskip("xatlas")
open3d_or_skip()
SIDE, WINDOW = 160, 48
UP = torch.tensor([0.0, 0.0, 1.0])
FAST = CompleteConfig("quilt", is_fast=True, window_px=WINDOW)


def stripes(points: Float[Tensor, "N 3"]) -> Float[Tensor, "N 3"]:
    """Of 0.2 a period along x, reddish and bluish."""
    wave = 0.5 + 0.4 * torch.sin(2 * torch.pi * points[:, 0] / 0.2)
    return torch.stack([wave, torch.full_like(wave, 0.5), 1 - wave], dim=1)


@pytest.fixture(scope="module")
def whole() -> Atlas:
    """All of it known."""
    flat = unwrap(sheet(), SIDE)
    atlas = atlas_of(flat, atlas_texture(flat, SIDE))
    return atlas.with_colors(stripes(atlas.texels.points), torch.ones_like(atlas.known))


@pytest.fixture(scope="module")
def holed(whole: Atlas) -> Atlas:
    """A disc in its middle unknown, and garbage there."""
    hole = whole.texels.points[:, :2].norm(dim=1) < 0.3
    return whole.with_colors(torch.where(hole[:, None], torch.rand_like(whole.colors), whole.colors), ~hole)


def test_a_chart_shows_the_surface_straight_and_upright(whole: Atlas):
    frame = frame_around(whole, int(whole.texels.points.norm(dim=1).argmin()), WINDOW, torch.tensor([0.0, 1, 0]))
    chart = chart_of(whole, frame)
    assert chart.known.all() and not chart.unknown.any()
    right, down, normal = frame.axes
    assert torch.allclose(torch.linalg.cross(right, down), -normal, atol=1e-5)
    assert normal[2] > 0.99 and down[1] < -0.99 and right[0].abs() > 0.99
    rows, columns = torch.meshgrid(*2 * [torch.arange(WINDOW) + 0.5 - WINDOW / 2], indexing="ij")
    points = frame.center + frame.spacing * (columns.reshape(-1, 1) * right + rows.reshape(-1, 1) * down)
    error = (chart.image.flatten(1).T + 1) / 2 - stripes(points)
    assert error.abs().mean() < 0.06


def test_what_a_chart_shows_finds_back_and_known_texels_stay(holed: Atlas):
    found = next_frame(holed, WINDOW, UP, seeded(0), torch.zeros_like(holed.known))
    chart = chart_of(holed, found[0])
    assert chart.unknown.sum() > 100 and not (chart.unknown & chart.known).any()
    frame = chart.frame
    rows, columns = torch.meshgrid(*2 * [torch.arange(WINDOW) + 0.5 - WINDOW / 2], indexing="ij")
    right, down, _ = frame.axes
    points = frame.center + frame.spacing * (columns.reshape(-1, 1) * right + rows.reshape(-1, 1) * down)
    image = 2 * stripes(points).T.reshape(3, WINDOW, WINDOW) - 1
    after = written_back(holed, chart, image)
    assert torch.equal(after.colors[holed.known], holed.colors[holed.known])
    new = after.known & ~holed.known
    assert new.sum() > 0.9 * chart.unknown.sum()
    assert (after.colors[new] - stripes(holed.texels.points[new])).abs().mean() < 0.05


def test_what_lies_hidden_is_not_painted_from_afar(whole: Atlas):
    """A second sheet a little below the first: no window from above shows it, one just above it does."""
    first, below = sheet(), sheet()
    lower = Mesh(below.vertices - torch.tensor([0.0, 0, 0.3]), below.triangles, below.colors)
    both = Mesh(
        torch.cat([first.vertices, lower.vertices]),
        torch.cat([first.triangles, lower.triangles + len(first.vertices)]),
        torch.cat([first.colors, lower.colors]),
    )
    flat = unwrap(both, SIDE)
    covered = replace(atlas_texture(flat, SIDE), seen=torch.zeros(SIDE, SIDE, dtype=torch.bool))
    atlas = atlas_of(flat, covered)
    is_low = atlas.texels.points[:, 2] < -0.15
    atlas = atlas.with_colors(stripes(atlas.texels.points), ~is_low)
    middle = (atlas.texels.points - torch.tensor([0.0, 0.0, -0.3])).norm(dim=1).argmin()
    frame = frame_around(atlas, int(middle), WINDOW, UP)
    assert not chart_of(atlas, frame).unknown[20:28, 20:28].any()
    assert chart_of(atlas, frame.shallow).unknown[20:28, 20:28].all()


@pytest.fixture(scope="module")
def told() -> list[str]:
    """What was said while it was completed."""
    return []


@pytest.fixture(scope="module")
def completed(holed: Atlas, told: list[str]) -> Completed:
    return complete(holed, UP, FAST, Progress(tell=told.append))


def test_stripes_are_continued_and_nothing_known_changes(
    whole: Atlas, holed: Atlas, completed: Completed, told: list[str]
):
    atlas, hole = completed.atlas, ~holed.known
    assert atlas.known.all() and completed.num_texels == int(hole.sum())
    assert completed.num_smooth < 0.1 * completed.num_texels
    assert torch.equal(atlas.colors[holed.known], holed.colors[holed.known])
    error = (atlas.colors - whole.colors)[hole].square().mean()
    flat = (whole.colors[hole] - whole.colors[hole].mean(0)).square().mean()
    assert error < 0.35 * flat
    assert "100 %" in told[-1]


def test_a_seed_gives_the_same_bytes_and_what_was_in_the_hole_is_never_read(holed: Atlas, completed: Completed):
    other = holed.with_colors(torch.where(holed.known[:, None], holed.colors, 0.123), holed.known)
    assert torch.equal(completed.atlas.colors, complete(other, UP, FAST).atlas.colors)


def test_auto_takes_what_copies_over_what_smears_and_says_why(holed: Atlas):
    library = library_of(holed, UP, WINDOW, seeded(1))
    methods = {name: proposer(name, is_fast=True) for name in ("smooth", "quilt")}
    choice = choose(methods, library, [])
    assert choice.method == "quilt" and set(choice.trials) == {"smooth", "quilt"}
    assert choice.trials["smooth"].card.sharpness < 0.5 < choice.trials["quilt"].card.sharpness
    assert choice.reason.startswith("quilt: least penalty") and "smooth" in choice.reason


def test_a_smooth_surface_is_left_smooth(whole: Atlas):
    """Auto is no friend of texture where there is none: a gradient is continued best by the smoothest fill."""
    plain = whole.with_colors(0.5 + 0.3 * whole.texels.points[:, :1].expand(-1, 3), whole.known)
    methods = {name: proposer(name, is_fast=True) for name in ("smooth", "quilt")}
    card = choose(methods, library_of(plain, UP, WINDOW, seeded(1)), []).trials["smooth"].card
    assert card.layout < 0.05 and card.sharpness > 0.4 and card.penalty < 1.5


def test_nothing_to_complete_and_nothing_to_complete_from(whole: Atlas):
    assert torch.equal(complete(whole, UP, FAST).atlas.colors, whole.colors)
    with pytest.raises(InputError, match="nothing to complete it from"):
        complete(whole.with_colors(whole.colors, torch.zeros_like(whole.known)), UP, FAST)
    flat = unwrap(sheet(), 64)
    small = atlas_of(flat, atlas_texture(flat, 64))
    few = torch.zeros_like(small.known)
    few[:5] = True
    done = complete(small.with_colors(small.colors, few), UP, replace(FAST, method="smooth"))
    assert done.atlas.known.all() and done.atlas.colors.isfinite().all()
    with pytest.raises(InputError, match="too little that could be copied"):
        complete(small.with_colors(small.colors, few), UP, FAST)


def test_stopped_halfway_every_texel_has_a_colour(holed: Atlas):
    done = complete(holed, UP, FAST, Progress(is_stopped=lambda: True))
    assert done.num_smooth == done.num_texels and done.atlas.known.all()
    hole = ~holed.known
    assert (done.atlas.colors[hole].amax(0) <= holed.colors[holed.known].amax(0)).all()


def test_a_prior_in_training_is_stopped_too(holed: Atlas):
    """The prior has a third of ten minutes, and ends after its first step."""
    steps = []
    slow = replace(FAST, method="ae-linear", seconds=600.0)
    done = complete(holed, UP, slow, Progress(is_stopped=lambda: steps.append(1) or True))
    assert done.num_smooth == done.num_texels and len(steps) < 10


def test_the_number_of_windows_grows_with_the_work_and_what_is_left_is_told(holed: Atlas, monkeypatch):
    """Where small windows are needed in numbers, all are filled; what even these leave is said."""
    monkeypatch.setattr("neural3d.texture.complete._MOST_CHARTS", 1)
    small, told = replace(FAST, method="smooth", window_px=24), []
    done = complete(holed, UP, small, Progress(tell=told.append))
    assert done.num_charts > 2 and done.num_smooth < 0.1 * done.num_texels
    assert not any("warning" in line for line in told)
    monkeypatch.setattr("neural3d.texture.complete._MOST_COVERS", 0)
    done = complete(holed, UP, small, Progress(tell=told.append))
    share = done.num_smooth / done.num_texels
    assert done.num_charts == 1 and share > 0.3
    assert told[-1] == f"warning: {100 * share:.0f} % of the texels have the colours around them: no window showed them"


def test_colours_that_are_not_finite_are_refused(whole: Atlas):
    texture = atlas_texture(whole.surface, SIDE)
    texture.colors[texture.covered.nonzero()[7][0], texture.covered.nonzero()[7][1]] = torch.nan
    with pytest.raises(InputError, match="not finite"):
        atlas_of(whole.surface, texture)


def test_methods_by_name():
    require_method("auto")
    require_method("flow-matching")
    with pytest.raises(InputError, match="--method brush: there is no such method; choose auto, smooth, quilt"):
        require_method("brush")


def test_a_source_of_texels_takes_the_place_of_the_surface(holed: Atlas):
    green = torch.zeros(3, 40, 40) - 1
    green[1] = 1
    source = Source((green,), (torch.ones(40, 40, dtype=torch.bool),))
    found = next_frame(holed, WINDOW, UP, seeded(0), torch.zeros_like(holed.known))
    chart = chart_of(holed, found[0])
    image = filled(chart, proposer("quilt", is_fast=True, keeps_colors=True), (), seeded(0), source)
    assert (image[:, chart.unknown] - green[:, :1, 0]).abs().max() < 1e-3


def test_a_surface_in_another_style_is_made_of_its_texels():
    flat = unwrap(sheet(), 64)
    texels = texels_of(flat, 64)
    texture = Texture(torch.zeros(64, 64, 3), texels.covered, texels.covered)
    whole = atlas_of(flat, texture).with_colors(stripes(texels.points), torch.ones(len(texels.points)) > 0)
    generator = torch.Generator().manual_seed(1)
    checks = (torch.arange(96)[:, None] // 4 + torch.arange(96)[None] // 4) % 2 * 1.6 - 0.8
    style = torch.stack([checks, -checks, torch.zeros_like(checks)]) + 0.05 * torch.randn(
        3, 96, 96, generator=generator
    )
    source = Source((style,), (torch.ones(96, 96, dtype=torch.bool),))
    found = restyled(whole, source, UP, replace(FAST, window_px=48), Progress())
    assert found.atlas.known.all() and found.num_charts > 1 and found.num_left < 0.1 * len(texels.points)
    done = found.atlas
    assert (done.colors.mean(0) - (style.mean((1, 2)) + 1) / 2).abs().max() < 0.1
    assert torch.corrcoef(done.colors[:, :2].T)[0, 1] < -0.8  # red against green, as in the style


def test_new_gaussians_cover_what_was_completed_and_the_others_stay(holed: Atlas):
    model = replace(ball(200), sh=torch.zeros(200, 4, 3))
    cameras = cameras_around(4, 32)
    cameras = replace(cameras, principal_px=cameras.principal_px + 1000)  # they look past it
    after = with_completed(model, holed, holed.known, cameras)
    kept = torch.isin(after.means_world[:, 0], model.means_world[:, 0]).sum()
    assert len(after) > 250 and kept >= 190 and after.sh.shape[1] == 4
    new = surface_gaussians(holed, ~holed.known, model, 100_000)
    assert len(surface_gaussians(holed, ~holed.known, model, 50)) <= 50
    painted = replace(new, sh=torch.zeros_like(new.sh))
    above = camera_on(holed, ~holed.known, torch.tensor([0.0, 1, 0]))
    with torch.no_grad():
        alpha = render_splats(painted, above).alphas[0, ..., 0]
    marked = surface_picture(holed, above, ~holed.known)
    inside = (marked - torch.tensor([0.9, 0.1, 0.5])).abs().amax(-1) < 1e-6
    assert inside.sum() > 2000 and alpha[inside].median() > 0.95 and alpha[inside].quantile(0.05) > 0.6
    assert with_completed(model, holed, torch.ones_like(holed.known), cameras) is model


def test_chance_gaussians_go_beside_any_number_of_texels(holed: Atlas, monkeypatch: pytest.MonkeyPatch):
    """Where only some texels are compared, what lies between these is beside the surface, too."""
    model = surface_gaussians(holed, ~holed.known, replace(ball(9), sh=torch.zeros(9, 4, 3)), 3000)
    cameras = cameras_around(4, 32)
    cameras = replace(cameras, principal_px=cameras.principal_px + 1000)  # they look past it
    assert unlearnt(model, holed, ~holed.known, cameras).all()
    monkeypatch.setattr("neural3d.texture.splats._COMPARED", int((~holed.known).sum()) // 150)
    assert unlearnt(model, holed, ~holed.known, cameras).all()


def test_a_turntable_shows_all_of_a_thing_from_all_around_and_begins_where_the_photos_were():
    points = torch.tensor([[3.0, 0, 0], [5, 1, 0], [4, -1, 2], [4, 0.5, -1]])
    up, photos = torch.tensor([0.0, 0, 2]), torch.tensor([4.0, 9, 7])
    cameras = turntable(points, photos, up, 6)
    away = cameras.centers_world - (points.amax(0) + points.amin(0)) / 2
    assert (away[:, 2] > 0).all() and away.norm(dim=1).std() < 1e-4
    assert away[0, 0].abs() < 1e-4 and away[0, 1] > 0
    steps = torch.rad2deg(torch.atan2(away[:, 1], away[:, 0])).diff() % 360
    assert torch.allclose(steps, torch.full((5,), 60.0), atol=1e-2)
    for pose, focal, size in zip(cameras.camera_from_world, cameras.focal_px, cameras.size_px, strict=True):
        seen = points @ pose[:3, :3].T + pose[:3, 3]
        pixels = seen[:, :2] / seen[:, 2:] * focal + size / 2
        assert (seen[:, 2] > 0).all() and (pixels > 0).all() and (pixels < size).all()


def test_what_closes_a_side_hides_behind_what_photos_show():
    """Of a ball that cameras see from all sides, half is taken for unseen, and stands a quarter of a cell too far out.

    On the surface itself, new Gaussians would stand in the photos' way.
    """
    o3d = open3d_or_skip()
    found = o3d.geometry.TriangleMesh.create_sphere(1.005, 16)
    vertices, triangles = (torch.from_numpy(np.asarray(t)) for t in (found.vertices, found.triangles))
    flat = unwrap(Mesh(vertices.float(), triangles.long(), torch.full((len(vertices), 3), 0.5)), SIDE)
    atlas = atlas_of(flat, atlas_texture(flat, SIDE))
    model, cameras = ball(6000), cameras_around(8, 48)
    model = replace(model, log_scales=model.log_scales + 0.5)
    was_known = atlas.texels.points[:, 2] > 0
    new = surface_gaussians(atlas, ~was_known, model, 100_000)
    after = with_completed(model, atlas, was_known, cameras)
    assert len(after) > len(model) + 0.9 * len(new) > len(model) + 500
    with torch.no_grad():
        pictures = [render_splats(one, cameras).colors for one in (model, after)]
    assert (pictures[0] - pictures[1]).abs().max() < 0.02


def test_a_thing_alone_is_closed_on_its_surface_and_haze_before_the_closed_side_goes():
    """Of a ball whose upper half was learnt, with haze beneath; a few of its Gaussians are seen through."""
    found = open3d_or_skip().geometry.TriangleMesh.create_icosahedron(1.0).subdivide_midpoint(3)
    vertices, triangles = (torch.from_numpy(np.asarray(t)) for t in (found.vertices, found.triangles))
    vertices = torch.nn.functional.normalize(vertices.float(), dim=1)
    flat = unwrap(Mesh(vertices, triangles.long(), torch.full_like(vertices, 0.5)), SIDE)
    atlas = atlas_of(flat, atlas_texture(flat, SIDE))
    was_known = atlas.texels.points[:, 2] > 0
    model, cameras = ball(6000), cameras_around(40, 48)
    cameras = cameras[(cameras.centers_world[:, 2] > 2.0).nonzero()[:, 0]]
    upper = model[(model.means_world[:, 2] > 0).nonzero()[:, 0]]
    upper = replace(upper, log_scales=upper.log_scales + 0.5, logit_opacities=torch.full_like(upper.logit_opacities, 2))
    haze = ball(60)
    haze = haze[(haze.means_world[:, 2] < -0.5).nonzero()[:, 0]]
    haze = replace(haze, means_world=1.1 * haze.means_world, logit_opacities=torch.zeros(len(haze)))
    after = with_sides(cat_gaussians([upper, haze]), atlas, was_known, cameras, UP)
    kept = torch.isin(after.means_world[:, 0], upper.means_world[:, 0])
    inner = upper.means_world[upper.means_world[:, 2] > 0.1, 0]
    assert torch.isin(inner, after.means_world[:, 0]).float().mean() > 0.99 and kept.sum() > 0.9 * len(upper)
    assert not torch.isin(after.means_world[:, 2], haze.means_world[:, 2]).any()
    below = cameras_around(8, 48)
    below = below[(below.centers_world[:, 2] < -2.0).nonzero()[:, 0]]
    with torch.no_grad():
        alphas = render_splats(after[(~kept).nonzero()[:, 0]], below).alphas[..., 0]
    assert (alphas[:, 18:30, 18:30] > 0.9).all(), "one closed side, no holes"
    assert with_sides(upper, atlas, torch.ones_like(was_known), cameras, UP) is upper


def test_gaussians_on_a_surface_take_its_colours(whole: Atlas):
    model = surface_gaussians(whole, whole.known, replace(ball(9), sh=torch.ones(9, 4, 3)), 3000)
    grey = replace(model, sh=torch.ones_like(model.sh))
    after = recolored(grey, whole)
    assert (after.sh[:, 0] * 0.2820948 + 0.5 - stripes(grey.means_world)).abs().mean() < 0.08
    assert after.sh[:, 1:].abs().max() == 0
    left = recolored(grey, whole, whole.texels.points[:, 0] < 0)
    changed = (left.sh != grey.sh).any(2).any(1)
    assert (grey.means_world[changed, 0] < 0.02).all() and 0.4 < changed.float().mean() < 0.6


def test_a_tile_repeats_without_a_seam():
    x, y = torch.meshgrid(torch.arange(68.0), torch.arange(60.0), indexing="xy")
    noise = 0.1 * torch.randn(3, 60, 68, generator=torch.Generator().manual_seed(2))
    patch = torch.stack([(x / 3.7).sin(), (y / 4.1).sin(), (x / 5 + y / 6).sin()]) * 0.5 + noise

    def steps(image: Tensor) -> tuple[float, float]:
        wrapped = [(image[:, :, 0] - image[:, :, -1]).abs().mean(), (image[:, 0] - image[:, -1]).abs().mean()]
        return float(max(wrapped)), float(image.diff(dim=2).abs().mean())

    made = tile(patch)
    assert made.shape == patch.shape and made.isfinite().all()
    assert steps(patch)[0] > 2.5 * steps(patch)[1]
    assert steps(made)[0] < 1.5 * steps(made)[1]
    with pytest.raises(InputError, match="at least 32 x 32"):
        tile(patch[:, :20])


def test_the_ends_of_what_was_filled_in_fit_where_tiles_meet():
    """Across the border they differ as neighbours do, also where both sides are new."""
    x, y = torch.meshgrid(torch.arange(97.0), torch.arange(81.0), indexing="xy")
    waves = torch.stack([(x / 3.7).sin(), (y / 4.1).sin(), (x / 5 + y / 6).sin()]) * 0.5
    for seed in (0, 5):
        made = tile(waves + 0.1 * torch.randn(3, 81, 97, generator=torch.Generator().manual_seed(seed)), seed)
        sides, ends = made[:, 32:48, [-1, 0]], made[:, [-1, 0], 39:57]
        assert sides.diff(dim=2).abs().mean() < 1.12 * made.diff(dim=2).abs().mean()
        assert ends.diff(dim=1).abs().mean() < 1.12 * made.diff(dim=1).abs().mean()
