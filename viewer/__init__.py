"""The browser viewer. `Viewer` watches a training, `view_gaussians` shows a finished model."""

from neural3d.viewer.app import Viewer
from neural3d.viewer.serve import announce, serve_forever, view_gaussians

__all__ = ["Viewer", "announce", "serve_forever", "view_gaussians"]
