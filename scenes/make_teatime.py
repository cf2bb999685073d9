"""Make the capture scenes/teatime: model a still life, light it, photograph it, and write down what is true about it.

Needs Blender as a Python module (Python 3.11): `pip install bpy==5.0.1 pillow jaxtyping`. See scenes/README.md.
"""

import argparse
import tempfile
from pathlib import Path

import bpy
from studio import film, light, records, still_life
from studio.views import all_views

TRUTH_VIEWS = ("003", "017", "031", "059")
"""Held-out views that get depth and normals: low, middle, high, close."""

POINT_COUNT = 7000


def main() -> None:
    """Parse the command line and make the capture."""
    here = Path(__file__).resolve().parent
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default=here / "teatime", help="folder of the capture")
    parser.add_argument("--size", type=int, default=480, help="width and height of a photo in pixels")
    parser.add_argument("--samples", type=int, default=32, help="paths a pixel, before denoising")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--only", nargs="*", help="photograph only these views and write nothing else, e.g. 003 059")
    options = parser.parse_args()
    make(options.output, options.size, options.samples, options.seed, options.only)


def make(output: Path, size_px: int, samples: int, seed: int, only: list[str] | None) -> None:
    """Build the set, take the photos, then measure."""
    bpy.ops.wm.read_factory_settings(use_empty=True)
    still_life.build(seed)
    light.light_the_set()
    light.set_up_film(size_px, samples, seed)
    views = [v for v in all_views(seed) if not only or v.name in only]
    (output / "images").mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        photos = {}
        for view in views:
            photos[view.name] = film.photograph(view, Path(scratch))
            records.write_photo(output / "images" / f"{view.name}.webp", photos[view.name])
            print(f"photo {view.name}: {len(photos)} of {len(views)}", flush=True)
        if not only:
            _measure_all(output, size_px, seed, views, photos, Path(scratch))


def _measure_all(output: Path, size_px: int, seed: int, views: list, photos: dict, scratch: Path) -> None:
    """Depth of every view gives the points; a few views keep their depth and normals."""
    film.measure_only()
    truth = output / "truth"
    truth.mkdir(exist_ok=True)
    depths = {view.name: film.measure(view, "depth", scratch) for view in views}
    for view in views:
        if view.name in TRUTH_VIEWS:
            records.write_truth(truth, view.name, depths[view.name], film.measure(view, "normal", scratch))
    bare = {name: depth[..., 0] * (depth[..., 3] > 0.5) for name, depth in depths.items()}
    records.write_points(output / "points.ply", *records.sample_points(views, photos, bare, POINT_COUNT, seed))
    records.write_transforms(output / "transforms.json", views, size_px)


if __name__ == "__main__":
    main()
