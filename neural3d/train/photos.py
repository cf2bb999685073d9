"""The training photos at every resolution that the run passes through, held once as 8-bit numbers."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Float16, UInt8
from torch import Tensor
from torch.nn.functional import interpolate

from neural3d.scene import Photo, Scene
from neural3d.splats.view import View, view_of
from neural3d.srgb import encode_srgb
from neural3d.train.random_numbers import Purpose, generator


@dataclass(frozen=True)
class TrainingPhoto:
    """One photo at one resolution, with its camera."""

    view: View
    pixels: UInt8[Tensor, "H W 3"]
    alpha: UInt8[Tensor, "H W"] | None
    valid: Bool[Tensor, "H W"] | None
    light: Float16[Tensor, "H W 3"] | None = None
    """What `pixels` show, in linear light; None where the photos are of display colours alone."""

    def to(self, device: torch.device) -> "TrainingPhoto":
        """The same photo and camera on a device."""
        kept = (self.pixels, self.alpha, self.valid, self.light)
        planes = (None if plane is None else plane.to(device) for plane in kept)
        return TrainingPhoto(self.view.to(device), *planes)


@dataclass(frozen=True)
class PhotoPyramid:
    """`levels[k][i]` is training photo i halved k times."""

    levels: tuple[tuple[TrainingPhoto, ...], ...]

    @property
    def num_photos(self) -> int:
        """Photos at each level."""
        return len(self.levels[0])


def build_pyramid(scene: Scene, coarse_levels: int, device: torch.device = torch.device("cpu")) -> PhotoPyramid:
    """Halve each training photo up to `coarse_levels` times, as long as 32 px are left.

    It is done on the CPU, so that every device trains on the same bytes, which then lie on `device`.
    """
    indices = scene.train_indices.tolist()
    levels = [[_full_size(scene, i) for i in indices]]
    smallest = min(min(p.pixels.shape[:2]) for p in levels[0])
    for k in range(1, coarse_levels + 1):
        if smallest >> k < 32:
            break
        levels.append([_halved(scene, i, photo) for i, photo in zip(indices, levels[-1], strict=True)])
    return PhotoPyramid(tuple(tuple(photo.to(device) for photo in level) for level in levels))


def photo_index(seed: int, step: int, num_photos: int) -> int:
    """Which photo a step looks at: every photo once an epoch, in an order of its own."""
    epoch, position = divmod(step, num_photos)
    return int(generator(seed, Purpose.VIEW_ORDER, epoch).permutation(num_photos)[position])


def _full_size(scene: Scene, index: int) -> TrainingPhoto:
    photo: Photo = scene.photos[index]
    return TrainingPhoto(
        view_of(scene.cameras, index),
        photo.pixels.contiguous(),
        None if photo.alpha is None else photo.alpha.contiguous(),
        None if photo.valid is None or bool(photo.valid.all()) else photo.valid.contiguous(),
        photo.light.contiguous() if scene.is_linear else None,
    )


def _halved(scene: Scene, index: int, photo: TrainingPhoto) -> TrainingPhoto:
    height, width = (max(1, size // 2) for size in photo.pixels.shape[:2])
    linear = photo.light is not None
    pixels = (photo.light if linear else photo.pixels).permute(2, 0, 1).float()
    alpha = None if photo.alpha is None else photo.alpha[None].float() / 255
    if alpha is None:
        small, small_alpha = _area(pixels, height, width), None
    else:
        # Transparent pixels have no colour to mix in.
        small_alpha = _area(alpha, height, width)
        small = _area(pixels * alpha, height, width) / small_alpha.clamp(min=1e-6)
        small_alpha = (small_alpha[0] * 255).round().to(torch.uint8)
    valid = None if photo.valid is None else _area(photo.valid[None].float(), height, width)[0] > 0.999
    camera = scene.cameras[index].scaled(width, height)
    light = small.permute(1, 2, 0).half().contiguous() if linear else None
    shown = 255 * encode_srgb(small) if linear else small
    pixels = shown.round().clamp(0, 255).to(torch.uint8).permute(1, 2, 0).contiguous()
    return TrainingPhoto(view_of(camera, 0), pixels, small_alpha, valid, light)


def _area(planes: Float[Tensor, "C H W"], height: int, width: int) -> Float[Tensor, "C h w"]:
    return interpolate(planes[None], size=(height, width), mode="area")[0]


def background_kind(choice: str, *, has_alpha: bool) -> str:
    """What "auto" means: random for captures with alpha, else black."""
    return choice if choice != "auto" else "random" if has_alpha else "black"


def background_color(kind: str, seed: int, step: int, device: torch.device = torch.device("cpu")) -> Float[Tensor, "3"]:
    """What lies behind the Gaussians in one step, the same on every device; `kind` is white, black or random."""
    if kind == "random":
        color = torch.from_numpy(generator(seed, Purpose.BACKGROUND, step).random(3, dtype=np.float32))
        return color.to(device, non_blocking=True)
    return torch.full((3,), 1.0 if kind == "white" else 0.0, device=device)
