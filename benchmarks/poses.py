"""How well poses are found: `python benchmarks/poses.py PHOTOS TRUTH [--output CAPTURE]`.

PHOTOS is a folder of photos, TRUTH a capture of the same photos with their poses.
Keeps the table in results/poses.json.
"""

import argparse
from pathlib import Path

from neural3d.bench import keep
from neural3d.bench.poses import measure_poses

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("photos", type=Path)
    parser.add_argument("truth", type=Path)
    parser.add_argument("--output", type=Path, help="keep the capture here")
    options = parser.parse_args()
    report = measure_poses(options.photos, options.truth, output=options.output)
    keep(report, Path(__file__).parent / "results")
