"""The formats table: `python benchmarks/formats.py [--capture NAME] [--seconds S] [--large N]`; kept in results/."""

import argparse
from pathlib import Path

from neural3d.bench import keep, measure_formats
from neural3d.bench.formats import FILES, LARGE

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--capture", help="a name, see README.md; by default the bundled one")
    parser.add_argument("--seconds", type=float, default=45.0, help="of training")
    parser.add_argument("--files", nargs="+", choices=list(FILES), help="the formats, by default all")
    parser.add_argument("--large", type=int, default=LARGE, help="Gaussians to write for the memory, 0: none")
    options = parser.parse_args()
    measured = measure_formats(
        capture=options.capture, seconds=options.seconds, files=options.files, num_large=options.large
    )
    keep(measured, Path(__file__).parent / "results")
