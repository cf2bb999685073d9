"""How long the texture of a whole surface takes: `python benchmarks/atlas.py [--side 1024] [--unseen 0.15]`.

A ball that is papered with a texture made in code. Keeps the table in results/atlas.json.
"""

import argparse
from pathlib import Path

from neural3d.bench import keep
from neural3d.bench.atlas import measure_atlas

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--side", type=int, default=1024)
    parser.add_argument("--unseen", type=float, default=0.15)
    options = parser.parse_args()
    keep(measure_atlas(side_px=options.side, unseen=options.unseen), Path(__file__).parent / "results")
