"""A picture of a capture's poses: cameras and points from above and from the side, up axis and scale."""

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float64, UInt8
from PIL import Image, ImageDraw, ImageFont

from neural3d.capture.coverage import middle_of_view
from neural3d.scene import Scene
from neural3d.storage import atomic_write

SIDE_PX, MARGIN_PX, TITLE_PX = 800, 40, 70
OVERSAMPLING = 2
MAX_POINTS = 60_000
FRUSTUM = 0.09
"""Length of a drawn camera, of the radius of the picture."""
BACKGROUND, INK, FAINT = (250, 250, 247), (40, 40, 40), (200, 200, 195)
TRAIN, TEST, WRONG = (38, 89, 173), (46, 139, 87), (208, 40, 40)


@dataclass(frozen=True)
class Panel:
    """One drawing: which axes of the world point right and up on it, and how the world lies on its pixels."""

    title: str
    right: Float64[np.ndarray, "3"]
    up: Float64[np.ndarray, "3"]
    middle: Float64[np.ndarray, "3"]
    radius: float
    left_px: int

    def pixels(self, points: Float64[np.ndarray, "N 3"]) -> Float64[np.ndarray, "N 2"]:
        """Where points lie in the picture, oversampled."""
        from_middle = points - self.middle
        scale = (SIDE_PX / 2 - MARGIN_PX) / self.radius
        x = self.left_px + SIDE_PX / 2 + scale * (from_middle @ self.right)
        y = TITLE_PX + SIDE_PX / 2 - scale * (from_middle @ self.up)
        return OVERSAMPLING * np.stack([x, y], axis=1)


def write_pose_picture(path: Path, scene: Scene, title: str, wrong: Collection[str] = ()) -> None:
    """Write a PNG: from above and from the side; blue cameras are trained on, green held out, red ones are `wrong`.

    Raises: StorageError.
    """
    picture = draw_poses(scene, title, wrong)
    atomic_write(path, lambda temporary: picture.save(temporary, format="PNG"), estimate_bytes=2_000_000)


def draw_poses(scene: Scene, title: str, wrong: Collection[str]) -> Image.Image:
    """The picture of `write_pose_picture`."""
    size = (2 * SIDE_PX, SIDE_PX + TITLE_PX)
    image = Image.new("RGB", (OVERSAMPLING * size[0], OVERSAMPLING * size[1]), BACKGROUND)
    for panel in _panels(scene):
        _draw_points(image, scene, panel)
        _draw_cameras(ImageDraw.Draw(image), scene, panel, wrong)
    image = image.resize(size, Image.Resampling.LANCZOS)
    _write_words(ImageDraw.Draw(image), scene, title, bool(wrong))
    return image


def _panels(scene: Scene) -> tuple[Panel, Panel]:
    up = scene.up_world.numpy().astype(np.float64)
    middle = middle_of_view(scene)
    centers = scene.cameras.centers_world.numpy().astype(np.float64)
    # The first camera stands at the bottom of the view from above, and in front in the view from the side.
    towards = centers[0] - middle
    towards -= up * (towards @ up)
    if np.linalg.norm(towards) < 1e-6:
        towards = np.cross(up, np.eye(3)[np.argmin(np.abs(up))])
    back = -towards / np.linalg.norm(towards)
    right = np.cross(back, up)
    distances = np.linalg.norm(centers - middle, axis=1)
    radius = 1.15 * float(distances[distances <= 4 * np.median(distances)].max(initial=1e-9))
    return (
        Panel("from above", right, back, middle, radius, 0),
        Panel("from the side", right, up, middle, radius, SIDE_PX),
    )


def _draw_points(image: Image.Image, scene: Scene, panel: Panel) -> None:
    if scene.points is None or len(scene.points.means_world) == 0:
        return
    step = -(-len(scene.points.means_world) // MAX_POINTS)
    points = scene.points.means_world[::step].numpy().astype(np.float64)
    colors: UInt8[np.ndarray, "P 3"] = scene.points.colors[::step].numpy()
    # Far ones first, so that near ones cover them.
    order = np.argsort((points - panel.middle) @ np.cross(panel.right, panel.up), kind="stable")
    at = panel.pixels(points[order])
    left, top = OVERSAMPLING * panel.left_px, OVERSAMPLING * TITLE_PX
    limits = np.array([left, top]), np.array([left, top]) + OVERSAMPLING * SIDE_PX - 2
    inside = ((at >= limits[0]) & (at < limits[1])).all(axis=1)
    x, y = at[inside].astype(np.int64).T
    pixels = np.array(image)
    for shift_x, shift_y in ((0, 0), (1, 0), (0, 1), (1, 1)):
        pixels[y + shift_y, x + shift_x] = colors[order][inside]
    image.paste(Image.fromarray(pixels))


def _draw_cameras(draw: ImageDraw.ImageDraw, scene: Scene, panel: Panel, wrong: Collection[str]) -> None:
    held_out = set(scene.test_indices.tolist())
    world_from_camera = scene.cameras.world_from_camera.numpy().astype(np.float64)
    for view in sorted(range(len(scene.photos)), key=lambda v: scene.photos[v].name in wrong):
        color = WRONG if scene.photos[view].name in wrong else TEST if view in held_out else TRAIN
        width, height = scene.cameras.size_px[view].tolist()
        slopes = np.array([width, height]) / (2 * scene.cameras.focal_px[view].numpy())
        corners = np.array([[x, y, 1] for x, y in ((-1, -1), (1, -1), (1, 1), (-1, 1))]) * [*slopes, 1]
        corners = np.vstack([np.zeros(3), corners]) * FRUSTUM * panel.radius
        at = panel.pixels(corners @ world_from_camera[view, :3, :3].T + world_from_camera[view, :3, 3])
        if np.abs(at).max() > 100 * SIDE_PX:
            continue  # a camera far away: its photo is named, the picture would only show a line
        thickness = 3 if color == WRONG else 2
        for first, second in ((0, 1), (0, 2), (0, 3), (0, 4), (1, 2), (2, 3), (3, 4), (4, 1)):
            draw.line([*at[first], *at[second]], fill=color, width=thickness)


def _write_words(draw: ImageDraw.ImageDraw, scene: Scene, title: str, has_wrong: bool) -> None:
    large, small = ImageFont.load_default(size=22), ImageFont.load_default(size=16)
    draw.rectangle([0, 0, 2 * SIDE_PX, TITLE_PX - 1], fill=BACKGROUND)
    draw.text((MARGIN_PX, 10), title, fill=INK, font=large)
    legend = [("trained on", TRAIN), ("held out", TEST), *([("look at these", WRONG)] if has_wrong else [])]
    x = float(MARGIN_PX)
    for words, color in legend:
        draw.rectangle([x, 48, x + 12, 60], fill=color)
        draw.text((x + 18, 44), words, fill=INK, font=small)
        x += 40 + draw.textlength(words, font=small)
    for panel in _panels(scene):
        draw.text((panel.left_px + MARGIN_PX, TITLE_PX + 8), panel.title, fill=INK, font=small)
        _draw_scale(draw, scene, panel, small)
    draw.line([SIDE_PX, TITLE_PX, SIDE_PX, TITLE_PX + SIDE_PX], fill=FAINT)
    tip = (2 * SIDE_PX - 60, TITLE_PX + 40)
    draw.line([*tip, tip[0], tip[1] + 60], fill=INK, width=3)
    draw.polygon([(tip[0], tip[1] - 14), (tip[0] - 7, tip[1] + 2), (tip[0] + 7, tip[1] + 2)], fill=INK)
    draw.text((tip[0] + 10, tip[1]), "up", fill=INK, font=small)


def _draw_scale(draw: ImageDraw.ImageDraw, scene: Scene, panel: Panel, font: ImageFont.FreeTypeFont) -> None:
    """A bar of a round length in metres or else the capture's own units, about a fifth of the panel."""
    unit, units = scene.capture_from_scene.scale, "in the capture's units"
    if scene.world is not None:
        unit, units = unit * scene.world.metres_from_capture.scale, "m"
    wanted = 0.4 * panel.radius * unit
    length = 10 ** np.floor(np.log10(wanted))
    length *= max(factor for factor in (1, 2, 5) if factor * length <= wanted)
    pixels = length / unit * (SIDE_PX / 2 - MARGIN_PX) / panel.radius
    x, y = panel.left_px + MARGIN_PX, TITLE_PX + SIDE_PX - 24
    draw.line([x, y, x + pixels, y], fill=INK, width=3)
    draw.text((x + pixels + 8, y - 10), f"{length:g} {units}", fill=INK, font=font)
