"""The latency table: `python benchmarks/latency.py [--moves N]`; keeps it in results/latency.json."""

import argparse
from pathlib import Path

from neural3d.bench import keep
from neural3d.bench.latency import MOVES, measure_latency

# The visitor runs in a process of its own, which imports this file.
if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--moves", type=int, default=MOVES, help="of the visitor's camera")
    keep(measure_latency(**vars(parser.parse_args())), Path(__file__).parent / "results")
