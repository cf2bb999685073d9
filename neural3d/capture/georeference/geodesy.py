"""Positions on the Earth as metres east, north and up of one of them.

Source: EPSG Guidance Note 7-2, 4.1.1 (geographic to geocentric) and 4.1.2 (geocentric to topocentric); WGS 84.
"""

import numpy as np
from jaxtyping import Float64

EQUATOR_M, FLATTENING = 6_378_137.0, 1 / 298.257223563
_ECCENTRICITY_SQUARED = FLATTENING * (2 - FLATTENING)


def geocentric(fixes: Float64[np.ndarray, "P 3"]) -> Float64[np.ndarray, "P 3"]:
    """Metres from the Earth's centre, of latitudes and longitudes (degrees) with altitudes (metres)."""
    latitude, longitude = np.radians(fixes[:, 0]), np.radians(fixes[:, 1])
    across = EQUATOR_M / np.sqrt(1 - _ECCENTRICITY_SQUARED * np.sin(latitude) ** 2)
    out = (across + fixes[:, 2]) * np.cos(latitude)
    up = ((1 - _ECCENTRICITY_SQUARED) * across + fixes[:, 2]) * np.sin(latitude)
    return np.stack([out * np.cos(longitude), out * np.sin(longitude), up], axis=1)


def east_north_up(fixes: Float64[np.ndarray, "P 3"], origin: Float64[np.ndarray, "3"]) -> Float64[np.ndarray, "P 3"]:
    """Metres east, north and up of `origin`; latitudes and longitudes in degrees, altitudes in metres.

    Limits: one flat frame: the Earth falls away under it by 8 cm at a kilometre.
    """
    latitude, longitude = np.radians(origin[:2])
    axes = np.array(
        [
            [-np.sin(longitude), np.cos(longitude), 0.0],
            [-np.sin(latitude) * np.cos(longitude), -np.sin(latitude) * np.sin(longitude), np.cos(latitude)],
            [np.cos(latitude) * np.cos(longitude), np.cos(latitude) * np.sin(longitude), np.sin(latitude)],
        ]
    )
    return (geocentric(fixes) - geocentric(origin[None])) @ axes.T


def middle_fix(fixes: Float64[np.ndarray, "P 3"]) -> Float64[np.ndarray, "3"]:
    """The one of these that is nearest to their median; no angle is averaged, so that the date line is no border."""
    places = geocentric(fixes)
    return fixes[np.argmin(np.linalg.norm(places - np.median(places, axis=0), axis=1))]
