"""The coordinates of our tables, and of the tables of other programs.

Ours: nm on the full chip, the centre of the chip's first pixel at (0, 0),
x = column, y = row, z positive away from the objective, frames from 0. How the
others differ is one table, `DIALECTS`; nothing else in the package converts.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from ..camera_maps import to_plain
from ..errors import SettingsError
from ..localizations import LOCALIZATION, Localizations, empty
from ..pixel_size import SOURCE, misfit

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from ..frames import StreamStart

# What every file of ours says of its coordinates, whatever was measured.
CONVENTIONS = {
    "axis_order": "x = column, y = row",
    "frame_base": "0",
    "photons": "detected photons, background per pixel",
    "pixel_origin": "centre of the full chip's first pixel at (0, 0)",
    "units": "nm",
    "z_direction": "positive away from the objective",
}
# What every file of ours says of the camera, see `stream_metadata`.
REQUIRED_METADATA = ("pixel_size_nm", "roi_origin", "shape")

FARTHEST_NM = 1e12  # a kilometre: what is beyond is no position
LAST_FRAME = 2**53  # whole numbers are exact below

_NM = ("x_nm", "y_nm", "x_sigma_nm", "y_sigma_nm")
_UNKNOWN = ("photons", "background", "photons_sigma", "z_sigma_nm", *_NM[2:])


def px_to_nm(
    position_px: NDArray[Any], pixel_size_nm: float, centre_px: float = 0.0
) -> NDArray[np.float64]:
    """Convert pixels to nm; `centre_px` is what the first pixel's centre is called."""
    return (np.asarray(position_px, np.float64) - centre_px) * pixel_size_nm


def nm_to_px(
    position_nm: NDArray[Any], pixel_size_nm: float, centre_px: float = 0.0
) -> NDArray[np.float64]:
    """Undo `px_to_nm`."""
    return np.asarray(position_nm, np.float64) / pixel_size_nm + centre_px


def stream_metadata(start: StreamStart) -> dict[str, str]:
    """Return what the tables of a stream must state: text only, nothing that varies.

    ``roi_origin`` is JSON ``[x, y]``, ``shape`` JSON ``[height, width]``, both
    camera pixels; ``calibration`` has the medians and checksums of maps. The same
    recording has the same text, always.
    """
    metadata = {
        "calibration": json.dumps(to_plain(start.calibration), sort_keys=True),
        "exposure_ms": repr(float(start.exposure_ms)),
        "interval_ms": repr(float(start.interval_ms)),
        "pixel_size_nm": repr(float(start.pixel_size_nm)),
        "roi_origin": json.dumps([int(v) for v in start.roi_origin]),
        "shape": json.dumps([int(v) for v in start.shape]),
        "stream_id": start.stream_id.hex(),
    }
    if SOURCE in start.metadata:
        metadata[SOURCE] = start.metadata[SOURCE]
    return metadata


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialect:
    """How another program writes a table of localizations.

    Attributes
    ----------
    columns : Mapping[str, tuple[str, ...]]
        Our field -> the names it may have there, the first is written.
    known_by : tuple[str, ...]
        Columns that together distinguish this dialect from all others.
    written : tuple[str, ...]
        Columns of a file we write, in order.
    frame_base : int
        Number of the first frame.
    centre_px : float
        Coordinate of the centre of the first pixel, in pixels.
    unit : {"nm", "px"}
        Of x, y and their uncertainties. z is nm everywhere.
    """

    columns: Mapping[str, tuple[str, ...]]
    known_by: tuple[str, ...]
    written: tuple[str, ...]
    frame_base: int
    centre_px: float
    unit: Literal["nm", "px"] = "nm"


_OURS = tuple(LOCALIZATION.names or ())

DIALECTS: dict[str, Dialect] = {
    "liveloc": Dialect(
        columns={name: (name,) for name in _OURS},
        known_by=("frame", "x_nm", "y_nm"),
        written=_OURS,
        frame_base=0,
        centre_px=0.0,
    ),
    "thunderstorm": Dialect(
        columns={
            "frame": ("frame",),
            "x_nm": ("x [nm]",),
            "y_nm": ("y [nm]",),
            "z_nm": ("z [nm]",),
            "photons": ("intensity [photon]",),
            "background": ("offset [photon]",),
            "x_sigma_nm": ("uncertainty_xy [nm]", "uncertainty [nm]"),
            "y_sigma_nm": ("uncertainty_xy [nm]", "uncertainty [nm]"),
            "z_sigma_nm": ("uncertainty_z [nm]",),
        },
        known_by=("frame", "x [nm]", "y [nm]"),
        written=(
            "id",
            "frame",
            "x [nm]",
            "y [nm]",
            "z [nm]",
            "sigma1 [nm]",
            "sigma2 [nm]",
            "intensity [photon]",
            "offset [photon]",
            "bkgstd [photon]",
            "uncertainty_xy [nm]",
            "uncertainty_z [nm]",
        ),
        frame_base=1,
        centre_px=0.5,
    ),
    "challenge": Dialect(
        columns={
            "frame": ("frame",),
            "x_nm": ("xnano",),
            "y_nm": ("ynano",),
            "z_nm": ("znano",),
            "photons": ("intensity",),
        },
        known_by=("frame", "xnano", "ynano"),
        written=("Ground-truth", "frame", "xnano", "ynano", "znano", "intensity"),
        frame_base=1,
        centre_px=0.5,
    ),
    "nairr": Dialect(
        columns={
            "frame": ("Frame",),
            "x_nm": ("x (nm)",),
            "y_nm": ("y (nm)",),
            "z_nm": ("z (nm)",),
            "photons": ("Intensity (photons)",),
        },
        known_by=("Frame", "x (nm)", "y (nm)", "Intensity (photons)"),
        written=("No", "Frame", "x (nm)", "y (nm)", "z (nm)", "Intensity (photons)"),
        frame_base=1,
        centre_px=0.5,
    ),
    "picasso": Dialect(
        columns={
            "frame": ("frame",),
            "x_nm": ("x",),
            "y_nm": ("y",),
            "z_nm": ("z",),
            "photons": ("photons",),
            "background": ("bg",),
            "x_sigma_nm": ("lpx",),
            "y_sigma_nm": ("lpy",),
            "z_sigma_nm": ("lpz",),
        },
        known_by=("frame", "x", "y", "lpx", "lpy"),
        written=("frame", "x", "y", "z", "photons", "bg", "lpx", "lpy", "lpz"),
        frame_base=0,
        centre_px=0.0,
        unit="px",
    ),
}
# Dialects that are read, those that are not written too.
READABLE = DIALECTS | {
    "rapidstorm": Dialect(
        columns={
            "frame": ("ImageNumber-0-0",),
            "x_nm": ("Position-0-0",),
            "y_nm": ("Position-1-0",),
            "z_nm": ("Position-2-0",),
        },
        known_by=("ImageNumber-0-0", "Position-0-0", "Position-1-0"),
        written=(),
        frame_base=0,
        centre_px=0.0,
    ),
}

_CONVERT = (
    "Export it as ThunderSTORM does, or name its columns frame, x_nm and y_nm: nm "
    "from the centre of the first pixel, frames from 0."
)
# Tables that are recognised and not read, because where their first pixel lies is
# not documented: program -> its columns, and what to do.
FOREIGN: dict[str, tuple[tuple[str, ...], str]] = {
    "Zeiss Elyra": (("First Frame", "Position X [nm]", "Position Y [nm]"), _CONVERT),
    "Nanoimager": (("Frame", "X (nm)", "Y (nm)"), _CONVERT),
    "SMAP": (("frame", "xnm", "ynm"), _CONVERT),
    "DECODE": (("frame_ix", "x", "y"), _CONVERT),
}

_NM_PER = {"nm": 1.0, "um": 1e3, "\u00b5m": 1e3, "\u03bcm": 1e3, "px": None}
_PIXELS = ("px", "pix", "pixel", "pixels")
_UNIT = re.compile(r"(.*)([\[(])([^\])]+)([\])])\Z")


@dataclass(frozen=True, slots=True)
class Column:
    """Where a column that a dialect knows is found in a file.

    Attributes
    ----------
    name : str
        In the file.
    nm : float or None
        nm that 1 stands for, where the dialect's own name says nm; None: pixels.
    """

    name: str
    nm: float | None = 1.0


def found_column(name: str, header: Sequence[str]) -> Column | None:
    """Find a column of a dialect in a header, also where it has another unit.

    ``x [nm]`` may be ``x [um]``, ``x [px]`` or the like.
    """
    if name in header:
        return Column(name)
    wanted = _UNIT.match(name)
    if wanted is None or wanted[3] != "nm":
        return None
    for other in header:
        found = _UNIT.match(other)
        if found is None or found[1] != wanted[1] or found[2] != wanted[2]:
            continue
        unit = "px" if found[3].lower() in _PIXELS else found[3]
        if unit in _NM_PER:
            return Column(other, _NM_PER[unit])
    return None


def dialect_of(header: Sequence[str]) -> str | None:
    """Return the key of `READABLE` that a header is of; None where it is of none."""
    for name, spec in READABLE.items():
        if all(found_column(column, header) for column in spec.known_by):
            return name
    return None


def _lateral_sigma(rows: Localizations) -> NDArray[np.float64]:
    x = rows["x_sigma_nm"].astype(np.float64)
    y = rows["y_sigma_nm"].astype(np.float64)
    return np.asarray(np.sqrt((x * x + y * y) / 2))


_NUMBERS = ("id", "No", "Ground-truth")  # of rows, from 1

# Columns that other programs need and that follow from ours. The width of the
# spot is not in our table: 0 says so, NaN would make Picasso drop the row.
_DERIVED: dict[str, Callable[[Localizations], NDArray[Any]]] = {
    "id": lambda rows: np.arange(1, len(rows) + 1),
    "No": lambda rows: np.arange(1, len(rows) + 1),
    "Ground-truth": lambda rows: np.arange(1, len(rows) + 1),
    "sigma1 [nm]": lambda rows: np.zeros(len(rows)),
    "sigma2 [nm]": lambda rows: np.zeros(len(rows)),
    "bkgstd [photon]": lambda rows: np.sqrt(np.maximum(rows["background"], 0)),
    "uncertainty_xy [nm]": _lateral_sigma,
}


def to_localizations(
    columns: Mapping[str, NDArray[Any]],
    dialect: str,
    *,
    pixel_size_nm: float | None = None,
    origin_px: tuple[int, int] = (0, 0),
    frame_base: int | None = None,
) -> Localizations:
    """Convert the columns of another program's table to ours.

    Parameters
    ----------
    columns : Mapping[str, NDArray]
        As read, by the names in the file.
    dialect : str
        A key of `READABLE`.
    pixel_size_nm : float, optional
        Needed where the dialect counts pixels or calls the centre of the first
        pixel something else than 0, and where `origin_px` is not (0, 0).
    origin_px : tuple[int, int]
        (x, y) on the full chip of the pixel that the table calls first.
    frame_base : int, optional
        Number of the first frame, where it is not the dialect's.

    Returns
    -------
    Localizations
        Rows without a finite x and y are left out. What
        is not known of the others is NaN: also a whole column that the table lacks,
        but z and flags are 0 there, and probability 1.

    Raises
    ------
    SettingsError
        The pixel size is needed and missing, or a frame number makes no sense.
    """
    spec = READABLE[dialect]
    if pixel_size_nm is None and (
        spec.centre_px or spec.unit == "px" or any(origin_px)
    ):
        raise SettingsError(
            f"a {dialect} table calls the centre of the first pixel "
            f"{spec.centre_px} px and counts in {spec.unit}: its positions cannot be "
            "converted without the pixel size. Specify the pixel size."
        )
    size = pixel_size_nm or 0.0
    values = {
        field: _to_ours(
            field, np.asarray(columns[name], np.float64), spec, size, origin_px
        )
        for field, names in spec.columns.items()
        if (name := next((name for name in names if name in columns), None))
    }
    if not values:
        return empty()
    whole = placed(values)
    base = spec.frame_base if frame_base is None else frame_base
    values["frame"] = _frames(values["frame"], whole, base)
    rows = empty(int(whole.sum()))
    rows["probability"] = 1
    for name in _UNKNOWN:
        rows[name] = np.nan
    with np.errstate(over="ignore", invalid="ignore"):
        for field, column in values.items():
            rows[field] = column[whole]
    return rows


def _to_ours(
    field: str,
    values: NDArray[np.float64],
    spec: Dialect,
    size: float,
    origin_px: tuple[int, int],
) -> NDArray[np.float64]:
    if field in _NM and spec.unit == "px":
        values = values * size
    if field in ("x_nm", "y_nm"):
        origin = origin_px[0] if field == "x_nm" else origin_px[1]
        return values + (origin - spec.centre_px) * size
    return values


def placed(rows: Mapping[str, NDArray[Any]] | Localizations) -> NDArray[np.bool_]:
    """Return which rows have a position."""
    x, y = np.abs(rows["x_nm"]), np.abs(rows["y_nm"])
    good: NDArray[np.bool_] = (x < FARTHEST_NM) & (y < FARTHEST_NM)  # False for NaN
    return good


def left_out(rows: int) -> str:
    """Describe how many rows of a table were left out."""
    return f"{rows} {'row' if rows == 1 else 'rows'} without a position left out"


def _frames(
    values: NDArray[np.float64], whole: NDArray[np.bool_], base: int
) -> NDArray[np.float64]:
    """Count frames from 0; raises SettingsError for what is no frame number."""
    frames = values - base
    good = (frames >= 0) & (frames == np.floor(frames)) & (frames < LAST_FRAME)
    wrong = np.flatnonzero(whole & ~good)
    if len(wrong):
        first = wrong[0]
        zero = values[first] == 0 and base == 1
        raise SettingsError(
            f"row {first + 1}: frame number {values[first]:g} is not a whole "
            f"number from {base} on, where this kind of table starts. "
            + (
                'Does it count from 0? Then write {"frame_base": "0"} into a file of '
                "its name with -metadata.json added."
                if zero
                else "Is the column of frames the right one?"
            )
        )
    return frames


def from_localizations(
    rows: Localizations, dialect: str, *, pixel_size_nm: float, first_row: int = 0
) -> dict[str, NDArray[Any]]:
    """Convert our table to the columns of another program, in its order.

    `first_row` is the number of the first row in the whole table, from 0. Positions
    stay on the full chip. Rounded to 1e-4 of the unit: text with no more digits than
    a position has.
    """
    spec = DIALECTS[dialect]
    ours = {names[0]: field for field, names in spec.columns.items()}
    written: dict[str, NDArray[Any]] = {}
    for name in spec.written:
        if name in _DERIVED:
            values = _DERIVED[name](rows)
            if name in _NUMBERS:
                values = values + first_row
        else:
            values = _from_ours(ours[name], rows[ours[name]], spec, pixel_size_nm)
        written[name] = values if values.dtype.kind in "iu" else np.round(values, 4)
    return written


def _from_ours(
    field: str, values: NDArray[Any], spec: Dialect, size: float
) -> NDArray[Any]:
    if values.dtype.kind in "iu":
        return values + spec.frame_base if field == "frame" else values
    values = values.astype(np.float64)
    if field in _NM and spec.unit == "px":
        values = values / size
    if field in ("x_nm", "y_nm"):
        return values + spec.centre_px * (1.0 if spec.unit == "px" else size)
    return values


def check_metadata(metadata: Mapping[str, str]) -> None:
    """Refuse table metadata that do not say where the positions are.

    Raises
    ------
    SettingsError
        Naming the entries of `REQUIRED_METADATA` that are missing.
    """
    missing = [name for name in REQUIRED_METADATA if name not in metadata]
    if missing:
        raise SettingsError(
            f"table metadata lack {', '.join(missing)}: without them it is unknown "
            "where the positions are. Take them from stream_metadata(start)."
        )


def stated_metadata(found: Mapping[str, str], path: Path) -> dict[str, str]:
    """Check what a file says of a table's coordinates.

    Raises
    ------
    SettingsError
        A pixel size that is no positive number, a shape or an ROI's origin that are
        no two whole numbers, or a base of frame numbers that is none.
    """
    checks: dict[str, tuple[Callable[[str], bool], str]] = {
        "pixel_size_nm": (_is_size, "that of a microscope, 5 to 2000 nm"),
        "roi_origin": (lambda text: _is_pair(text, -(2**31)), "[column, row]"),
        "shape": (lambda text: _is_pair(text, 1), "[height, width]"),
        "frame_base": (lambda text: text in ("0", "1"), "0 or 1"),
    }
    for name, (good, needed) in checks.items():
        if name in found and not good(found[name]):
            raise SettingsError(
                f"{path}: {name} is {found[name][:80]!r}, must be {needed}."
            )
    return dict(found)


def _is_size(text: str) -> bool:
    try:
        return not misfit(float(text))
    except ValueError:
        return False


def _is_pair(text: str, least: int) -> bool:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return False
    return (
        isinstance(found, list)
        and len(found) == 2
        and all(type(v) is int and least <= v < 2**31 for v in found)
    )
