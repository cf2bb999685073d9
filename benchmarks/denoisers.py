"""The denoisers table: `python benchmarks/denoisers.py [--repeats N]`; keeps it in results/denoisers.json."""

import argparse
from pathlib import Path

from neural3d.bench import keep
from neural3d.bench.denoisers import measure_denoisers

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=15, help="steps of which the median is taken")
    keep(measure_denoisers(repeats=parser.parse_args().repeats), Path(__file__).parent / "results")
