"""The clients table: `python benchmarks/clients.py [--counts N ...] [--steps N]`; keeps it in results/clients.json."""

import argparse
from pathlib import Path

from neural3d.bench import keep
from neural3d.bench.clients import COUNTS, ROUNDS, STEPS, measure_clients

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--counts", nargs="+", type=int, default=COUNTS, help="numbers of clients")
    parser.add_argument("--steps", type=int, default=STEPS, help="of the training that is repeated for each number")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="trainings for each number")
    options = parser.parse_args()
    report = measure_clients(counts=options.counts, steps=options.steps, rounds=options.rounds)
    keep(report, Path(__file__).parent / "results")
