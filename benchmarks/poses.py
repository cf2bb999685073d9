"""How well poses are found: `python benchmarks/poses.py PHOTOS TRUTH [--output CAPTURE] [--name NAME]`.

PHOTOS is a folder of photos, TRUTH a capture of the same photos with their poses.
Keeps the table in results/NAME.json, results/poses.json where none is given.
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
    parser.add_argument("--name", help="of the file in results/; by default that of the table")
    options = parser.parse_args()
    report = measure_poses(options.photos, options.truth, output=options.output)
    keep(report, Path(__file__).parent / "results", options.name)
