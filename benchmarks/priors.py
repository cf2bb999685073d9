"""What each prior draws, how fast, and how much of the truth it covers: `python benchmarks/priors.py [--seconds 15]`.

Each is trained for so long on four textures made in code. Keeps the table in results/priors.json and priors.md.
"""

import argparse
from pathlib import Path

from neural3d.bench import keep, measure_priors
from neural3d.bench.priors import SECONDS
from neural3d.priors.registry import ROWS

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=SECONDS, help="of training, each")
    parser.add_argument("--priors", nargs="+", default=list(ROWS), choices=list(ROWS))
    options = parser.parse_args()
    keep(measure_priors(options.priors, seconds=options.seconds), Path(__file__).parent / "results")
