"""The demo table: `python benchmarks/demo.py`; of a clone of this checkout's last commit, kept in results/demo.json."""

import argparse
from pathlib import Path

from neural3d.bench import keep
from neural3d.bench.demo import measure_demo

if __name__ == "__main__":
    argparse.ArgumentParser(description=__doc__).parse_args()
    keep(measure_demo(Path(__file__).resolve().parents[1]), Path(__file__).parent / "results")
