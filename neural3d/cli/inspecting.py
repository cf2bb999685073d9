"""inspect: what is in a capture, what is wrong with it, how long training will take; train says the same warnings."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from neural3d.capture.checks import Checks, check_scene
from neural3d.capture.findings import Finding, verdict
from neural3d.capture.georeference.place import describe_world
from neural3d.capture.inspection import Inspection, inspect_capture
from neural3d.capture.load import read_capture
from neural3d.capture.pose_picture import write_pose_picture
from neural3d.cli.answers import answer
from neural3d.cli.options import Inspect
from neural3d.cli.progress import clock, say
from neural3d.errors import InputError
from neural3d.run import check_parents
from neural3d.scene import Scene
from neural3d.train.config import SplatConfig

SHOWN_SKIPPED = 10


def run_inspect(options: Inspect) -> int:
    """Look at headers, then at every photo and pose; print what was found."""
    _require_picture(options.picture)
    header = inspect_capture(options.capture)
    say(f"looking at {header.num_usable} photos")
    scene, skipped = read_capture(options.capture)
    checks = check_scene(scene)
    findings = (*_skipped_findings(skipped), *checks.findings, *_memory_findings(header))
    line = verdict(findings, len(scene.photos), len(scene.photos) + len(skipped))
    if options.picture is not None:
        wrong = {name for finding in findings if finding.severity != "note" for name in finding.photos}
        write_pose_picture(options.picture, scene, f"{options.capture.resolve().name}: {line}"[:140], wrong)
    steps = expected_steps(scene)
    if options.json:
        answer(_as_json(header, scene, checks, findings, line, steps, skipped), True)
    else:
        print("\n".join(_as_lines(header, scene, checks, findings, line, steps)))
        if options.picture is not None:
            print(f"picture    {options.picture}")
    return 0


def say_findings(scene: Scene) -> None:
    """The warnings of `inspect`, before a training begins."""
    for finding in check_scene(scene).findings:
        if finding.severity != "note":
            say(f"neural3d: warning: {finding.text}")


def _require_picture(path: Path | None) -> None:
    if path is not None and path.suffix.lower() != ".png":
        raise InputError(f"--picture {path}: expected a file that ends in .png")
    if path is not None:
        check_parents(path)


def expected_steps(scene: Scene) -> int:
    """How many steps training takes in its default time on this machine, from three steps of a generated scene.

    Limits: a scene of 50,000 Gaussians at the photos' size; large models take longer, the first steps less.
    """
    from neural3d.bench.step import expected_step_ms

    config = SplatConfig()
    width, height = np.median(scene.cameras.size_px.numpy(), axis=0).astype(int).tolist()
    milliseconds = expected_step_ms(width, height)
    return min(config.steps, int(1000 * (config.max_seconds or 0) / milliseconds))


def _skipped_findings(skipped: tuple[Any, ...]) -> list[Finding]:
    return [Finding("skipped", "warning", (entry.name,), str(entry)) for entry in skipped]


def _memory_findings(header: Inspection) -> list[Finding]:
    if header.estimated_training_bytes <= header.free_bytes:
        return []
    text = (
        f"training may take {header.estimated_training_bytes / 1e9:.1f} GB, {header.free_bytes / 1e9:.1f} GB are "
        "free: take a larger --downscale"
    )
    return [Finding("memory", "warning", (), text)]


def _as_lines(
    header: Inspection, scene: Scene, checks: Checks, findings: tuple[Finding, ...], line: str, steps: int
) -> list[str]:
    sizes = ", ".join(f"{count} of {size}" for size, count in header.sizes.items())
    seen, coverage = checks.coverage.points_in_view, checks.coverage
    marks = [word for word, is_so in ((", masks", header.has_masks), (", alpha", scene.has_alpha)) if is_so]
    seconds = SplatConfig().max_seconds or 0
    in_view = f"; {seen.min():,} to {seen.max():,} in view of a photo" if header.num_points else ""
    warnings = [finding for finding in findings if finding.kind != "skipped"]
    skipped = [finding for finding in findings if finding.kind == "skipped"]
    more = [f"skipped    and {len(skipped) - SHOWN_SKIPPED} more"] if len(skipped) > SHOWN_SKIPPED else []
    return [
        f"{header.path}: {header.format}; {header.summary}",
        f"photos     {len(scene.photos)} usable of {header.num_frames} ({sizes}); {len(scene.train_indices)} to train, "
        f"{len(scene.test_indices)} held out",
        f"cameras    {', '.join(f'{count} {model}' for model, count in header.camera_models.items())}",
        f"points     {header.num_points:,}{''.join(marks)}{in_view}",
        f"coverage   {coverage.around_deg:.0f} degrees around, {coverage.elevation_deg[0]:.0f} to "
        f"{coverage.elevation_deg[1]:.0f} high; neighbours {np.median(coverage.nearest_deg):.0f} degrees apart",
        *([] if scene.world is None else [f"world      {describe_world(scene.world)}"]),
        f"training   about {steps:,} steps in {clock(seconds)} on this machine, at --downscale {scene.downscale:g}",
        f"memory     about {header.estimated_training_bytes / 1e9:.1f} GB of {header.free_bytes / 1e9:.1f} GB free",
        *(finding.text.replace("skipped ", "skipped    ", 1) for finding in skipped[:SHOWN_SKIPPED]),
        *more,
        *(f"{finding.severity:<10} {finding.text}" for finding in warnings),
        *(f"note       {note}" for note in header.warnings),
        f"verdict    {line}",
    ]


def _as_json(
    header: Inspection,
    scene: Scene,
    checks: Checks,
    findings: tuple[Finding, ...],
    line: str,
    steps: int,
    skipped: tuple[Any, ...],
) -> dict[str, Any]:
    coverage = checks.coverage
    photos = [
        {
            "name": photo.name,
            "sharpness": quality.sharpness,
            "brightness": quality.brightness,
            "clipped": quality.clipped,
            "points_in_view": int(coverage.points_in_view[view]),
            "nearest_deg": float(coverage.nearest_deg[view]),
            "agreement": None if np.isnan(coverage.agreement[view]) else float(coverage.agreement[view]),
        }
        for view, (photo, quality) in enumerate(zip(scene.photos, checks.qualities, strict=True))
    ]
    return {
        **header.to_json(),
        "num_usable": len(scene.photos),
        "num_train": len(scene.train_indices),
        "num_test": len(scene.test_indices),
        "skipped": [asdict(entry) for entry in skipped],
        "coverage": {
            "around_deg": coverage.around_deg,
            "gap_deg": coverage.gap_deg,
            "elevation_deg": list(coverage.elevation_deg),
            "widest_deg": coverage.widest_deg,
            "views_per_point": coverage.views_per_point,
        },
        "photos": photos,
        "findings": [finding.to_json() for finding in findings],
        "estimated_training_seconds": SplatConfig().max_seconds,
        "estimated_training_steps": steps,
        "verdict": line,
    }
