"""Equirectangular photos, 360 by 180 degrees, cut into perspective views: six of one rig, whose turns are exact.

Every format that has such photos means the same by them: left to right is a turn to the right, the middle of the photo
is where its camera looks (+z), the top is up (-y).
"""

import math

import numpy as np
from jaxtyping import Bool, Float64, Shaped, UInt8

from neural3d.capture.lenses import Lens
from neural3d.capture.listing import BadFrame

EQUIRECTANGULAR = "EQUIRECTANGULAR"
VIEWS = ("front", "right", "back", "left", "up", "down")
HALF_ANGLE_DEG = 50.0
"""Of a view, across and down; 45 would tile the sphere, the rest lets features at the seams be found twice."""
_BAND_PIXELS = 500_000


def panorama_lens(width: int, height: int) -> Lens:
    """What stands for the intrinsics of a whole panorama; it is never used to project, only to be cut."""
    focal = width / (2 * math.pi)
    return Lens(EQUIRECTANGULAR, width, height, (focal, focal), (width / 2, height / 2))


def is_panorama(lens: Lens) -> bool:
    """Whether a photo shows everything around its camera."""
    return lens.model == EQUIRECTANGULAR


def view_lens(width: int) -> Lens:
    """The pinhole of each view of a panorama that is `width` pixels wide: as many pixels an angle, in its middle."""
    focal = width / (2 * math.pi)
    side = 2 * math.ceil(focal * math.tan(math.radians(HALF_ANGLE_DEG)))
    return Lens("PINHOLE", side, side, (focal, focal), (side / 2, side / 2))


def view_turn(view: str) -> Float64[np.ndarray, "3 3"]:
    """view_from_panorama: the rotation from the panorama's axes to those of one of its VIEWS."""
    ahead, right, down = np.eye(3)[[2, 0, 1]]
    axis = dict(zip(VIEWS, (ahead, right, -ahead, -right, -down, down), strict=True))[view]
    below = down if axis[1] == 0 else -axis[1] * ahead
    return np.stack([np.cross(below, axis), below, axis])


def view_pose(view: str, camera_from_world: Float64[np.ndarray, "4 4"]) -> Float64[np.ndarray, "4 4"]:
    """camera_from_world of one view of a panorama with this pose."""
    turn = np.eye(4)
    turn[:3, :3] = view_turn(view)
    return turn @ camera_from_world


def require_whole(width: int, height: int) -> None:
    """Refuse pictures that do not show all around.

    Raises: BadFrame.
    """
    if width != 2 * height:
        raise BadFrame(
            f"it is {width} x {height} pixels, an equirectangular photo is twice as wide as high; "
            "give whole panoramas (360 by 180 degrees)"
        )


def cut_view(pixels: UInt8[np.ndarray, "H W C"], view: str) -> UInt8[np.ndarray, "S S C"]:
    """One view of a panorama, bilinearly interpolated; straight alpha stays straight.

    Raises: BadFrame when the picture is not twice as wide as high.
    """
    height, width, channels = pixels.shape
    require_whole(width, height)
    side = view_lens(width).width
    cut = np.empty((side, side, channels), dtype=np.uint8)
    rows = max(1, _BAND_PIXELS // side)
    for top in range(0, side, rows):
        band = slice(top, min(side, top + rows))
        cut[band] = _sampled(pixels, *_panorama_pixels(width, view, band))
    return cut


def cut_mask(mask: Bool[np.ndarray, "H W"], view: str) -> Bool[np.ndarray, "S S"]:
    """The same view of a panorama's mask, by the nearest pixel.

    Raises: BadFrame when the mask is not twice as wide as high.
    """
    height, width = mask.shape
    require_whole(width, height)
    x, y = _panorama_pixels(width, view, slice(0, view_lens(width).width))
    return mask[np.clip(np.floor(y).astype(np.int64), 0, height - 1), np.floor(x).astype(np.int64) % width]


def _panorama_pixels(
    width: int, view: str, rows: slice
) -> tuple[Float64[np.ndarray, "B S"], Float64[np.ndarray, "B S"]]:
    """Where rows of a view lie on the panorama: x, y with pixel centres at +0.5."""
    lens = view_lens(width)
    x = (np.arange(lens.width) + 0.5 - lens.principal_px[0]) / lens.focal_px[0]
    y = (np.arange(rows.start, rows.stop) + 0.5 - lens.principal_px[1]) / lens.focal_px[1]
    rays = np.stack([*np.meshgrid(x, y), np.ones((len(y), len(x)))], axis=-1) @ view_turn(view)
    longitude = np.arctan2(rays[..., 0], rays[..., 2])
    latitude = np.arctan2(-rays[..., 1], np.hypot(rays[..., 0], rays[..., 2]))
    return (longitude / (2 * math.pi) + 0.5) * width, (0.5 - latitude / math.pi) * (width / 2)


def _sampled(
    pixels: UInt8[np.ndarray, "H W C"], x: Float64[np.ndarray, "B S"], y: Float64[np.ndarray, "B S"]
) -> UInt8[np.ndarray, "B S C"]:
    """Bilinear: around the seam behind the camera, and not beyond the poles."""
    height, width, channels = pixels.shape
    left, top = np.floor(x - 0.5), np.floor(y - 0.5)
    across, down = ((x - 0.5) - left).astype(np.float32), ((y - 0.5) - top).astype(np.float32)
    total: Shaped[np.ndarray, "B S C"] = np.zeros((*x.shape, channels), dtype=np.float32)
    opaque = np.zeros(x.shape, dtype=np.float32)
    for step_x, step_y in ((0, 0), (1, 0), (0, 1), (1, 1)):
        columns = (left.astype(np.int64) + step_x) % width
        rows = np.clip(top.astype(np.int64) + step_y, 0, height - 1)
        weight = (across if step_x else 1 - across) * (down if step_y else 1 - down)
        corner = pixels[rows, columns].astype(np.float32)
        if channels == 4:
            # What is transparent has no colour to mix in.
            opaque += weight * corner[..., 3]
            total += (weight * corner[..., 3])[..., None] * corner
        else:
            total += weight[..., None] * corner
    if channels == 4:
        total /= np.maximum(opaque, 1e-6)[..., None]
        total[..., 3] = opaque
    return (total + 0.5).clip(0, 255).astype(np.uint8)
