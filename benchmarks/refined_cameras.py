"""What --refine-cameras does for a hash grid: `python benchmarks/refined_cameras.py CAPTURE [--noise DEGREES]`.

Keeps the table in results/refined_cameras.json.
"""

import argparse
from pathlib import Path

from neural3d.bench import keep
from neural3d.bench.refined_cameras import measure_refined_cameras

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("capture", type=Path)
    parser.add_argument("--noise", type=float, default=1.0, help="degrees by which poses are off in the second half")
    parser.add_argument("--name", help="keep the table under this name")
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--downscale", type=float, default=4)
    given = parser.parse_args()
    options = {"steps": given.steps, "downscale": given.downscale, "noise_deg": given.noise}
    keep(measure_refined_cameras(given.capture, **options), Path(__file__).parent / "results", given.name)
