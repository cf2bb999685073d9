"""What is told of cameras that were learnt with the scene."""

from typing import Any

from neural3d.cameras import Cameras
from neural3d.cli.progress import say
from neural3d.scene import Scene
from neural3d.train.camera_refinement import camera_motion


def camera_facts(scene: Scene, refined: Cameras | None) -> dict[str, Any]:
    """How far the training photos' cameras were moved; nothing where they were left alone."""
    if refined is None:
        return {}
    moved = camera_motion(scene.cameras[scene.train_indices], refined)
    say(
        f"cameras were refined: turned by {moved.angles_deg.median():.2f} degrees (at most "
        f"{moved.angles_deg.max():.2f}), moved by {100 * moved.shifts.median() / scene.extent:.2f} % of the extent "
        f"(at most {100 * moved.shifts.max() / scene.extent:.2f}), focal lengths times "
        f"{moved.focal_factors.min():.4f} to {moved.focal_factors.max():.4f}"
    )
    return {
        "refined_angle_deg": [float(moved.angles_deg.median()), float(moved.angles_deg.max())],
        "refined_shift_extents": [float(s) / scene.extent for s in (moved.shifts.median(), moved.shifts.max())],
        "refined_focal_factors": [float(moved.focal_factors.min()), float(moved.focal_factors.max())],
    }
