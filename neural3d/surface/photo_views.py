"""What a photo shows of a model's surface: its own colours at the model's depths."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from neural3d.cameras import Cameras
from neural3d.render.model import Model
from neural3d.scene import Photo
from neural3d.surface.depth_views import DepthView, seen_by

Unexposed = Callable[[Float[Tensor, "3 H W"], Float[Tensor, "3 H W"]], Float[Tensor, "3 H W"]]
"""A photo's colours with its own exposure taken out; the second picture is the model's render of the same view."""

_DISAGREEMENT = 0.15
"""Standard deviation, in colour, of what photo and model may differ: beyond are passers-by, highlights, bad poses."""
_BEFORE = 0.02
"""Of the distance: what is nearer by less is the same surface, blended a little otherwise."""
_RIM, _LEAST_RIM_PX = 0.006, 2
"""Of a view's longer side: how wide the rim of a part is, where it is blended with what is beside it."""
_LEAST_SHARPNESS, _MOST_SHARPNESS = 0.1, 1.0


def photo_views(
    model: Model,
    cameras: Cameras,
    photos: Sequence[Photo],
    unexposed: Callable[[int], Unexposed | None],
    whole: Model | None = None,
) -> Iterator[DepthView]:
    """Photo after photo; `unexposed` says by the photo's number what takes its exposure out, if anything.

    Where the model is a part of a `whole`, what stands before it in a photo is none of its surface.
    """
    for number, photo in enumerate(photos):
        view = seen_by(model, cameras[number])
        if whole is not None:
            view = unhidden(view, seen_by(whole, cameras[number]))
        yield photo_view(view, photo, unexposed(number))


def unhidden(view: DepthView, whole: DepthView) -> DepthView:
    """A view of a part, where in the same view of the whole nothing stands before it; elsewhere no surface is sure.

    Nor is it along the rim, whose pixels show some of what is beside the part.
    """
    shown = (view.depths > 0) & (whole.depths > (1 - _BEFORE) * view.depths)
    width, height = view.camera.size_px[0].tolist()
    rim = max(_LEAST_RIM_PX, round(_RIM * max(width, height)))
    beside = functional.max_pool2d((~shown)[None, ..., 0].float(), 2 * rim + 1, stride=1, padding=rim)[0] > 0
    return replace(view, depths=torch.where(beside[..., None], 0, view.depths))


def photo_view(view: DepthView, photo: Photo, unexposed: Unexposed | None = None) -> DepthView:
    """The photo in place of the render of its camera; masked and transparent pixels show no surface.

    Pixels that differ from the render count less: what one photo alone shows is not of the surface. A photo that is
    more blurred than the render counts less as a whole.

    Raises: ValueError where photo and view differ in size.
    """
    if photo.pixels.shape[:2] != view.colors.shape[:2]:
        sizes = [tuple(t.shape[1::-1]) for t in (photo.pixels, view.colors)]
        raise ValueError(f"photo: {photo.name} is {sizes[0]}, its view {sizes[1]}; expected the same size")
    colors = photo.pixels.float() / 255
    if unexposed is not None:
        both = (image.permute(2, 0, 1).contiguous() for image in (colors, view.colors))
        colors = unexposed(*both).permute(1, 2, 0).clamp(0, 1)
    shown = (view.depths > 0) & _shows(photo)
    difference = (_softened(colors) - _softened(view.colors)).square().mean(-1, keepdim=True)
    trust = torch.exp(-0.5 * difference / _DISAGREEMENT**2) * _sharpness(colors, view.colors, shown)
    return replace(view, colors=colors, depths=torch.where(shown, view.depths, 0), trust=trust)


def _shows(photo: Photo) -> Tensor:
    shown = torch.ones(*photo.pixels.shape[:2], 1, dtype=torch.bool)
    if photo.alpha is not None:
        shown &= (photo.alpha > 250)[..., None]
    if photo.valid is not None:
        shown &= photo.valid[..., None]
    return shown


def _sharpness(colors: Tensor, render: Tensor, shown: Tensor) -> float:
    """Of the photo against the model's, which is the mean of all photos'; 1 where it is at least as sharp."""
    if not bool(shown.any()):
        return _LEAST_SHARPNESS
    edges = [float((image - _softened(image)).abs().mean(-1, keepdim=True)[shown].mean()) for image in (colors, render)]
    return min(max((edges[0] / max(edges[1], 1e-6)) ** 2, _LEAST_SHARPNESS), _MOST_SHARPNESS)


def _softened(image: Float[Tensor, "H W 3"]) -> Float[Tensor, "H W 3"]:
    padded = functional.pad(image.permute(2, 0, 1)[None], (2, 2, 2, 2), mode="replicate")
    return functional.avg_pool2d(padded, 5, stride=1)[0].permute(1, 2, 0)
