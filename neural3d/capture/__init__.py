"""Captures on disk -> Scene: `load_capture` reads one, `inspect_capture` says what is in it and what is wrong.

The names are imported on first use: what `ingest` can be told is known without torch.
"""

from importlib import import_module

_MODULE_FROM_NAME = {
    "Inspection": "neural3d.capture.inspection",
    "Skipped": "neural3d.capture.listing",
    "ingest_photos": "neural3d.capture.ingest.pipeline",
    "inspect_capture": "neural3d.capture.inspection",
    "load_capture": "neural3d.capture.load",
}

__all__ = list(_MODULE_FROM_NAME)


def __getattr__(name: str) -> object:
    """Import a name from its module on first use (PEP 562)."""
    if name not in _MODULE_FROM_NAME:
        raise AttributeError(f"module 'neural3d.capture' has no attribute {name!r}; it has {', '.join(__all__)}")
    return getattr(import_module(_MODULE_FROM_NAME[name]), name)
