"""Photos in, a 3D scene people can look at and keep: Gaussian splats and radiance fields, on any machine.

The names below are the public interface. They are imported on first use, so `import neural3d` costs nothing and works
where the native library is not built.
"""

from importlib import import_module

__version__ = "0.1.0"

_MODULE_FROM_NAME = {
    "CameraPath": "neural3d.render.camera_files",
    "Cameras": "neural3d.cameras",
    "Densifier": "neural3d.train.densify",
    "ExrFrame": "neural3d.render.exr",
    "ExrSettings": "neural3d.render.exr",
    "FieldResult": "neural3d.train.fields",
    "Gaussians": "neural3d.splats.gaussians",
    "HashGridConfig": "neural3d.train.hashgrid_config",
    "InputError": "neural3d.errors",
    "MlpConfig": "neural3d.train.mlp_config",
    "NumericError": "neural3d.errors",
    "Photo": "neural3d.scene",
    "Points": "neural3d.scene",
    "Progress": "neural3d.train.observer",
    "RadianceField": "neural3d.fields.field",
    "RenderFn": "neural3d.render.rendering",
    "Rendering": "neural3d.render.rendering",
    "Run": "neural3d.run",
    "Scene": "neural3d.scene",
    "Similarity": "neural3d.scene",
    "SplatConfig": "neural3d.train.config",
    "StorageError": "neural3d.errors",
    "PAPERS_MLP": "neural3d.train.mlp_config",
    "TINY_MLP": "neural3d.train.mlp_config",
    "TrainResult": "neural3d.train.splats",
    "TrainingObserver": "neural3d.train.observer",
    "choose_device": "neural3d.devices",
    "evaluate": "neural3d.evaluation",
    "evaluation_background": "neural3d.evaluation",
    "field_render_function": "neural3d.render.fields",
    "ingest_photos": "neural3d.capture",
    "inspect_capture": "neural3d.capture",
    "load_capture": "neural3d.capture",
    "orbit_cameras": "neural3d.render.paths",
    "read_cameras": "neural3d.export.camera_formats",
    "read_ply": "neural3d.export.ply",
    "read_splats": "neural3d.export.formats",
    "render_function": "neural3d.render.splats",
    "render_splats": "neural3d.render.splats",
    "train_field": "neural3d.train.fields",
    "train_splats": "neural3d.train.splats",
    "write_cameras": "neural3d.export.camera_formats",
    "write_exr": "neural3d.render.exr",
    "write_mp4": "neural3d.render.video",
    "write_ply": "neural3d.export.ply",
    "write_png": "neural3d.render.images",
    "write_splats": "neural3d.export.formats",
    "write_video": "neural3d.render.video",
}

__all__ = ["__version__", *_MODULE_FROM_NAME]


def __getattr__(name: str) -> object:
    """Import a public name from its module on first use (PEP 562)."""
    if name not in _MODULE_FROM_NAME:
        raise AttributeError(f"module 'neural3d' has no attribute {name!r}; it has {', '.join(__all__)}")
    value = getattr(import_module(_MODULE_FROM_NAME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
