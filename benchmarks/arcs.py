"""What completing gains where no photo was: `python benchmarks/arcs.py [CAPTURE] [--degrees 140] [--center 0]`.

The cameras of an arc are withheld, what they alone saw is completed, and renders of it are held against their photos.
Without a capture the bundled one is taken. Telea's method needs `pip install opencv-python-headless`. Keeps the table
in results/arcs_CAPTURE.json; `--pictures FOLDER` keeps the photos beside each method's renders.
"""

import argparse
from pathlib import Path

from neural3d.bench import keep
from neural3d.bench.arcs import METHODS, Arc, measure_arcs
from neural3d.train.config import SplatConfig

BUNDLED = Path(__file__).parents[1] / "scenes" / "teatime"

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("capture", type=Path, nargs="?", default=BUNDLED)
    parser.add_argument("--degrees", type=float, default=140)
    parser.add_argument("--center", type=float, default=0, help="from the first camera on, about what is up")
    parser.add_argument("--downscale", type=float, default=1)
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--texture", type=int, default=1024)
    parser.add_argument("--methods", nargs="+", default=METHODS)
    parser.add_argument("--pictures", type=Path)
    given = parser.parse_args()
    report = measure_arcs(
        given.capture,
        Arc(given.degrees, given.center),
        downscale=given.downscale,
        config=SplatConfig(steps=given.steps, max_seconds=None),
        methods=given.methods,
        side_px=given.texture,
        pictures=given.pictures,
    )
    keep(report, Path(__file__).parent / "results", f"arcs_{given.capture.name}")
