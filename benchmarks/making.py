"""How long `neural3d make` takes: `python benchmarks/making.py PHOTOS [--max-seconds S]`; keeps results/making.json."""

import argparse
from pathlib import Path

from neural3d.bench import keep
from neural3d.bench.making import measure_making

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("source", type=Path, metavar="PHOTOS")
    parser.add_argument("--max-seconds", type=float, help="of training; by default what make takes")
    keep(measure_making(**vars(parser.parse_args())), Path(__file__).parent / "results")
