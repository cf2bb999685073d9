"""The memory table: `python benchmarks/memory.py [--capture NAME] [--seconds S]`; keeps it in results/memory.json."""

import argparse
from pathlib import Path

from neural3d.bench import keep, measure_memory

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--capture", help="a name, see README.md; by default snowmiku where it is at hand")
    parser.add_argument("--seconds", type=float, help="of training, instead of the capture's own")
    options = parser.parse_args()
    keep(measure_memory(options.capture, seconds=options.seconds), Path(__file__).parent / "results")
