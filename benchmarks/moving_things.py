"""What --ignore-moving gains and costs: `python benchmarks/moving_things.py CAPTURE [--every N]`.

Keeps the table in results/moving_things.json.
"""

import argparse
from pathlib import Path

from neural3d.bench import keep
from neural3d.bench.moving_things import measure_moving_things

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("capture", type=Path)
    parser.add_argument("--every", type=int, default=3, help="train on each so manieth of the training photos")
    parser.add_argument("--name", help="keep the table under this name")
    parser.add_argument("--steps", type=int, default=900)
    parser.add_argument("--downscale", type=float, default=4)
    given = parser.parse_args()
    table = measure_moving_things(given.capture, steps=given.steps, downscale=given.downscale, every=given.every)
    keep(table, Path(__file__).parent / "results", given.name)
