"""How well holes in textures are filled: `python benchmarks/textures.py [--side 128] [--seeds 3] [--methods …]`.

Textures made in code, and those in $NEURAL3D_DATA/textures where that is set. OpenCV's and scikit-image's methods need
`pip install opencv-python-headless scikit-image`. Keeps the table in results/textures.json.
"""

import argparse
import os
from pathlib import Path

from neural3d.bench import keep
from neural3d.bench.textures import measure_textures

METHODS = ("telea", "navier-stokes", "biharmonic", "nearest", "gpdm", "quilt", "auto-fast", "auto")

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--side", type=int, default=128)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--methods", nargs="+", default=METHODS)
    options = parser.parse_args()
    data = os.environ.get("NEURAL3D_DATA")
    folder = None if data is None else Path(data)
    report = measure_textures(folder, side=options.side, seeds=options.seeds, methods=options.methods)
    keep(report, Path(__file__).parent / "results")
