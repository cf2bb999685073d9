"""The quality table: `python benchmarks/quality.py [--captures NAME ...] [--seconds S]`.

Keeps it in results/quality.json and results/quality.svg.
"""

import argparse
from pathlib import Path

from neural3d.bench import keep, measure_quality

# Training runs in processes of their own, which import this file.
if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--captures", nargs="+", help="names, see README.md; by default all at hand")
    parser.add_argument("--seconds", type=float, help="of training, for each capture instead of its own")
    options = parser.parse_args()
    report = measure_quality(options.captures, seconds=options.seconds)
    keep(report, Path(__file__).parent / "results")
