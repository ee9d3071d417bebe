"""Text tables of other programs, and the file beside each that says the rest."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.csv as pacsv

from .coordinates import (
    CONVENTIONS,
    DIALECTS,
    check_metadata,
    from_localizations,
    to_localizations,
)
from .errors import RecordingError, SettingsError
from .localizations import empty

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from numpy.typing import NDArray

    from .localizations import Localizations


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


def read_csv(
    path: str | Path, pixel_size_nm: float | None = None
) -> tuple[Localizations, dict[str, str]]:
    """Read a text table in any of `DIALECTS`, told apart by its column names.

    Parameters
    ----------
    pixel_size_nm : float, optional
        For tables without a ``-metadata.json`` beside them.

    Returns
    -------
    Localizations, dict[str, str]
        The rows, and what the file beside it says, with ``dialect`` set.

    Raises
    ------
    SettingsError
        Missing file, unknown columns, a cell that is no number, no pixel size.
    """
    table = recognised(path, pixel_size_nm)
    try:
        rows = table.rows(_read_columns(table))
    except SettingsError as error:
        raise SettingsError(f"{path}: {error}") from error
    return rows, table.metadata


@dataclass(frozen=True, slots=True, kw_only=True)
class TextTable:
    """A text table whose dialect is known and whose rows are still to be read.

    Attributes
    ----------
    path : Path
    header : list[str]
        Names of all columns.
    dialect : str
        A key of `DIALECTS`.
    metadata : dict[str, str]
        What the file beside it says, with ``dialect`` and, where it is known,
        ``pixel_size_nm``.
    """

    path: Path
    header: list[str]
    dialect: str
    metadata: dict[str, str]

    @property
    def read_options(self) -> pacsv.ReadOptions:
        """How the lines are to be read."""
        return pacsv.ReadOptions(column_names=self.header, skip_rows=1)

    @property
    def convert_options(self) -> pacsv.ConvertOptions:
        """Only the columns that the dialect knows, as float64."""
        known = DIALECTS[self.dialect].columns.values()
        wanted = {name for names in known for name in names}
        include = [name for name in self.header if name in wanted]
        types = dict.fromkeys(include, pa.float64())
        return pacsv.ConvertOptions(include_columns=include, column_types=types)

    def rows(self, columns: Mapping[str, NDArray[Any]]) -> Localizations:
        """Convert columns as read; raises SettingsError as `to_localizations`."""
        size = self.metadata.get("pixel_size_nm")
        return to_localizations(
            columns, self.dialect, pixel_size_nm=float(size) if size else None
        )


def recognised(path: str | Path, pixel_size_nm: float | None = None) -> TextTable:
    """Tell the dialect of a text table, and read the file beside it; see `read_csv`."""
    path = Path(path)
    try:
        with path.open(encoding="utf-8-sig") as file:
            header = [
                name.strip() for name in file.readline().replace('"', "").split(",")
            ]
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(
            f"{path}: cannot be read as a text table: {error}"
        ) from error
    dialect = _recognise(header, path)
    metadata = _read_sidecar(path) | {"dialect": dialect}
    if pixel_size_nm is None and "pixel_size_nm" in metadata:
        pixel_size_nm = float(metadata["pixel_size_nm"])
    if pixel_size_nm is not None:
        metadata["pixel_size_nm"] = repr(float(pixel_size_nm))
    return TextTable(path=path, header=header, dialect=dialect, metadata=metadata)


def _recognise(header: list[str], path: Path) -> str:
    for name, spec in DIALECTS.items():
        if set(spec.known_by) <= set(header):
            return name
    known = "; ".join(f"{n}: {', '.join(s.known_by)}" for n, s in DIALECTS.items())
    raise SettingsError(
        f"{path}: no table of localizations has the columns "
        f"{', '.join(header)[:200]!r}. Known are {known}."
    )


def _read_columns(table: TextTable) -> dict[str, NDArray[np.float64]]:
    """Read the columns that the dialect knows, as float64."""
    try:
        found = pacsv.read_csv(
            table.path,
            read_options=table.read_options,
            convert_options=table.convert_options,
        )
    except pa.ArrowInvalid as error:
        raise SettingsError(f"not a table of numbers: {error}") from error
    return {name: found.column(name).to_numpy() for name in found.column_names}


def _read_sidecar(path: Path) -> dict[str, str]:
    beside = sidecar(path)
    if not beside.exists():
        return {}
    try:
        found = json.loads(beside.read_text(encoding="utf-8"))
        return {str(k): str(v) for k, v in found.items()}
    except (ValueError, AttributeError) as error:
        raise SettingsError(f"{beside}: is not a JSON object: {error}") from error
