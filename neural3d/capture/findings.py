"""What is wrong with a capture's photos and views: records, and the checks of photos by themselves."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np

from neural3d.capture.photo_quality import PhotoQuality, fingerprint_distance

Severity = Literal["note", "warning", "fault"]

BLURRED = 0.5
"""Of the median sharpness of the capture."""
BLURRED_NEAR = 0.65
"""Of the median sharpness of the photos from nearby."""
DARK, BRIGHT = 0.06, 0.96
CLIPPED = 0.2
"""Share of pixels that are black or white, beyond the capture's median share."""
STOPS = 1.5
"""Brighter or darker than the median by so many doublings of the light."""
TWIN_BITS = 2
"""Of 256 bits of the fingerprint; photos from neighbouring places differ in more."""
MIN_CONTRAST = 0.02
"""Photos with less show nothing that a fingerprint could tell apart."""


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong, or worth knowing, and what to do about it."""

    kind: str
    """blurred, dark, bright, exposure, duplicate, turned, mismatched, few_points, alone, baseline, coverage, …"""
    severity: Severity
    """fault: training is no use like this; warning: the result suffers; note: good to know."""
    photos: tuple[str, ...]
    text: str
    """One line, with the remedy."""

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {**asdict(self), "photos": list(self.photos)}


def photo_findings(
    names: Sequence[str], qualities: Sequence[PhotoQuality], neighbours: Sequence[Sequence[int]]
) -> list[Finding]:
    """Blurred, badly exposed and double photos, compared with the capture's median, for blur with `neighbours`, too.

    `neighbours` are the photos that show nearly the same as each: a side with little texture is blurred in all of them.
    """
    found = [*_exposure(names, qualities), *_blur(names, qualities, neighbours), *_twins(names, qualities)]
    return sorted(found, key=lambda finding: finding.photos)


def _blur(
    names: Sequence[str], qualities: Sequence[PhotoQuality], neighbours: Sequence[Sequence[int]]
) -> list[Finding]:
    sharpness = np.array([quality.sharpness for quality in qualities])
    median = float(np.median(sharpness))
    around = np.array([np.median(sharpness[list(near)]) if len(near) else median for near in neighbours])
    return [
        Finding(
            "blurred",
            "warning",
            (name,),
            f"{name} is blurred (sharpness {quality.sharpness / median:.0%} of the median): leave it out",
        )
        for name, quality, near in zip(names, qualities, around, strict=True)
        if quality.sharpness < BLURRED * median
        and quality.sharpness < BLURRED_NEAR * near
        and quality.contrast > MIN_CONTRAST
    ]


def _exposure(names: Sequence[str], qualities: Sequence[PhotoQuality]) -> list[Finding]:
    clipped = float(np.median([quality.clipped for quality in qualities]))
    light = np.array([max(quality.brightness, 1e-3) for quality in qualities]) ** 2.2
    stops = np.log2(light / np.median(light))
    found = []
    for name, quality, stop in zip(names, qualities, stops, strict=True):
        if quality.brightness < DARK and stop < -1:
            found.append(Finding("dark", "warning", (name,), f"{name} is nearly black: leave it out"))
        elif quality.brightness > BRIGHT and stop > 1:
            found.append(Finding("bright", "warning", (name,), f"{name} is nearly white: leave it out"))
        elif abs(stop) > STOPS or quality.clipped > clipped + CLIPPED:
            how = "over" if stop > 0 else "under"
            share = f", {quality.clipped:.0%} of it black or white" if quality.clipped > clipped + CLIPPED else ""
            text = f"{name} is {how}exposed ({stop:+.1f} stops{share}): leave it out, or develop it like the others"
            found.append(Finding("exposure", "warning", (name,), text))
    return found


def _twins(names: Sequence[str], qualities: Sequence[PhotoQuality]) -> list[Finding]:
    found = []
    for second in range(len(names)):
        for first in range(second):
            pair = qualities[first], qualities[second]
            if min(quality.contrast for quality in pair) > MIN_CONTRAST and _are_twins(*pair):
                text = f"{names[second]} shows the same as {names[first]}: leave one of them out"
                found.append(Finding("duplicate", "warning", (names[first], names[second]), text))
                break
    return found


def _are_twins(first: PhotoQuality, second: PhotoQuality) -> bool:
    """The same picture, perhaps in another size or encoding."""
    same = fingerprint_distance(first.fingerprint, second.fingerprint) <= TWIN_BITS
    return same and abs(first.brightness - second.brightness) < 0.01 and abs(first.contrast - second.contrast) < 0.01


def verdict(findings: Sequence[Finding], num_usable: int, num_named: int) -> str:
    """One line: whether training is worth its time, and what counts most against it."""
    faults, warnings = (
        [finding for finding in findings if finding.severity == level] for level in ("fault", "warning")
    )
    used = f"{num_usable} of {num_named} photos can be used"
    if faults:
        return f"not ready: {used}; {faults[0].text}"
    if warnings:
        kinds = sorted({finding.kind.replace("_", " ") for finding in warnings})
        return f"usable, but look at {_counted(len(warnings))} first ({', '.join(kinds)}); {used}"
    return f"ready: {used}, nothing speaks against training"


def _counted(number: int) -> str:
    return "1 warning" if number == 1 else f"{number} warnings"
