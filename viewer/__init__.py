"""The browser viewer. `Viewer` watches a training, `view_gaussians` and `view_field` show finished models."""

from neural3d.viewer.app import Viewer
from neural3d.viewer.serve import announce, serve_forever, view_field, view_gaussians

__all__ = ["Viewer", "announce", "serve_forever", "view_field", "view_gaussians"]
