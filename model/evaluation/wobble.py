"""The wobble of a PSF: a lateral shift that depends on depth."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from liveloc.stream.errors import SettingsError
from liveloc.stream.files.input_file import read_file

from ..physics.psf_file import SUFFIX, load_psf

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from liveloc.stream.localizations import Localizations


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Wobble:
    """How far beside an emitter its PSF makes it appear, at each depth.

    Attributes
    ----------
    z_nm : NDArray[np.float64]
        Increasing.
    dx_nm, dy_nm : NDArray[np.float64]
        Apparent minus true position; constant beyond the ends of `z_nm`.
    """

    z_nm: NDArray[np.float64]
    dx_nm: NDArray[np.float64]
    dy_nm: NDArray[np.float64]

    def added_to(self, truth: Localizations) -> Localizations:
        """Return a copy of the truth with every emitter where it appears to be."""
        moved: Localizations = truth.copy()
        moved["x_nm"] += np.interp(truth["z_nm"], self.z_nm, self.dx_nm)
        moved["y_nm"] += np.interp(truth["z_nm"], self.z_nm, self.dy_nm)
        return moved


def read_wobble(path: Path) -> Wobble:
    """Read the wobble from a PSF file, or from a text table as the challenge's.

    The table's columns are lateral shifts along x and y, and z, all nm; a line of
    names may come first.

    Raises
    ------
    SettingsError
        Missing, without a wobble, or not a table of three columns.
    """
    if path.name.endswith(SUFFIX):
        _, metadata = load_psf(path)
        if "wobble" not in metadata:
            raise SettingsError(
                f"{path}: this PSF file has no wobble. Leave out --wobble, or use a "
                "text table of dx, dy, z in nm."
            )
        w = metadata["wobble"]
        rows = np.array([w["dx_nm"], w["dy_nm"], w["z_nm"]], float).T
    else:
        rows = _read_columns(path)
    rows = rows[np.argsort(rows[:, 2], kind="stable")]
    return Wobble(z_nm=rows[:, 2], dx_nm=rows[:, 0], dy_nm=rows[:, 1])


def _read_columns(path: Path) -> NDArray[np.float64]:
    """Read three columns of numbers."""
    content = read_file(path, "table of wobble", 64 << 20)
    try:
        text = io.StringIO(content.decode("utf-8-sig"), newline="")
        lines = [line for line in csv.reader(text) if line]
    except (UnicodeDecodeError, csv.Error) as error:
        raise SettingsError(f"{path}: cannot be read as a table: {error}") from None
    try:
        float(lines[0][0])
    except (ValueError, IndexError):
        lines = lines[1:]
    try:
        rows = np.array([[float(cell) for cell in line] for line in lines])
    except ValueError:
        rows = np.empty((0, 0))
    if rows.ndim != 2 or rows.shape[1:] != (3,) or not np.isfinite(rows).all():
        raise SettingsError(
            f"{path}: not a wobble table. It needs three columns separated by "
            "commas: dx, dy, z in nm, one row per depth."
        )
    return rows
