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


def geographic(place: Float64[np.ndarray, "3"]) -> Float64[np.ndarray, "3"]:
    """Latitude and longitude (degrees) with altitude (metres) of metres from the Earth's centre.

    Limits: to a micrometre up to 10 km above and below the ellipsoid.
    """
    x, y, z = place
    across, minor = float(np.hypot(x, y)), EQUATOR_M * (1 - FLATTENING)
    slant = np.arctan2(z * EQUATOR_M, across * minor)
    second = _ECCENTRICITY_SQUARED / (1 - _ECCENTRICITY_SQUARED)
    latitude = np.arctan2(
        z + second * minor * np.sin(slant) ** 3, across - _ECCENTRICITY_SQUARED * EQUATOR_M * np.cos(slant) ** 3
    )
    # Not the guidance's quotient by the cosine, which is lost at the poles.
    surface = EQUATOR_M * np.sqrt(1 - _ECCENTRICITY_SQUARED * np.sin(latitude) ** 2)
    altitude = across * np.cos(latitude) + z * np.sin(latitude) - surface
    return np.array([np.degrees(latitude), np.degrees(np.arctan2(y, x)), altitude])


def topocentric_axes(origin: Float64[np.ndarray, "3"]) -> Float64[np.ndarray, "3 3"]:
    """Rows: east, north and up at `origin` (degrees, metres) as directions from the Earth's centre."""
    latitude, longitude = np.radians(origin[:2])
    return np.array(
        [
            [-np.sin(longitude), np.cos(longitude), 0.0],
            [-np.sin(latitude) * np.cos(longitude), -np.sin(latitude) * np.sin(longitude), np.cos(latitude)],
            [np.cos(latitude) * np.cos(longitude), np.cos(latitude) * np.sin(longitude), np.sin(latitude)],
        ]
    )


def east_north_up(fixes: Float64[np.ndarray, "P 3"], origin: Float64[np.ndarray, "3"]) -> Float64[np.ndarray, "P 3"]:
    """Metres east, north and up of `origin`; latitudes and longitudes in degrees, altitudes in metres.

    Limits: one flat frame: the Earth falls away under it by 8 cm at a kilometre.
    """
    return (geocentric(fixes) - geocentric(origin[None])) @ topocentric_axes(origin).T


def middle_fix(fixes: Float64[np.ndarray, "P 3"]) -> Float64[np.ndarray, "3"]:
    """The one of these that is nearest to their median; no angle is averaged, so that the date line is no border."""
    places = geocentric(fixes)
    return fixes[np.argmin(np.linalg.norm(places - np.median(places, axis=0), axis=1))]
