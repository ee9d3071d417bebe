"""The edge of a camera pixel in the sample: read from metadata, checked, and explained.

Every size that enters liveloc passes here: options, settings, camera files, OME,
ImageJ, Micro-Manager and plain TIFF. All have one range, and each comes with the place
it was taken from.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import AfterValidator

from .errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Mapping

LEAST_NM = 5.0  # no microscope magnifies a camera pixel below that,
MOST_NM = 2000.0  # nor does a single molecule show with pixels above that
SQUARE = 0.01  # relative difference of the edges of a pixel that is still square
SOURCE = "pixel_size_from"  # key in the metadata of streams and tables

_PREFIXES = {
    "Y": 24, "Z": 21, "E": 18, "P": 15, "T": 12, "G": 9, "M": 6, "k": 3, "h": 2,
    "da": 1, "": 0, "d": -1, "c": -2, "m": -3, "µ": -6, "u": -6, "n": -9, "p": -12,
    "f": -15, "a": -18, "z": -21, "y": -24,
}  # fmt: skip
_INCH_NM = 2.54e7
_NM = {f"{prefix}m": 10.0 ** (power + 9) for prefix, power in _PREFIXES.items()} | {
    "Å": 0.1,
    "thou": _INCH_NM / 1000,
    "li": _INCH_NM / 12,
    "in": _INCH_NM,
    "ft": 12 * _INCH_NM,
    "yd": 36 * _INCH_NM,
    "mi": 63360 * _INCH_NM,
    "ua": 149597870700e9,
    "ly": 9460730472580800e9,
    "pc": 3.0856775814913673e25,
    "pt": _INCH_NM / 72,
}
_WORDS = {
    "nanometer": 1.0, "nanometre": 1.0,
    "micron": 1e3, "micrometer": 1e3, "micrometre": 1e3,
    "millimeter": 1e6, "millimetre": 1e6, "centimeter": 1e7, "centimetre": 1e7,
    "meter": 1e9, "metre": 1e9,
    "inch": _INCH_NM, "inche": _INCH_NM,
    "angstrom": 0.1, "ångström": 0.1, "ångstrom": 0.1,
}  # fmt: skip
_NO_LENGTH = {"", "pixel", "pixels", "px", "reference frame", "none", "null"}
_TIFF_UNITS = {2: "in", 3: "cm"}


@dataclass(frozen=True, slots=True, kw_only=True)
class PixelSize:
    """What a file or a user says of its pixels.

    Attributes
    ----------
    nm : float or None
        Edge of a pixel in the sample, nm; None where nothing is said that can be used.
    source : str
        Where `nm` was taken from.
    remark : str
        What is said and cannot be used, and why; after the file's name.
    oblong : str
        Why the pixels are not square. No table can be made of these.
    """

    nm: float | None = None
    source: str = ""
    remark: str = ""
    oblong: str = ""


UNSAID = PixelSize()


def misfit(nm: float) -> str:
    """Return what is wrong with a pixel size in nm, or an empty string."""
    if LEAST_NM <= nm <= MOST_NM:
        return ""
    guess = ""
    for unit, factor in {"um": 1e3, "m": 1e9}.items():
        if LEAST_NM <= nm * factor <= MOST_NM:
            guess = f" Is this in {unit}? Give it in nm."
    if nm > MOST_NM:
        guess = " It is the size of a pixel on the chip divided by the magnification."
    return (
        f"no microscope has pixels of {nm:g} nm in the sample, it must be "
        f"{LEAST_NM:g} to {MOST_NM:g} nm.{guess}"
    )


def check_pixel_size(nm: float, where: str) -> float:
    """Return `nm`, or refuse a pixel size that no microscope has.

    Parameters
    ----------
    nm : float
        Edge of a pixel in the sample, nm.
    where : str
        The option, key or file it comes from.

    Raises
    ------
    SettingsError
        It is outside 5 to 2000 nm.
    """
    if wrong := misfit(nm):
        raise SettingsError(f"{where} is {nm:g}: {wrong}")
    return float(nm)


def _validated(nm: float) -> float:
    if wrong := misfit(nm):
        raise ValueError(wrong.rstrip("."))
    return nm


PixelSizeNm = Annotated[float, AfterValidator(_validated)]  # a key of a YAML file


def length_nm(value: float, unit: str) -> float | None:
    r"""Convert a length to nm; None for a unit that is not known.

    Parameters
    ----------
    unit : str
        Symbol of the OME schema, or a name as ImageJ has them; ``\u00B5m`` and the
        two Unicode letters for micro are the same.
    """
    factor = _NM.get(_plain(unit))
    if factor is None:
        factor = _WORDS.get(_plain(unit).casefold().removesuffix("s"))
    return None if factor is None else value * factor


def _plain(unit: str) -> str:
    """Spell a unit in one way."""
    unit = re.sub(r"\\u([0-9a-fA-F]{4})", lambda code: chr(int(code[1], 16)), unit)
    unit = unit.strip().replace("Â", "")  # UTF-8 that was read as Latin-1
    return unicodedata.normalize("NFC", unit).replace("μ", "µ").replace("\u212b", "Å")


def positive(value: Any) -> float | None:
    """Return a finite number above 0, or None."""
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return number if 0 < number < float("inf") else None


def stated(
    x: float | None, unit: str, y: float | None, y_unit: str, source: str
) -> PixelSize:
    """Take what a file says of the edges of its pixels.

    Parameters
    ----------
    x, y : float or None
        Edges along x and y; a `y` of None is that of x.
    unit, y_unit : str
        As the file spells them.
    source : str
        Part of the file that says it.
    """
    if x is None:
        return UNSAID
    if _plain(unit).casefold() in _NO_LENGTH:  # the ratio of the edges counts even so
        if y is None or unit != y_unit or abs(y / x - 1) <= SQUARE:
            return UNSAID
        return PixelSize(
            oblong=f"states pixels {y / x:.3g} times as high as wide "
            f"({source}); square pixels are required"
        )
    nm = length_nm(x, unit)
    if nm is None:
        return PixelSize(
            remark=f"states a pixel size of {x:g} {unit!r} ({source}), and that unit "
            "is not known"
        )
    if misfit(nm):
        return PixelSize(
            remark=f"states a pixel size of {x:g} {unit} ({source}), {nm:g} nm, "
            "which no microscope has; it is ignored"
        )
    y_nm = nm if y is None else length_nm(y, y_unit) or nm
    if abs(y_nm / nm - 1) > SQUARE:
        return PixelSize(
            oblong=f"states pixels {nm:g} nm wide and {y_nm:g} nm high "
            f"({source}); square pixels are required"
        )
    return PixelSize(nm=nm, source=source)


def from_ome(pixels: Mapping[str, str]) -> PixelSize:
    """Read the attributes of an OME ``Pixels`` element; 0 is not set."""
    return stated(
        positive(pixels.get("PhysicalSizeX")),
        pixels.get("PhysicalSizeXUnit", "µm"),
        positive(pixels.get("PhysicalSizeY")),
        pixels.get("PhysicalSizeYUnit", "µm"),
        "OME PhysicalSizeX",
    )


def from_imagej(
    unit: str, per_unit: tuple[float | None, float | None], y_unit: str = ""
) -> PixelSize:
    """Read ImageJ's units with the resolution of its TIFF, pixels per unit."""
    x, y = (1 / each if each else None for each in per_unit)
    return stated(x, unit, y, y_unit or unit, f"ImageJ's scale, unit {_plain(unit)}")


def from_micromanager(about: Mapping[str, Any]) -> PixelSize:
    """Read the metadata of a Micro-Manager frame or summary; 0 is not set."""
    for key in ("PixelSizeUm", "PixelSize_um"):
        if key in about:
            um = positive(about[key])
            return stated(um, "um", None, "um", f"Micro-Manager's {key}")
    return UNSAID


def from_tiff(unit: int, per_unit: tuple[float | None, float | None]) -> PixelSize:
    """Read a plain TIFF's resolution; one that is meant for printers says nothing."""
    x, y = (1 / each if each else None for each in per_unit)
    found = stated(x, _TIFF_UNITS.get(unit, ""), y, _TIFF_UNITS.get(unit, ""), "TIFF")
    if found.nm is not None:
        return PixelSize(nm=found.nm, source="the TIFF's resolution")
    return UNSAID if unit in _TIFF_UNITS and not found.oblong else found


def from_user(nm: float, where: str) -> PixelSize:
    """Take a pixel size that a user gave; refuse one that no microscope has."""
    return PixelSize(nm=check_pixel_size(nm, where), source=where)
