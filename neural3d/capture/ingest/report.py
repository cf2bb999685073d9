"""How an ingest ended: how many photos have a pose, how well they fit, and why the others have none."""

from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

from neural3d.capture.ingest.state import PreparedPhoto, State

BLURRED = 0.6
"""Of the capture's median sharpness; less is blurred."""
FEW_FEATURES = 200
DARK, BRIGHT = 0.06, 0.96


@dataclass(frozen=True)
class Report:
    """What an ingest found; plain values."""

    num_photos: int
    """Photos that were given, readable or not."""
    num_registered: int
    reprojection_error_px: float
    num_points: int
    mapping: str
    """incremental, relaxed or global: the settings that gave the model."""
    num_pairs: int
    seconds: float
    failed: dict[str, str]
    """Photos without a pose, and the likely reason."""
    warnings: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {**asdict(self), "warnings": list(self.warnings)}

    def lines(self) -> list[str]:
        """For people."""
        summary = (
            f"{self.num_registered} of {self.num_photos} photos have a pose; reprojection error "
            f"{self.reprojection_error_px:.2f} px, {self.num_points:,} points"
        )
        failed = [f"no pose: {name}: {reason}" for name, reason in self.failed.items()]
        return [summary, *failed, *(f"warning: {warning}" for warning in self.warnings)]


def make_report(
    state: State, features: dict[str, int], matches: dict[str, Any], poses: dict[str, Any], seconds: float
) -> Report:
    """Put together what the stages found."""
    model = poses["model"]
    observations: dict[str, int] = model["observations"]
    failed = {photo.name: photo.fault for photo in state.photos if photo.fault is not None}
    sharpest = median(photo.quality.sharpness for photo in state.usable if photo.quality)
    for photo in state.usable:
        if photo.name not in observations:
            failed[photo.name] = likely_reason(
                photo,
                sharpest,
                features.get(photo.name, 0),
                matches["num_matches"].get(photo.name, [0, 0]),
                poses,
            )
    return Report(
        num_photos=len(state.photos),
        num_registered=len(observations),
        reprojection_error_px=model["reprojection_error_px"],
        num_points=model["num_points"],
        mapping=model["kind"],
        num_pairs=matches["num_pairs"],
        seconds=seconds,
        failed=failed,
        warnings=_warnings(state, observations, poses["moved"]),
    )


def likely_reason(
    photo: PreparedPhoto,
    sharpest: float,
    num_features: int,
    matches: list[int],
    poses: dict[str, Any],
) -> str:
    """Why a photo that could be read has no pose; the first cause that applies, the surest first."""
    partners, inliers = matches
    others, weak = poses["others"], poses["weak"]
    if photo.name in poses["doubtful"]:
        return "two places fit it: something in it repeats; take photos between it and the others"
    quality = photo.quality
    if quality is not None and quality.brightness < DARK:
        return "it is nearly black"
    if quality is not None and quality.brightness > BRIGHT:
        return "it is nearly white"
    if num_features < FEW_FEATURES // 4:
        return f"it shows too little texture ({num_features} features)"
    if quality is not None and quality.sharpness < BLURRED * sharpest:
        return f"it is blurred (sharpness {quality.sharpness / sharpest:.0%} of the median)"
    if num_features < FEW_FEATURES:
        return f"it shows too little texture ({num_features} features)"
    if partners == 0:
        return "it looks like no other photo; take some between it and the others"
    if photo.name in weak:
        return f"its pose would rest on {weak[photo.name]} points, too few to be believed"
    if others and any(photo.name in names for names in others):
        together = max(len(names) for names in others if photo.name in names)
        return f"it belongs to {together} photos that do not connect with the rest; take some in between"
    return f"it overlaps too little: {partners} photos match it, the best in {inliers} points"


def _warnings(state: State, observations: dict[str, int], moved: list[str]) -> tuple[str, ...]:
    warnings = []
    if registered := [name for name in moved if name in observations]:
        warnings.append(
            f"{len(registered)} photos fitted two places, as where a pattern repeats, and took the one that more "
            f"matches speak for: {', '.join(registered[:5])}"
        )
    if len(observations) < 0.8 * len(state.usable):
        warnings.append(
            f"only {len(observations)} of {len(state.usable)} photos have a pose; "
            "more overlap (two thirds of each picture) helps most"
        )
    if weak := sorted(name for name, count in observations.items() if count < 50):
        warnings.append(f"{len(weak)} poses rest on fewer than 50 points and may be wrong: {', '.join(weak[:5])}")
    return tuple(warnings)
