"""Captures on disk -> Scene: `load_capture` reads one, `inspect_capture` says what is in it and what is wrong."""

from neural3d.capture.inspection import Inspection, inspect_capture
from neural3d.capture.listing import Skipped
from neural3d.capture.load import load_capture

__all__ = ["Inspection", "Skipped", "inspect_capture", "load_capture"]
