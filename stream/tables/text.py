"""Text tables of other programs, and the file beside each that says the rest."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.csv as pacsv

from ..errors import RecordingError, SettingsError
from ..files.input_file import DAMAGED, one_line
from ..localizations import empty
from .coordinates import (
    CONVENTIONS,
    DIALECTS,
    READABLE,
    Column,
    check_metadata,
    found_column,
    from_localizations,
    stated_metadata,
    to_localizations,
)
from .text_layout import BEGINNING, Layout, layout_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from numpy.typing import NDArray

    from ..localizations import Localizations


def sidecar(path: Path) -> Path:
    """Name the file that states the coordinates of a text table."""
    return path.with_name(path.name + "-metadata.json")


def write_csv(
    path: str | Path,
    rows: Localizations | Iterable[Localizations],
    metadata: Mapping[str, str],
    dialect: str = "thunderstorm",
) -> None:
    """Write a text table for another program, and beside it what it cannot say.

    ``NAME.csv-metadata.json`` holds `metadata`, the dialect and its coordinates.

    Parameters
    ----------
    rows : Localizations, or an iterable of them
        Ours, full-chip nm; in pieces where they are many.
    metadata : Mapping[str, str]
        Of the table, see `stream_metadata`; ``pixel_size_nm`` is needed.
    dialect : str
        A key of `DIALECTS`.

    Raises
    ------
    SettingsError
        Unknown dialect, or `metadata` lack one of `REQUIRED_METADATA`.
    RecordingError
        The disk refused it.
    """
    path = Path(path)
    if dialect not in DIALECTS:
        raise SettingsError(
            f"cannot write a table for {dialect!r}; known are {', '.join(DIALECTS)}."
        )
    check_metadata(metadata)
    spec = DIALECTS[dialect]
    about = dict(metadata) | CONVENTIONS
    about |= {
        "dialect": dialect,
        "units": f"{spec.unit}, z in nm",
        "frame_base": str(spec.frame_base),
        "pixel_origin": f"centre of the full chip's first pixel at "
        f"({spec.centre_px} px, {spec.centre_px} px)",
    }
    pieces = [rows] if isinstance(rows, np.ndarray) else rows
    text = json.dumps(about, indent=1, sort_keys=True) + "\n"
    try:
        _write_pieces(path, pieces, dialect, float(metadata["pixel_size_nm"]))
        sidecar(path).write_text(text, encoding="utf-8", newline="\n")
    except OSError as error:
        raise RecordingError(f"{path}: cannot be written: {error}") from error


def _write_pieces(
    path: Path, pieces: Iterable[Localizations], dialect: str, pixel_size_nm: float
) -> None:
    """Write the columns of each piece below those of the one before."""

    def table(rows: Localizations) -> pa.Table:
        columns = from_localizations(
            rows, dialect, pixel_size_nm=pixel_size_nm, first_row=written
        )
        return pa.table({name: pa.array(values) for name, values in columns.items()})

    written = 0
    with pacsv.CSVWriter(path, table(empty()).schema) as writer:
        for rows in pieces:
            if len(rows):
                writer.write_table(table(rows))
                written += len(rows)


# What programs write where a number is not known or cannot be written.
_NO_NUMBER = (
    "", "NaN", "nan", "NAN", "-NaN", "-nan", "NA", "N/A", "n/a", "#N/A", "null", "NULL",
    "None", "none", "-", "--", "#NUM!", "#DIV/0!", "#VALUE!", "-nan(ind)", "nan(ind)",
    "1.#QNAN", "-1.#IND", "1.#IND",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class TextTable:
    """A text table whose dialect is known and whose rows are still to be read.

    Attributes
    ----------
    path : Path
    layout : Layout
        Encoding, separator, decimal sign, header.
    columns : dict[str, Column]
        Name of each column that the dialect knows -> where it is found.
    metadata : dict[str, str]
        What the file beside it says, with ``dialect`` and, where it is known,
        ``pixel_size_nm``.
    """

    path: Path
    layout: Layout
    columns: dict[str, Column]
    metadata: dict[str, str]

    @property
    def header(self) -> tuple[str, ...]:
        """Names of all columns."""
        return self.layout.header

    @property
    def dialect(self) -> str:
        """A key of `coordinates.READABLE`."""
        return self.layout.dialect

    @property
    def in_pixels(self) -> bool:
        """Whether positions are in pixels of the camera."""
        return READABLE[self.dialect].unit == "px" or any(
            column.nm is None for column in self.columns.values()
        )

    def batches(self) -> Iterator[dict[str, NDArray[np.float64]]]:
        """Yield the columns that the dialect knows, in its units, piece by piece.

        Raises
        ------
        SettingsError
            A row that is not as long as the header, a cell that is no number.
        """
        if self._ends_with_its_header():
            return
        layout = self.layout
        names = {column.name for column in self.columns.values()}
        try:
            reader = pacsv.open_csv(
                self.path,
                read_options=pacsv.ReadOptions(
                    column_names=list(layout.header),
                    skip_rows=layout.lines_before,
                    encoding=_arrows(layout.encoding),
                ),
                parse_options=pacsv.ParseOptions(delimiter=layout.separator),
                convert_options=pacsv.ConvertOptions(
                    include_columns=[n for n in layout.header if n in names],
                    column_types=dict.fromkeys(names, pa.float64()),
                    null_values=list(_NO_NUMBER),
                    decimal_point=layout.decimal,
                ),
            )
            with reader:
                for batch in reader:
                    yield {name: self._values(batch, name) for name in self.columns}
        except SettingsError:
            raise
        except (pa.ArrowException, *DAMAGED) as error:
            raise SettingsError(f"not a table of numbers: {one_line(error)}") from error

    def rows(self, columns: Mapping[str, NDArray[Any]]) -> Localizations:
        """Convert columns as read; raises SettingsError as `to_localizations`."""
        size, base = (self.metadata.get(n) for n in ("pixel_size_nm", "frame_base"))
        return to_localizations(
            columns,
            self.dialect,
            pixel_size_nm=float(size) if size else None,
            frame_base=int(base) if base else None,
        )

    def _values(self, batch: pa.RecordBatch, name: str) -> NDArray[np.float64]:
        """Return a column in the dialect's unit, NaN where it is empty."""
        column = self.columns[name]
        values = batch.column(column.name).to_numpy(zero_copy_only=False)
        if column.nm is not None:
            return np.asarray(values * column.nm if column.nm != 1 else values)
        size = self.metadata.get("pixel_size_nm")
        if not size:
            raise SettingsError(
                f"{column.name!r} is in pixels. Specify the pixel size of the camera."
            )
        return np.asarray(values * float(size))

    def _ends_with_its_header(self) -> bool:
        """Whether nothing follows the names: Arrow takes that for an error."""
        with self.path.open("rb") as file:
            beginning = file.read(BEGINNING + 1)
        if len(beginning) > BEGINNING:
            return False
        text = beginning.decode(self.layout.encoding, errors="replace")
        lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
        return not any(line.strip() for line in lines[self.layout.lines_before :])


class TextPieces:
    """A text table, read piece by piece.

    Parameters
    ----------
    table : TextTable
        As `recognised`.

    Attributes
    ----------
    metadata : dict[str, str]
        What the file beside it says.
    in_pixels : bool
        Positions are in pixels of the camera.
    complete : bool
        Everything was read.
    left_out : int
        Rows without a position, so far.
    """

    def __init__(self, table: TextTable) -> None:
        self._table = table
        self.metadata = table.metadata
        self.in_pixels = table.in_pixels
        self.complete = False
        self.left_out = 0

    def read(self) -> Iterator[Localizations]:
        """Yield all rows that have a position, at the first call."""
        if self.complete:
            return
        done = 0
        try:
            for columns in self._table.batches():
                rows = self._table.rows(columns)
                yield rows
                count = len(next(iter(columns.values())))
                self.left_out += count - len(rows)
                done += count
        except SettingsError as error:
            after = f"after {done} good rows: " if done else ""
            raise SettingsError(f"{self._table.path}: {after}{error}") from error
        self.complete = True


def recognised(path: str | Path, pixel_size_nm: float | None = None) -> TextTable:
    """Find layout and dialect of a text table, and read the file beside it.

    Raises
    ------
    SettingsError
        Missing file, unknown columns, or two columns of one name.
    """
    path = Path(path)
    layout = layout_of(path)
    known = READABLE[layout.dialect].columns.values()
    columns = {
        name: found
        for name in dict.fromkeys(name for names in known for name in names)
        if (found := found_column(name, layout.header))
    }
    for column in columns.values():
        if layout.header.count(column.name) > 1:
            raise SettingsError(
                f"{path}: {layout.header.count(column.name)} columns are named "
                f"{column.name!r}. Remove all but one."
            )
    metadata = _read_sidecar(path) | {"dialect": layout.dialect}
    if pixel_size_nm is not None:
        metadata["pixel_size_nm"] = repr(float(pixel_size_nm))
    counts = [n for n in layout.header if n in ("intensity [ADU]", "intensity [e-]")]
    if counts and "intensity [photon]" not in columns:
        metadata["not_read"] = f"{counts[0]!r} is not in photons and was left out"
    return TextTable(path=path, layout=layout, columns=columns, metadata=metadata)


def _read_sidecar(path: Path) -> dict[str, str]:
    beside = sidecar(path)
    try:
        found = json.loads(beside.read_text(encoding="utf-8"), object_pairs_hook=_once)
        said = {str(k): str(v) for k, v in found.items()}
    except FileNotFoundError:
        return {}
    except DAMAGED as error:
        raise SettingsError(
            f"{beside}: is not a JSON object: {one_line(error)}"
        ) from error
    return stated_metadata(said, beside)


def _arrows(encoding: str) -> str:
    """Return the encoding that Arrow decodes: any other is ASCII where numbers are."""
    return encoding if encoding.startswith(("utf-16", "utf-32")) else "utf8"


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Refuse a key that is there twice."""
    keys = [key for key, _ in pairs]
    for key in keys:
        if keys.count(key) > 1:
            raise ValueError(f"{key!r} appears twice")
    return dict(pairs)
