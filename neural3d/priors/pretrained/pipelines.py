"""A pipeline of diffusers as a prior: whatever it calls its arguments, image, mask, text and map are given to it."""

import inspect
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Bool, Float
from PIL import Image
from torch import Tensor
from torch.nn import functional

from neural3d.errors import InputError
from neural3d.priors.fitting import seeded
from neural3d.priors.patches import PatchSource, to_bytes
from neural3d.priors.pretrained.folders import checked_folder, loaded, needed
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

NAME = "pretrained"
STEPS = 30
_UNIT_PX = 64
"""Sides that pipelines are given are multiples of it; all of them take such."""


class PretrainedPrior(Prior):
    """Stable Diffusion and its kin, Kandinsky, StableUnCLIP: any pipeline whose call takes the usual arguments.

    Limits: it is not trained here, does not guide, and keeps its own idea of the right size, which `config.size` says.
    """

    def __init__(self, folder: Path, control: Path | None = None, steps: int = STEPS) -> None:
        """Of a folder with a model_index.json; `control` is a ControlNet's, for maps.

        Raises: InputError for folders that hold none, and for pickles.
        """
        checked_folder(folder, "model_index.json")
        diffusers = needed("diffusers")
        self._folder, self._steps = folder, steps
        self._pipeline = loaded(diffusers.DiffusionPipeline, folder, use_safetensors=True)
        self._control = None
        if control is not None:
            checked_folder(control, "config.json")
            self._control = loaded(diffusers.ControlNetModel, control, use_safetensors=True)
        self._fillers: dict[bool, Any] = {}
        self.config = PriorConfig(NAME, _native_size(self._pipeline), maps="given" if self._control else "")

    @property
    def reads(self) -> frozenset[str]:
        """What a sample can be asked to follow."""
        names = {"text": "prompt", "image": "image"}
        return frozenset(what for what, name in names.items() if name in _parameters(self._pipeline))

    def fit(
        self, source: PatchSource, budget: Budget, seed: int = 0, watch: Watch = watch_nothing
    ) -> list[StageReport]:
        """Raises: InputError, always."""
        raise InputError(f"{self._folder}: weights of your own are used as they are, not trained")

    @torch.no_grad()
    def sample(self, count: int, condition: Condition = NOTHING_ASKED, seed: int = 0) -> Images:
        """One after the other, of a text, of an image, or of both.

        Raises: InputError where the pipeline does only fill holes, or needs an image and has none.
        """
        needs = {name for name, one in _parameters(self._pipeline).items() if one.default is inspect.Parameter.empty}
        if "mask_image" in _parameters(self._pipeline):
            raise InputError(f"{self._folder}: {type(self._pipeline).__name__} fills holes and draws nothing else")
        if condition.images is None and ("image" in needs or _is_of_images(self._pipeline)):
            raise InputError(
                f"{self._folder}: {type(self._pipeline).__name__} draws variations; say of what, by --image"
            )
        asked: dict[str, Any] = {"prompt": condition.text or ""}
        if condition.images is not None:
            asked["image"] = _pictures(condition.images)[0]
        size = {"height": self.config.size, "width": self.config.size}
        generator = seeded(seed)
        return torch.cat([self._called(self._pipeline, asked | size, generator) for _ in range(count)])

    def encode(self, images: Images) -> Images:
        """Latents are pixels: what the pipeline does inside is its own."""
        return images

    def decode(self, latents: Images) -> Images:
        """The same."""
        return latents

    def guide(self, images: Images, condition: Condition = NOTHING_ASKED, seed: int = 0) -> Float[Tensor, ""]:
        """Raises: InputError, always."""
        raise InputError(f"{self._folder}: weights of your own fill and draw; they do not guide")

    @torch.no_grad()
    def fill(self, images: Images, unknown: Unknown, condition: Condition, generator: torch.Generator) -> Images:
        """Image by image: what surrounds the hole, at the size that the weights know.

        Raises: InputError where no pipeline for filling holes can be made of the weights.
        """
        pipeline, filled = self._filler(condition.maps is not None), images.clone()
        for index, hole in enumerate(unknown):
            if not bool(hole.any()):
                continue
            one, box = slice(index, index + 1), _box_about(hole[0], self.config.size)
            maps = condition.maps
            if maps is not None:  # one for all images, or one for each
                maps = maps[index % len(maps) :][:1][(..., *box)]
            part = replace(condition, maps=maps)
            at = (one, slice(None), *box)
            filled[at] = self._part_filled(pipeline, images[at], unknown[at], part, generator)
        return filled

    def _part_filled(
        self, pipeline: Any, image: Images, unknown: Unknown, condition: Condition, generator: torch.Generator
    ) -> Images:
        """One image with its hole filled, its longer side brought to the native size for that and back.

        The border is repeated up to whole units.
        """
        height, width = image.shape[-2:]
        small = _scaled_size((height, width), self.config.size)
        border = (0, -small[1] % _UNIT_PX, 0, -small[0] % _UNIT_PX)
        picture = functional.pad(_resized(image, small), border, mode="replicate")
        hole = functional.pad((_resized(unknown.float(), small) > 0).float(), border).expand(-1, 3, -1, -1) * 2 - 1
        asked = {"prompt": condition.text or "", "image": _pictures(picture)[0]}
        asked |= {"mask_image": _pictures(hole)[0].convert("L"), "height": picture.shape[2], "width": picture.shape[3]}
        if condition.maps is not None:
            maps = functional.pad(_resized(condition.maps, small), border, mode="replicate")
            asked["control_image"] = _pictures(maps)[0]
        answer = self._called(pipeline, asked, generator)[..., : small[0], : small[1]]
        return _resized(answer, (height, width)).clamp(-1, 1)

    def tensors(self) -> dict[str, Tensor]:
        """Raises: InputError, always."""
        raise InputError(f"{self._folder}: weights of your own stay in their folder")

    def load_tensors(self, tensors: dict[str, Tensor]) -> None:
        """Raises: InputError, always."""
        raise InputError(f"{self._folder}: weights of your own stay in their folder")

    def _filler(self, is_mapped: bool) -> Any:
        """The pipeline that fills holes with these weights; with maps, through the ControlNet."""
        if is_mapped and self._control is None:
            raise InputError(f"{self._folder}: a map needs a ControlNet; say where it lies, by --control")
        if is_mapped not in self._fillers:
            self._fillers[is_mapped] = self._pipeline
            if is_mapped or "mask_image" not in _parameters(self._pipeline):
                more = {"controlnet": self._control} if is_mapped else {}
                try:
                    made = needed("diffusers").AutoPipelineForInpainting.from_pipe(self._pipeline, **more)
                except ValueError as error:
                    raise InputError(f"{self._folder}: cannot fill holes: {' '.join(str(error).split())}") from error
                self._fillers[is_mapped] = made
        return self._fillers[is_mapped]

    def _called(self, pipeline: Any, asked: dict[str, Any], generator: torch.Generator) -> Images:
        """One image of what the pipeline answers; of what is asked it is given what it takes."""
        pipeline.set_progress_bar_config(disable=True)
        asked = asked | {"generator": generator, "output_type": "np", "num_inference_steps": self._steps}
        taken = {name: value for name, value in asked.items() if name in _parameters(pipeline)}
        answer = pipeline(**taken).images[0]
        return torch.from_numpy(answer).float().movedim(-1, 0)[None] * 2 - 1


def _parameters(pipeline: Any) -> dict[str, inspect.Parameter]:
    return dict(inspect.signature(pipeline.__call__).parameters)


def _is_of_images(pipeline: Any) -> bool:
    """Whether it starts from an image: then its call's first argument is one."""
    return next(iter(_parameters(pipeline))) == "image"


def _native_size(pipeline: Any) -> int:
    """The side that it was trained at, as far as its parts say."""
    network = getattr(pipeline, "unet", None) or getattr(pipeline, "transformer", None)
    cells = getattr(getattr(network, "config", None), "sample_size", None)
    scale = getattr(pipeline, "vae_scale_factor", None)
    if scale is None and getattr(pipeline, "movq", None) is not None:
        scale = 2 ** (len(pipeline.movq.config.block_out_channels) - 1)
    return int(cells) * int(scale or 8) if isinstance(cells, int) else 512


def _box_about(hole: Bool[Tensor, "H W"], least: int) -> tuple[slice, slice]:
    """The hole with as much around it to each side as half its own length, and no less than `least` in all."""
    found = [hole.any(axis).nonzero()[:, 0] for axis in (1, 0)]
    longer = max(int(at[-1]) + 1 - int(at[0]) for at in found)
    sides = []
    for at, length in zip(found, hole.shape, strict=True):
        side = min(length, max(2 * longer, least))
        first = min(max(0, (int(at[0]) + int(at[-1]) + 1 - side) // 2), length - side)
        sides.append(slice(first, first + side))
    return sides[0], sides[1]


def _scaled_size(size: tuple[int, int], longer: int) -> tuple[int, int]:
    """Of the same shape, with the longer side of that length."""
    height, width = (max(1, round(side * longer / max(size))) for side in size)
    return height, width


def _resized(images: Float[Tensor, "B C _ _"], size: tuple[int, int]) -> Float[Tensor, "B C _ _"]:
    """Each new pixel from all that it covers."""
    if tuple(images.shape[-2:]) == size:
        return images
    return functional.interpolate(images, size, mode="bilinear", antialias=True, align_corners=False)


def _pictures(images: Images) -> list[Image.Image]:
    return [Image.fromarray(pixels.numpy()) for pixels in to_bytes(images)]
