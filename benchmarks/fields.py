"""The field tables: `python benchmarks/fields.py [--field hashgrid|points] [--capture NAME]`; kept in results/."""

import argparse
from pathlib import Path

from neural3d.bench import keep
from neural3d.bench.curves import measure_mlp_curves
from neural3d.bench.fields import measure_fields
from neural3d.bench.hashgrid import measure_hashgrid
from neural3d.bench.points import measure_points
from neural3d.bench.side_by_side import measure_side_by_side
from neural3d.train.hashgrid_config import HASHGRID_PRESETS

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--field", choices=["mlp", "hashgrid", "points"], default="mlp", help="which field")
    parser.add_argument("--capture", help="a name, see README.md; by default the first at hand")
    parser.add_argument("--seconds", type=float, help="of training with --tiny (120), of points and their twin (1800)")
    parser.add_argument(
        "--curves", type=float, metavar="SECONDS", help="mlp: train the paper's networks and their twin so long"
    )
    parser.add_argument(
        "--presets", nargs="*", choices=[*HASHGRID_PRESETS], default=[*HASHGRID_PRESETS], help="hashgrid only"
    )
    parser.add_argument("--side-by-side", type=float, metavar="SECONDS", help="train the --models so long each")
    parser.add_argument(
        "--models", nargs="+", choices=["splats", "hashgrid", "points", "mlp"], default=["splats", "hashgrid"]
    )
    parser.add_argument("--pictures", type=Path, metavar="FOLDER", help="of --side-by-side: held-out views")
    parser.add_argument("--downscale", type=float, help="with --side-by-side, or points: photos at 1/X of their size")
    options = parser.parse_args()
    if options.side_by_side is not None:
        report = measure_side_by_side(
            options.capture,
            seconds=options.side_by_side,
            preset=options.presets[0],
            downscale=options.downscale,
            models=options.models,
            pictures=options.pictures,
        )
    elif options.curves is not None:
        report = measure_mlp_curves(options.capture, seconds=options.curves)
    elif options.field == "mlp":
        report = measure_fields(options.capture, seconds=options.seconds or 120.0)
    elif options.field == "points":
        report = measure_points(options.capture, seconds=options.seconds or 1800.0, downscale=options.downscale)
    else:
        report = measure_hashgrid(options.capture, presets=options.presets)
    keep(report, Path(__file__).parent / "results")
