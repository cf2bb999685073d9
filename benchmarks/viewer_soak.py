"""The soak of the viewer: `python benchmarks/viewer_soak.py [--seconds S]`; keeps it in results/viewer_soak.json."""

import argparse
from pathlib import Path

from neural3d.bench import keep
from neural3d.bench.viewer_soak import measure_viewer_soak

# The viewer runs in a process of its own, which imports this file.
if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=3600.0)
    keep(measure_viewer_soak(**vars(parser.parse_args())), Path(__file__).parent / "results")
