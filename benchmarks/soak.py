"""The soak: `python benchmarks/soak.py [--seconds S | --steps N] [--kills N]`; keeps it in results/soak.json."""

import argparse
from pathlib import Path

from neural3d.bench import keep
from neural3d.bench.soak import measure_soak

# Training runs in processes of their own, which import this file.
if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=3600.0, help="in all, for two trainings")
    parser.add_argument("--steps", type=int, help="of each training, instead of what fills the time")
    parser.add_argument("--kills", type=int, help="of the second training")
    parser.add_argument("--clients", type=int, default=8, help="that look at the second training")
    parser.add_argument("--downscale", type=float, default=1.0, help="of the bundled capture")
    keep(measure_soak(**vars(parser.parse_args())), Path(__file__).parent / "results")
