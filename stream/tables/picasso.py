"""Picasso's tables of localizations: HDF5, and a YAML file beside it."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import numpy as np
import yaml

from ..errors import SettingsError
from ..files.input_file import DAMAGED, one_line
from ..pixel_size import check_pixel_size
from .coordinates import DIALECTS, to_localizations

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from ..localizations import Localizations

PIECE_ROWS = 65_536
DENSEST = 1100  # times smaller than its contents is the smallest file: deflate's limit
HDF5 = b"\x89HDF\r\n\x1a\n"


class PicassoPieces:
    """Picasso's HDF5: data set ``locs``, and a YAML file of the same name beside it.

    x, y and their uncertainties are camera pixels, the centre of the first pixel at
    (0, 0); z is nm; frames count from 0.

    Parameters
    ----------
    path : Path
        Of the ``.hdf5``.
    pixel_size_nm : float, optional
        Goes before what the YAML says.

    Raises
    ------
    SettingsError
        No ``locs`` with Picasso's columns, or no pixel size.

    Attributes
    ----------
    in_pixels : bool
        Always.
    metadata : dict[str, str]
        Pixel size, and where the YAML says it, shape.
    complete : bool
        Everything was read.
    left_out : int
        Rows without a position, so far.
    """

    in_pixels = True

    def __init__(self, path: Path, pixel_size_nm: float | None = None) -> None:
        self._path = path
        self.complete = False
        self.left_out = 0
        beside = path.with_suffix(".yaml")
        about = _picasso_yaml(beside)
        size = pixel_size_nm or _positive(about.get("Pixelsize"))
        if size is None:
            raise SettingsError(
                f"{path}: positions are in pixels and {beside.name} does not say "
                "their size (Pixelsize, nm). Specify the pixel size."
            )
        self._size = check_pixel_size(size, f"{beside}: Pixelsize")
        self.metadata = {"dialect": "picasso", "pixel_size_nm": repr(self._size)}
        height, width = (_positive(about.get(name)) for name in ("Height", "Width"))
        if height and width:
            shape = f"[{int(height)}, {int(width)}]"
            self.metadata |= {"shape": shape, "roi_origin": "[0, 0]"}
        for _ in itertools.islice(self._slices(1), 1):
            pass  # complains about columns that are missing

    def read(self) -> Iterator[Localizations]:
        """Yield all rows that have a position, at the first call."""
        if self.complete:
            return
        for columns in self._slices(PIECE_ROWS):
            try:
                rows = to_localizations(columns, "picasso", pixel_size_nm=self._size)
            except SettingsError as error:
                raise SettingsError(f"{self._path}: {error}") from error
            yield rows
            self.left_out += len(columns["frame"]) - len(rows)
        self.complete = True

    def _slices(self, count: int) -> Iterator[dict[str, Any]]:
        """Yield the columns of `count` rows at a time, as numbers."""
        import h5py

        try:
            with h5py.File(self._path, "r") as file:
                table = file.get("locs")
                names = self._checked_names(table)
                for first in range(0, len(table), count):
                    rows = table[first : first + count]
                    columns = {n: np.asarray(rows[n], np.float64) for n in names}
                    yield columns
        except SettingsError:
            raise
        except DAMAGED as error:
            raise SettingsError(
                f"{self._path}: is damaged or cut off: {one_line(error)}. Export it "
                "again."
            ) from error

    def _checked_names(self, table: Any) -> list[str]:
        """Return the columns of Picasso's table that are read; refuse other tables."""
        kinds = getattr(table, "dtype", None)
        names = getattr(kinds, "names", None) or ()
        lacking = set(DIALECTS["picasso"].known_by) - set(names)
        if kinds is None or lacking:
            raise SettingsError(
                f"{self._path}: has no table 'locs' with the columns "
                f"{', '.join(sorted(lacking))}. Is it a localization file of "
                "Picasso?"
            )
        known = {n for names in DIALECTS["picasso"].columns.values() for n in names}
        read = [name for name in names if name in known]
        numbers = all(kinds[name].kind in "iuf" for name in read)
        if table.ndim != 1 or not numbers:
            raise SettingsError(
                f"{self._path}: 'locs' is not a list of rows of numbers. "
                "Export it again."
            )
        if table.size * kinds.itemsize > DENSEST * self._path.stat().st_size:
            raise SettingsError(
                f"{self._path}: says that it has {table.size} rows, more than a file "
                "of its size can hold. It is damaged; export it again."
            )
        return read


def _picasso_yaml(path: Path) -> dict[str, Any]:
    """Join the documents of Picasso's YAML; later ones go before earlier ones."""
    try:
        documents = list(yaml.safe_load_all(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return {}
    except (*DAMAGED, yaml.YAMLError) as error:
        raise SettingsError(f"{path}: cannot be read: {one_line(error)}") from None
    return {
        k: v for part in documents if isinstance(part, dict) for k, v in part.items()
    }


def _positive(value: Any) -> float | None:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if number and np.isfinite(value) and value > 0 else None
