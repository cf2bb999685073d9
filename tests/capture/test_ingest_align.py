"""Features moved to where they show the same, where that is known. In processes of their own, as pycolmap needs it."""

import json
import subprocess
import sys

import pytest

# One texture, seen straight and bent; of each feature its place is known in both, and that in the second given wrongly.
BENT = """
import json, sys
import numpy as np
from neural3d.capture.ingest import colmap_align
from neural3d.capture.ingest.colmap_align import Tracks, _aligned, _blurred, _cut

seed, factor = 3, float(sys.argv[1])
rng = np.random.default_rng(seed)
waves = rng.normal(size=(60, 2)) * 0.45
phases = rng.uniform(0, 6.28, 60)

def texture(x, y):
    return 128 + 9 * np.sin(x[..., None] * waves[:, 0] + y[..., None] * waves[:, 1] + phases).sum(-1)

bend, shift = np.array([[1.1, 0.25], [-0.15, 0.9]]), np.array([7.3, -4.6])
y, x = np.mgrid[:160, :200] + 0.5
first = texture(x, y)
back = np.linalg.inv(bend)
u, v = x - shift[0], y - shift[1]
second = 30 + 0.7 * texture(back[0, 0] * u + back[0, 1] * v, back[1, 0] * u + back[1, 1] * v)
second[:60] = 128 + rng.normal(size=(60, 200)) * 90  # there the second picture shows something else
first, second = (_blurred(picture.astype(np.float32)) for picture in (first, second))

count = 60
places = rng.uniform((30, 30), (150, 130), (count, 2))
truth = places @ bend.T + shift
errors = rng.normal(size=(count, 2)) * 0.5
angles = rng.normal(size=count) * 0.1
turns = np.array([[[np.cos(a), -np.sin(a)], [np.sin(a), np.cos(a)]] for a in angles])
shapes = np.concatenate([np.tile(2 * np.eye(2), (count, 1, 1)), 2 * bend @ turns])
tracks = Tracks(
    images=np.repeat([1, 2], count), features=np.tile(np.arange(count), 2), points=np.tile(np.arange(count), 2),
    pixels=np.concatenate([places, truth + errors]) / factor, shapes=shapes / factor, references=np.arange(count),
)
found, good = _aligned(second, _cut(first, places), tracks, np.arange(count, 2 * count), factor)
inside = (truth[:, 1] > 75) & (truth[:, 0] > 12) & (truth[:, 0] < 188) & (truth[:, 1] < 148)
print(json.dumps({
    "before": float(np.linalg.norm(errors[inside], axis=1).mean()),
    "after": float(np.linalg.norm(found[inside] * factor - truth[inside], axis=1).mean()),
    "found": float(good[inside].mean()), "found in noise": float(good[truth[:, 1] < 50].mean()),
    "inside": int(inside.sum()), "in noise": int((truth[:, 1] < 50).sum()),
}))
"""

# A model of COLMAP's whose pictures are noise: nothing in them shows the same.
NOISE = """
import json, sys, tempfile
from pathlib import Path
import numpy as np, pycolmap
from neural3d.capture.ingest.colmap_align import align_features

pycolmap.logging.minloglevel = 3
pycolmap.set_random_seed(0)
folder = Path(tempfile.mkdtemp(dir=sys.argv[1]))
options = pycolmap.SyntheticDatasetOptions()
options.num_rigs, options.num_frames_per_rig, options.num_points3D = 1, 4, 40
with pycolmap.Database.open(folder / "d.db") as database:
    model = pycolmap.synthesize_dataset(options, database)
rng = np.random.default_rng(0)
for image_id in model.reg_image_ids():
    pixels = rng.integers(0, 255, (768, 1024), dtype=np.uint8)
    pycolmap.Bitmap.from_array(pixels).write(folder / model.image(image_id).name)
before = {"before": model.num_points3D(), "observations": model.compute_num_observations()}
told = []
counts = align_features(model, str(folder / "d.db"), folder, lambda done, total: told.append((done, total)))
print(json.dumps({**before, **counts, "after": model.num_points3D(), "told": told}))
"""


def _run(program: str, *arguments: str) -> dict:
    pytest.importorskip("pycolmap", reason="pycolmap is not installed")
    process = subprocess.run([sys.executable, "-c", program, *arguments], capture_output=True, text=True)
    assert process.returncode == 0, process.stderr[-2000:]
    return json.loads(process.stdout.splitlines()[-1])


@pytest.mark.parametrize("factor", ["1", "0.5"])
def test_features_go_where_the_pixels_agree(factor):
    """Across a bend, a change of brightness, and a photo that is larger than it is searched."""
    found = _run(BENT, factor)
    assert found["inside"] > 15 and found["in noise"] > 5
    assert found["before"] > 0.5
    assert found["after"] < 0.05
    assert found["found"] == 1
    assert found["found in noise"] < 0.2


def test_features_that_show_something_else_leave_their_points(tmp_path):
    found = _run(NOISE, str(tmp_path))
    assert found["before"] == 40 and found["after"] < 4
    assert found["aligned"] < 0.1 * found["observations"]
    assert found["told"] == [[number, 8] for number in range(8)]
