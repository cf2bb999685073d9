"""The clients table: `python benchmarks/clients.py [--engine] [--counts N ...] [--steps N]`.

Keeps it in results/clients.json, or with --engine in results/clients_engine.json.
"""

import argparse
from pathlib import Path

from neural3d.bench import keep
from neural3d.bench.clients import ROUNDS, STEPS, measure_clients

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--counts", nargs="+", type=int, help="numbers of clients")
    parser.add_argument("--engine", action="store_true", help="all of them look at pictures that the engine draws")
    parser.add_argument("--steps", type=int, default=STEPS, help="of the training that is repeated for each number")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="trainings for each number")
    options = parser.parse_args()
    sizes = {"counts": options.counts, "steps": options.steps, "rounds": options.rounds}
    keep(measure_clients(by_engine=options.engine, **sizes), Path(__file__).parent / "results")
