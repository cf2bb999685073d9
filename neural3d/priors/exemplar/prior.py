"""Exemplar methods as priors: what is fitted are the images themselves."""

from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from neural3d.errors import InputError
from neural3d.priors.exemplar.nearest import nearest_fill, patch_distance
from neural3d.priors.exemplar.quilting import Texels, quilt
from neural3d.priors.fitting import seeded
from neural3d.priors.patches import PatchSource, to_signed
from neural3d.priors.prior import Prior, PriorConfig
from neural3d.priors.records import (
    NOTHING_ASKED,
    Budget,
    Condition,
    Images,
    StageReport,
    Unknown,
    Watch,
    watch_nothing,
)

Method = Literal["quilt", "nearest"]
MAX_TEXELS = 4_000_000
"""How many are kept; of more, whole images are left out, the later ones first."""
_GUIDE_PATCH = 7
_GUIDE_PATCHES = 4000


class ExemplarPrior(Prior):
    """Copies from its images, and in `inpaint` from what is known of the image itself, too."""

    def __init__(self, config: PriorConfig, method: Method) -> None:
        self.config, self._method = config, method
        self._images: tuple[Tensor, ...] = ()
        self._known: tuple[Tensor, ...] = ()

    def fit(
        self, source: PatchSource, budget: Budget, seed: int = 0, watch: Watch = watch_nothing
    ) -> list[StageReport]:
        """Keep the images; there is nothing to train."""
        images, known, count = [], [], 0
        for picture in source.pictures:
            count += picture.pixels.size // 3
            if images and count > MAX_TEXELS:
                break
            images.append(torch.from_numpy(np.ascontiguousarray(picture.pixels)))
            whole = torch.ones(picture.pixels.shape[:2], dtype=torch.bool)
            known.append(whole if picture.known is None else torch.from_numpy(picture.known.copy()))
        self._images, self._known = tuple(images), tuple(known)
        return []

    def sample(self, count: int, condition: Condition = NOTHING_ASKED, seed: int = 0) -> Images:
        """New arrangements of the images' texels."""
        generator, size = seeded(seed), self.config.size
        nothing = torch.zeros(count, 3, size, size)
        unknown = torch.ones(count, 1, size, size, dtype=torch.bool)
        return self.fill(nothing, unknown, condition, generator).clamp(-1, 1)

    def encode(self, images: Images) -> Any:
        """Latents are pixels."""
        return images

    def decode(self, latents: Any) -> Images:
        """The same."""
        return latents

    def guide(self, images: Images, condition: Condition = NOTHING_ASKED, seed: int = 0) -> Float[Tensor, ""]:
        """Mean squared distance of each patch to the nearest of some real ones."""
        return patch_distance(images, self._texels(), _GUIDE_PATCH, _GUIDE_PATCHES, seeded(seed))

    def fill(self, images: Images, unknown: Unknown, condition: Condition, generator: torch.Generator) -> Images:
        """Image by image."""
        return torch.stack(
            [self._filled(image, hole[0], generator) for image, hole in zip(images, unknown, strict=True)]
        )

    def tensors(self) -> dict[str, Tensor]:
        """The images as bytes, and where they are known."""
        names = [f"{i:05d}" for i in range(len(self._images))]
        images = {f"image.{name}": image for name, image in zip(names, self._images, strict=True)}
        return images | {f"known.{name}": known for name, known in zip(names, self._known, strict=True)}

    def load_tensors(self, tensors: dict[str, Tensor]) -> None:
        """Take them."""
        names = sorted(name.removeprefix("image.") for name in tensors if name.startswith("image."))
        if not names or tensors.keys() != {f"{kind}.{name}" for kind in ("image", "known") for name in names}:
            raise ValueError("images and masks do not pair up")
        for name in names:
            image, known = tensors[f"image.{name}"], tensors[f"known.{name}"]
            is_image = image.dtype == torch.uint8 and image.ndim == 3 and image.shape[2] == 3
            if not is_image or known.dtype != torch.bool or known.shape != image.shape[:2]:
                raise ValueError(f"image.{name} is no image with a mask of its size")
        self._images = tuple(tensors[f"image.{name}"] for name in names)
        self._known = tuple(tensors[f"known.{name}"] for name in names)

    def _filled(self, image: Tensor, hole: Tensor, generator: torch.Generator) -> Float[Tensor, "3 H W"]:
        texels = self._texels()
        texels = Texels((image, *texels.images), (~hole, *texels.known))
        try:
            if self._method == "quilt":
                return quilt(image, hole, texels, generator)
            return nearest_fill(image, hole, texels, generator)
        except ValueError as error:
            raise InputError(f"{self.config.name}: {error}") from error

    def _texels(self) -> Texels:
        return Texels(tuple(to_signed(image[None])[0] for image in self._images), self._known)
