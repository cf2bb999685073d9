"""The browser viewer: `Viewer` watches a training, `view_gaussians` and `view_field` show finished models.

`PosePreview` shows poses that are being found.
"""

from neural3d.viewer.app import Viewer
from neural3d.viewer.pose_preview import PosePreview
from neural3d.viewer.serve import announce, serve_forever, view_field, view_gaussians

__all__ = ["PosePreview", "Viewer", "announce", "serve_forever", "view_field", "view_gaussians"]
