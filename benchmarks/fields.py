"""The field table: `python benchmarks/fields.py [--capture NAME] [--seconds S]`; keeps it in results/fields.json."""

import argparse
from pathlib import Path

from neural3d.bench import keep
from neural3d.bench.fields import measure_fields

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--capture", help="a name, see README.md; by default the first at hand")
    parser.add_argument("--seconds", type=float, default=120.0, help="of training with --tiny")
    options = parser.parse_args()
    keep(measure_fields(options.capture, seconds=options.seconds), Path(__file__).parent / "results")
