"""Any photo that a camera writes -> upright pixels in display sRGB, and what EXIF says about its camera.

JPEG, PNG, WebP, TIFF, BMP, PPM by Pillow; HEIC by pi-heif, RAW by rawpy and EXR by OpenEXR where they are installed.
"""

import io
import math
import re
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from jaxtyping import Float32, UInt8, UInt16
from PIL import ExifTags, Image, ImageCms

from neural3d.capture.images import MAX_PIXELS, read_pixels, safe_open_image
from neural3d.capture.light_files import SUFFIX as LIGHT_SUFFIX
from neural3d.capture.light_files import read_light
from neural3d.capture.listing import BadFrame
from neural3d.capture.paths import IMAGE_SUFFIXES
from neural3d.errors import said

HEIC_SUFFIXES = (".heic", ".heif", ".hif", ".avif")
RAW_SUFFIXES = (".dng", ".cr2", ".cr3", ".nef", ".arw", ".raf", ".orf", ".rw2", ".pef", ".srw")
PHOTO_SUFFIXES = IMAGE_SUFFIXES + HEIC_SUFFIXES + RAW_SUFFIXES
DIAGONAL_35MM = math.hypot(36.0, 24.0)

_SRGB = re.compile(r"srgb|iec ?61966", re.IGNORECASE)
_TIFF_HEADS = (b"II*\0", b"MM\0*")
_PANORAMA = re.compile(rb"GPano:ProjectionType\s*(?:=\s*[\"']|>)\s*equirectangular")
"""Source: Google, Photo Sphere XMP Metadata."""


@dataclass(frozen=True)
class CameraFacts:
    """What a photo's file says about the camera; None where it does not say."""

    make: str | None = None
    model: str | None = None
    focal_mm: float | None = None
    focal_35mm: float | None = None
    """Focal length of the same diagonal angle of view on 36 x 24 mm."""
    gps: tuple[float, float, float] | None = None
    """Latitude and longitude in degrees (WGS84), altitude in metres."""
    is_panorama: bool = False
    """It says of itself that it is equirectangular."""

    def focal_px(self, width: int, height: int) -> float | None:
        """Focal length in pixels of a photo that was not cropped, None where it is not known."""
        if self.focal_35mm is None or not 4 <= self.focal_35mm <= 2000:
            return None
        return self.focal_35mm / DIAGONAL_35MM * math.hypot(width, height)


@dataclass(frozen=True)
class SourcePhoto:
    """A photo as it left the camera, turned upright."""

    pixels: UInt8[np.ndarray, "H W C"]
    """RGB, or RGBA with straight alpha; display sRGB."""
    facts: CameraFacts
    stored_upright: bool
    """The file's own pixels are these: nothing was turned or converted."""

    @property
    def has_alpha(self) -> bool:
        """Some of it may be transparent."""
        return self.pixels.shape[2] == 4


def read_photo(path: Path) -> SourcePhoto:
    """Decode a photo of any known kind.

    Raises: BadFrame when it cannot be decoded to its end, or the library that can is not installed.
    """
    suffix = path.suffix.lower()
    if suffix in HEIC_SUFFIXES:
        return _read_heic(path)
    if suffix in RAW_SUFFIXES:
        return _read_raw(path)
    if suffix == LIGHT_SUFFIX:
        return SourcePhoto(read_pixels(path, turned=True), CameraFacts(), False)
    with safe_open_image(path) as image:
        exif, profile, is_jpeg = Image.Image.getexif(image), image.info.get("icc_profile"), image.format == "JPEG"
        orientation = exif.get(ExifTags.Base.Orientation, 1)
        xmp = image.info.get("xmp", b"")
        facts = replace(camera_facts(exif), is_panorama=bool(_PANORAMA.search(xmp if isinstance(xmp, bytes) else b"")))
    pixels = read_pixels(path, turned=True)
    converted = _to_srgb(pixels, profile)
    unchanged = converted is pixels and orientation in (0, 1)
    return SourcePhoto(converted, facts, unchanged and (is_jpeg or suffix in IMAGE_SUFFIXES))


def _read_heic(path: Path) -> SourcePhoto:
    try:
        import pi_heif
    except ImportError as error:
        raise BadFrame("HEIC needs pi-heif: pip install pi-heif") from error
    try:
        heif = pi_heif.open_heif(path)
        if heif.size[0] * heif.size[1] > MAX_PIXELS:
            raise BadFrame(f"{path.name} claims {heif.size[0]} x {heif.size[1]} pixels, at most {MAX_PIXELS} are read")
        # The decoder turns by HEIF's own fields; the EXIF orientation repeats them and must not be applied again.
        pixels = np.array(heif.to_pillow().convert("RGBA" if heif.has_alpha else "RGB"))
        exif = Image.Exif()
        if raw := heif.info.get("exif"):
            exif.load(raw)
        return SourcePhoto(_to_srgb(pixels, heif.info.get("icc_profile")), camera_facts(exif), False)
    except (BadFrame, MemoryError):
        raise
    except Exception as error:
        # Decoders meet damaged bytes with errors of nearly every kind.
        raise BadFrame(f"{path.name} cannot be decoded ({said(error)})") from error


def _read_raw(path: Path) -> SourcePhoto:
    pixels = _developed(path, gamma=(2.4, 12.92), output_bps=8)
    return SourcePhoto(pixels, camera_facts(_exif_of_tiff(path)), False)


def read_photo_light(path: Path) -> Float32[np.ndarray, "H W C"] | None:
    """The linear light (Rec.709; 1 is a display's white) of a RAW or EXR photo, upright; None of photos of other kinds.

    Raises: BadFrame as `read_photo`.
    Limits: RAW light ends where the sensor is full.
    """
    suffix = path.suffix.lower()
    if suffix in RAW_SUFFIXES:
        return _developed(path, gamma=(1.0, 1.0), output_bps=16).astype(np.float32) / 65535
    return read_light(path, MAX_PIXELS) if suffix == LIGHT_SUFFIX else None


def _developed(
    path: Path, *, gamma: tuple[float, float], output_bps: int
) -> UInt8[np.ndarray, "H W 3"] | UInt16[np.ndarray, "H W 3"]:
    try:
        import rawpy
    except ImportError as error:
        raise BadFrame("RAW needs rawpy: pip install rawpy") from error
    try:
        with rawpy.imread(str(path)) as raw:
            if raw.sizes.width * raw.sizes.height > MAX_PIXELS:
                raise BadFrame(f"{path.name} claims {raw.sizes.width} x {raw.sizes.height} pixels")
            # Without adjust_maximum_thr=0 the brightness of each photo would follow its own brightest pixel.
            pixels = raw.postprocess(
                gamma=gamma, no_auto_bright=True, use_camera_wb=True, output_bps=output_bps, adjust_maximum_thr=0.0
            )
    except (BadFrame, MemoryError):
        raise
    except Exception as error:
        raise BadFrame(f"{path.name} cannot be decoded ({said(error)})") from error
    return np.ascontiguousarray(pixels)


def _exif_of_tiff(path: Path) -> Image.Exif:
    """EXIF of a RAW file, most of which are TIFF inside; empty of the others."""
    exif = Image.Exif()
    with path.open("rb") as file:
        head = file.read(1 << 20)
    if head[:4] in _TIFF_HEADS:
        exif.load(b"Exif\0\0" + head)
    return exif


def _to_srgb(pixels: UInt8[np.ndarray, "H W C"], profile: bytes | None) -> UInt8[np.ndarray, "H W C"]:
    """Colours of another space (phones: Display P3) in sRGB; the same array where nothing is to be done."""
    if not profile:
        return pixels
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        if source.profile.xcolor_space.strip() != "RGB" or _SRGB.search(source.profile.profile_description or ""):
            return pixels
        image = Image.fromarray(np.ascontiguousarray(pixels[..., :3]))
        converted = ImageCms.profileToProfile(image, source, ImageCms.createProfile("sRGB"), outputMode="RGB")
    except (OSError, UnicodeError, ImageCms.PyCMSError) as error:
        raise BadFrame(f"its colour profile cannot be read ({said(error)}); save it as sRGB") from error
    return np.concatenate([np.asarray(converted), pixels[..., 3:]], axis=-1)


def camera_facts(exif: Image.Exif) -> CameraFacts:
    """What EXIF says about the camera; values that make no sense count as missing."""
    details = exif.get_ifd(ExifTags.IFD.Exif)
    return CameraFacts(
        make=_text(exif.get(ExifTags.Base.Make)),
        model=_text(exif.get(ExifTags.Base.Model)),
        focal_mm=_positive(details.get(ExifTags.Base.FocalLength)),
        focal_35mm=_positive(details.get(ExifTags.Base.FocalLengthIn35mmFilm)),
        gps=_position(exif.get_ifd(ExifTags.IFD.GPSInfo)),
    )


def _text(value: object) -> str | None:
    return value.strip("\0 ") or None if isinstance(value, str) else None


def _positive(value: object) -> float | None:
    try:
        number = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, ZeroDivisionError):
        return None
    return number if math.isfinite(number) and number > 0 else None


def _position(gps: dict) -> tuple[float, float, float] | None:
    """Latitude, longitude, altitude; None unless both angles are there and on the Earth."""
    try:
        angles = [
            sum(float(part) / 60**power for power, part in enumerate(gps[tag])) * (-1 if gps[tag - 1] in "SW" else 1)
            for tag in (ExifTags.GPS.GPSLatitude, ExifTags.GPS.GPSLongitude)
        ]
        altitude = float(gps.get(ExifTags.GPS.GPSAltitude, 0.0))
        below_sea = gps.get(ExifTags.GPS.GPSAltitudeRef, b"\0") in (b"\1", 1)
    except (KeyError, TypeError, ValueError, ZeroDivisionError):
        return None
    latitude, longitude = angles
    fine = abs(latitude) <= 90 and abs(longitude) <= 180 and math.isfinite(altitude) and (latitude, longitude) != (0, 0)
    return (latitude, longitude, -altitude if below_sea else altitude) if fine else None
