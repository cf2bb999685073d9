"""What the preset for few photos gains: `python benchmarks/few_photos.py CAPTURE POINTS3D.bin [--photos N]`.

CAPTURE has poses for all its photos; N of them are trained on, with the points that two of these saw, and every eighth
is held out. Keeps the table in results/few_photos.json.
"""

import argparse
from pathlib import Path

from neural3d.bench import keep
from neural3d.bench.few_photos import measure_few_photos

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("capture", type=Path)
    parser.add_argument("points", type=Path)
    parser.add_argument("--photos", type=int, default=8)
    parser.add_argument("--first", type=int, default=0, help="leave so many photos out before choosing")
    parser.add_argument("--noise", type=float, default=0.5, help="degrees by which poses are off in the second half")
    parser.add_argument("--name", help="keep the table under this name")
    parser.add_argument("--steps", type=int, default=2500)
    parser.add_argument("--downscale", type=float, default=4)
    given = parser.parse_args()
    options = {"count": given.photos, "steps": given.steps, "downscale": given.downscale, "first": given.first}
    report = measure_few_photos(given.capture, given.points, **options, noise_deg=given.noise)
    keep(report, Path(__file__).parent / "results", given.name)
