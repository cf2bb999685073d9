"""The second look at a model: what lies elsewhere is moved. In processes of their own, as pycolmap needs it."""

import json
import subprocess
import sys

import pytest

PROGRAM = """
import json, sys, tempfile
from pathlib import Path
import numpy as np, pycolmap
from neural3d.capture.ingest.colmap_refine import Context, Tolerances, refine, thin_pairs

fault = sys.argv[1]
pycolmap.logging.minloglevel = 3
pycolmap.set_random_seed(0)
folder = Path(tempfile.mkdtemp(dir=sys.argv[2]))
options = pycolmap.SyntheticDatasetOptions()
options.num_rigs, options.num_frames_per_rig, options.num_points3D = 1, 10, 300
options.num_points2D_without_point3D = 0
with pycolmap.Database.open(folder / "d.db") as database:
    model = pycolmap.synthesize_dataset(options, database)
truth = {i: model.image(i).cam_from_world() for i in model.reg_image_ids()}
names = {i: model.image(i).name for i in truth}
changed = sorted(truth)[4]
image = model.image(changed)
if fault != "nothing":
    for index, point in enumerate(image.points2D):
        if point.has_point3D():
            model.delete_observation(changed, index)
if fault == "turned":
    turn = pycolmap.Rotation3d(np.array([0.0, 0.0, 0.9]))
    pose = truth[changed]
    image.frame.set_cam_from_world(image.camera_id, pycolmap.Rigid3d(pose.rotation * turn, pose.translation))
if fault == "left out":
    model.deregister_frame(image.frame_id)
settings = pycolmap.IncrementalPipelineOptions()
settings.random_seed = settings.mapper.random_seed = settings.triangulation.random_seed = 0
settings.image_names = sorted(names.values())
context = Context(str(folder / "d.db"), str(folder), str(folder), Tolerances(6.0, 0.5), settings)
before = thin_pairs(model, context.database)
model, found = refine(model, context, lambda pairs: None, lambda note: None)
result = {i: model.image(i).cam_from_world() for i in model.reg_image_ids()}
first, second = (
    [-poses[i].rotation.matrix().T @ poses[i].translation for i in sorted(truth)] for poses in (result, truth)
)
fit = pycolmap.estimate_sim3d(np.array(first), np.array(second))
moved = np.array(first) @ fit.rotation.matrix().T * fit.scale + fit.translation
extent = np.linalg.norm(np.array(second) - np.mean(second, axis=0), axis=1).max()
print(json.dumps({
    "error": float(np.linalg.norm(moved - np.array(second), axis=1).max() / extent),
    "moved": found["moved"], "doubtful": found["doubtful"], "changed": names[changed],
    "thin": before,
}))
"""


@pytest.mark.parametrize("fault", ["nothing", "few points", "turned", "left out"])
def test_photos_are_put_where_their_matches_say(fault, tmp_path):
    pytest.importorskip("pycolmap", reason="pycolmap is not installed")
    process = subprocess.run([sys.executable, "-c", PROGRAM, fault, str(tmp_path)], capture_output=True, text=True)
    assert process.returncode == 0, process.stderr[-2000:]
    found = json.loads(process.stdout.splitlines()[-1])
    assert found["moved"] == ([found["changed"]] if fault in ("turned", "left out") else [])
    assert found["doubtful"] == []
    assert found["error"] < 1e-4
    # Only pairs that agree with the poses are worth another look.
    assert len(found["thin"]) == (9 if fault == "few points" else 0)
    assert all(found["changed"] in pair for pair in found["thin"])
