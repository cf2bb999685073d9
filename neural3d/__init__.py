"""Photos in, a 3D scene people can look at and keep: Gaussian splats and radiance fields, on any machine.

The names below are the public interface. They are imported on first use, so `import neural3d` costs nothing and works
where the native library is not built.
"""

from importlib import import_module

__version__ = "0.1.0"

_MODULE_FROM_NAME = {
    "Cameras": "neural3d.cameras",
    "Gaussians": "neural3d.splats.gaussians",
    "InputError": "neural3d.errors",
    "Photo": "neural3d.scene",
    "Points": "neural3d.scene",
    "Rendering": "neural3d.render.rendering",
    "Scene": "neural3d.scene",
    "Similarity": "neural3d.scene",
    "SplatConfig": "neural3d.train.splats",
    "evaluate": "neural3d.evaluation",
    "load_capture": "neural3d.capture",
    "read_ply": "neural3d.export.ply",
    "render_splats": "neural3d.render.splats",
    "train_splats": "neural3d.train.splats",
    "write_ply": "neural3d.export.ply",
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
