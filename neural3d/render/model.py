"""Any model to images."""

from jaxtyping import Float
from torch import Tensor

from neural3d.fields.field import RadianceField
from neural3d.render.fields import field_render_function
from neural3d.render.rendering import RenderFn
from neural3d.render.splats import render_function
from neural3d.splats.gaussians import Gaussians

Model = Gaussians | RadianceField


def model_render_function(model: Model, *, background: Float[Tensor, "3"] | None = None) -> RenderFn:
    """The seam that viewers and evaluation see, for splats as for fields."""
    if isinstance(model, Gaussians):
        return render_function(model, background=background)
    return field_render_function(model, background=background)


def model_size(model: Model) -> dict[str, int]:
    """How large it is, under the name that results have for it."""
    if isinstance(model, Gaussians):
        return {"num_gaussians": len(model)}
    return {"num_parameters": model.num_parameters}
