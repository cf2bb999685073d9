"""What found poses are worth: `python benchmarks/trained_poses.py FOUND KNOWN [--steps N] [--downscale D] [--seed S]`.

FOUND and KNOWN are captures of the same photos, such as what `neural3d ingest` made of them and what came with them.
Keeps the table in results/trained_poses.json.
"""

import argparse
from pathlib import Path

from neural3d.bench import keep
from neural3d.bench.poses import measure_trained_poses

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("found", type=Path)
    parser.add_argument("known", type=Path)
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument("--downscale", type=float, default=4.0)
    parser.add_argument("--seed", type=int, default=0)
    keep(measure_trained_poses(**vars(parser.parse_args())), Path(__file__).parent / "results")
