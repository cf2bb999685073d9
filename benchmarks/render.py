"""The render table: `python benchmarks/render.py [--repeats N]`; keeps it in results/render.json."""

import argparse
from pathlib import Path

from neural3d.bench import keep, measure_render

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=60, help="frames of which the median is taken")
    keep(measure_render(repeats=parser.parse_args().repeats), Path(__file__).parent / "results")
