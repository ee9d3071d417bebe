"""Tables read piece by piece: of any length, and while they are still written."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.csv as pacsv
import yaml

from .coordinates import DIALECTS, to_localizations
from .errors import SettingsError
from .table import ArrowPieces, first_bytes
from .text_table import recognised

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .localizations import Localizations
    from .text_table import TextTable

PIECE_ROWS = 65_536
_HDF5 = b"\x89HDF\r\n\x1a\n"
_ARROW = b"\xff\xff\xff\xff"


class Pieces(Protocol):
    """A table that is read from its beginning to where it ends now.

    Attributes
    ----------
    metadata : dict[str, str]
        What the file, or the one beside it, says.
    """

    metadata: dict[str, str]

    @property
    def complete(self) -> bool:
        """Whether nothing more will follow what was read."""
        ...

    def read(self) -> Iterator[Localizations]:
        """Give the rows not given yet, about 65,536 at a time.

        Raises
        ------
        SettingsError
            A row that cannot be read.
        """
        ...


def open_pieces(path: str | Path, pixel_size_nm: float | None = None) -> Pieces:
    """Open a table: ours (Arrow), a text table of another program, Picasso's HDF5.

    Parameters
    ----------
    path : str or Path
        See `read_table`; besides, ``.hdf5`` with the ``.yaml`` that Picasso writes
        beside it.
    pixel_size_nm : float, optional
        For tables that do not say it.

    Raises
    ------
    SettingsError
        Missing file, or nothing that can be read as a table.
    """
    path = Path(path)
    beginning = first_bytes(path)
    if beginning == _HDF5:
        return PicassoPieces(path, pixel_size_nm)
    if beginning.startswith(_ARROW):
        return ArrowPieces(path, PIECE_ROWS)
    if path.suffix.lower() == ".arrow":
        raise SettingsError(
            f"{path}: is no Arrow stream (begins with {beginning!r}). Was it written "
            "by another program, or cut off at once?"
        )
    return TextPieces(recognised(path, pixel_size_nm))


class TextPieces:
    """A text table, as `read_csv` reads it.

    Parameters
    ----------
    table : TextTable
        As `recognised`.
    """

    def __init__(self, table: TextTable) -> None:
        self._table = table
        self.metadata = table.metadata
        self.complete = False

    def read(self) -> Iterator[Localizations]:
        """Give all rows, at the first call."""
        if self.complete:
            return
        given = 0
        try:
            for batch in self._batches():
                names = batch.schema.names
                columns = {name: batch.column(name).to_numpy() for name in names}
                rows = self._table.rows(columns)
                yield rows
                given += len(rows)
        except (SettingsError, pa.ArrowInvalid) as error:
            raise SettingsError(
                f"{self._table.path}: after {given} good rows: {error}"
            ) from error
        self.complete = True

    def _batches(self) -> Iterator[pa.RecordBatch]:
        with self._table.path.open("rb") as file:
            file.readline()
            if not file.read(64).strip():  # a header and nothing below it
                return
        reader = pacsv.open_csv(
            self._table.path,
            read_options=self._table.read_options,
            convert_options=self._table.convert_options,
        )
        with reader:
            yield from reader


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
        No ``locs`` with Picasso's columns, or nobody says the pixel size.
    """

    def __init__(self, path: Path, pixel_size_nm: float | None = None) -> None:
        self._path = path
        self.complete = False
        beside = path.with_suffix(".yaml")
        about = _picasso_yaml(beside)
        size = pixel_size_nm or _positive(about.get("Pixelsize"))
        if size is None:
            raise SettingsError(
                f"{path}: positions are in pixels and {beside.name} does not say "
                "their size (Pixelsize, nm). Give the pixel size."
            )
        self._size = float(size)
        self.metadata = {"dialect": "picasso", "pixel_size_nm": repr(self._size)}
        height, width = (_positive(about.get(name)) for name in ("Height", "Width"))
        if height and width:
            shape = f"[{int(height)}, {int(width)}]"
            self.metadata |= {"shape": shape, "roi_origin": "[0, 0]"}
        for _ in itertools.islice(self._slices(1), 1):
            pass  # complains about columns that are missing

    def read(self) -> Iterator[Localizations]:
        """Give all rows, at the first call."""
        if self.complete:
            return
        for columns in self._slices(PIECE_ROWS):
            try:
                yield to_localizations(columns, "picasso", pixel_size_nm=self._size)
            except SettingsError as error:
                raise SettingsError(f"{self._path}: {error}") from error
        self.complete = True

    def _slices(self, count: int) -> Iterator[dict[str, Any]]:
        import h5py

        try:
            with h5py.File(self._path, "r") as file:
                table = file.get("locs")
                names = getattr(getattr(table, "dtype", None), "names", None) or ()
                lacking = set(DIALECTS["picasso"].known_by) - set(names)
                if lacking:
                    raise SettingsError(
                        f"{self._path}: has no table 'locs' with the columns "
                        f"{', '.join(sorted(lacking))}. Is it a localization file of "
                        "Picasso?"
                    )
                for first in range(0, len(table), count):
                    rows = table[first : first + count]
                    yield {name: rows[name] for name in names}
        except OSError as error:
            raise SettingsError(
                f"{self._path}: is damaged or cut off: {error}. Export it again."
            ) from error


def _picasso_yaml(path: Path) -> dict[str, Any]:
    """Join the documents of Picasso's YAML; later ones go before earlier ones."""
    try:
        documents = list(yaml.safe_load_all(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        line = " ".join(str(error).split())
        raise SettingsError(f"{path}: cannot be read: {line:.300}") from None
    return {
        k: v for part in documents if isinstance(part, dict) for k, v in part.items()
    }


def _positive(value: Any) -> float | None:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if number and np.isfinite(value) and value > 0 else None
