"""--init-field: splats that begin on the surfaces of another run's field."""

from pathlib import Path

from neural3d.cli.runs import POSE_TOLERANCE, load_trained
from neural3d.errors import InputError
from neural3d.scene import Scene
from neural3d.splats.gaussians import Gaussians
from neural3d.train.config import SplatConfig
from neural3d.train.field_start import field_gaussians
from neural3d.train.fields import FieldConfig
from neural3d.train.splats import gaussian_cap


def field_start(init_field: Path | None, scene: Scene, config: SplatConfig | FieldConfig) -> Gaussians | None:
    """Splats on a field's surfaces, if a field is named.

    Raises: InputError where it does not fit.
    """
    if init_field is None:
        return None
    if not isinstance(config, SplatConfig):
        raise InputError("--init-field: this is for splats; leave it out, or use neural3d train splat")
    trained = load_trained(init_field)
    if isinstance(trained.model, Gaussians):
        raise InputError(f"--init-field: {init_field}: the run holds splats; give the run of a radiance field")
    centers = scene.cameras.centers_world.double()
    in_field = trained.views.capture_from_scene.inverse().apply(scene.capture_from_scene.apply(centers))
    if (in_field - centers).abs().max() > POSE_TOLERANCE * scene.extent:
        raise InputError(f"--init-field: {init_field}: the field lies in another frame; train it on this capture")
    sizes = {"sh_degree": config.sh_degree, "antialiased": config.antialiased, "seed": config.seed}
    return field_gaussians(trained.model, scene, count=gaussian_cap(scene, config), **sizes)
