"""The step table: `python benchmarks/step.py [--repeats N]`; keeps it in results/step.json."""

import argparse
from pathlib import Path

from neural3d.bench import keep, measure_step

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=200, help="steps of which the median is taken")
    keep(measure_step(repeats=parser.parse_args().repeats), Path(__file__).parent / "results")
