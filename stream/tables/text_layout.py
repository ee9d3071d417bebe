"""How a text table is laid out: encoding, separator, decimal sign, names of columns."""

from __future__ import annotations

import codecs
import csv
import io
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING
from xml.etree import ElementTree

from ..errors import SettingsError
from .coordinates import FOREIGN, dialect_of

if TYPE_CHECKING:
    from pathlib import Path

BEGINNING = 65_536  # bytes from which the layout is found
SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars"}
_BYTE_ORDER_MARKS = {  # longest first: that of UTF-32 begins like that of UTF-16
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
_BINARY = {b"PK\x03\x04": "a ZIP archive (such as .xlsx or .smlm)", b"%PDF": "a PDF"}
_COMMA_NUMBER = re.compile(r"[-+]?(\d+),(\d+)([eE][-+]?\d+)?\Z")
_CONTROL = re.compile(r"[\x00-\x08\x0e-\x1f\x7f-\x9f]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """How the lines of a text table are to be read.

    Attributes
    ----------
    encoding : str
        For a decoder. Latin-1 where the file is in no Unicode encoding.
    separator : str
        Between cells.
    decimal : {".", ","}
        Sign in numbers.
    header : tuple[str, ...]
        Name of each column, without quotes; a column without a name has a number.
    lines_before : int
        Lines above the first row.
    dialect : str
        A key of `coordinates.DIALECTS`.
    """

    encoding: str
    separator: str
    decimal: str
    header: tuple[str, ...]
    lines_before: int
    dialect: str


def layout_of(path: Path) -> Layout:
    """Find how a text table is laid out, from its first 64 KiB.

    Raises
    ------
    SettingsError
        A file that cannot be read, that is not text, or whose columns are not those
        of a table of localizations.
    """
    try:
        with path.open("rb") as file:
            beginning = file.read(BEGINNING)
    except OSError as error:
        raise SettingsError(f"{path}: cannot be read: {error}") from error
    encoding, text = _decoded(path, beginning)
    lines = io.StringIO(text, newline=None).read().split("\n")
    if len(beginning) == BEGINNING and len(lines) > 1:
        del lines[-1]  # cut off in the middle
    separator, above = None, 0
    if re.match(r'"?sep=.', lines[0], re.IGNORECASE):
        separator, above = lines[0].strip('"')[4], 1
    if above < len(lines) and lines[above].startswith("#"):
        return _with_comment(path, lines[above], encoding)
    if above >= len(lines) or not lines[above].strip():
        raise SettingsError(
            f"{path}: line {above + 1} is empty; it must name the columns."
        )
    separator = separator or _separator(lines[above])
    names, *rows = _cells(lines[above : above + 200], separator, path)
    names = _padded(path, names, rows)
    dialect = _dialect(path, names, separator)
    return Layout(
        encoding=encoding,
        separator=separator,
        decimal=_decimal(path, rows),
        header=names,
        lines_before=above + 1,
        dialect=dialect,
    )


def _decoded(path: Path, beginning: bytes) -> tuple[str, str]:
    """Find the encoding, and decode what of the beginning is whole."""
    if not beginning.strip():
        raise SettingsError(f"{path}: is empty. Was the export interrupted?")
    marks = (
        name for mark, name in _BYTE_ORDER_MARKS.items() if beginning.startswith(mark)
    )
    encoding = next(marks, "")
    if not encoding and beginning[1:2] == b"\0" != beginning[:1]:
        encoding = "utf-16-le"
    if not encoding and beginning[:1] == b"\0" != beginning[1:2]:
        encoding = "utf-16-be"
    for tried in (encoding,) if encoding else ("utf-8", "latin-1"):
        try:
            text = codecs.getincrementaldecoder(tried)().decode(beginning)
        except UnicodeDecodeError:
            continue
        if not _CONTROL.search(text.split("\n", 1)[0]):
            return tried, text.removeprefix("\ufeff")
    kind = next((k for mark, k in _BINARY.items() if beginning.startswith(mark)), "")
    raise SettingsError(
        f"{path}: is not a text table (it begins with {beginning[:8]!r}"
        f"{f', as {kind} does' if kind else ''}). Export a "
        "spreadsheet as CSV text; localize a movie first, with 'liveloc fit'."
    )


def _separator(line: str) -> str:
    """Return the separator with which the names of a line are known, or many."""

    def merit(separator: str) -> tuple[bool, int]:
        names = _names(line, separator)
        return bool(dialect_of(names)), len(names)

    return max(SEPARATORS, key=merit)


def _names(line: str, separator: str) -> tuple[str, ...]:
    """Return the names in a line, also of one that was quoted as a whole."""
    try:
        cells = next(csv.reader([line], delimiter=separator), [])
        if len(cells) == 1 and separator in cells[0]:
            cells = next(csv.reader(cells, delimiter=separator), [])
    except csv.Error:
        return ()
    return tuple(cell.strip().strip('"') for cell in cells)


def _cells(lines: list[str], separator: str, path: Path) -> tuple[tuple[str, ...], ...]:
    """Return the names, and the cells of each line that is not empty below them."""
    try:
        rows = csv.reader(lines[1:], delimiter=separator)
        return (_names(lines[0], separator), *(tuple(row) for row in rows if row))
    except csv.Error as error:
        raise SettingsError(f"{path}: is not a text table: {error}.") from None


def _padded(
    path: Path, names: tuple[str, ...], rows: list[tuple[str, ...]]
) -> tuple[str, ...]:
    """Name the columns without a name, also those of separators that end each line."""
    if rows and len(rows[0]) > len(names):
        extra = rows[0][len(names) :]
        if any(cell.strip() for cell in extra):
            raise SettingsError(
                f"{path}: its first row has {len(rows[0])} cells and its header "
                f"{len(names)} names. Are its numbers written with decimal commas, or "
                "does the column of row numbers have no name? Export it with decimal "
                "points and a name for each column."
            )
        names += ("",) * len(extra)
    return tuple(name or f"unnamed {k + 1}" for k, name in enumerate(names))


def _dialect(path: Path, names: tuple[str, ...], separator: str) -> str:
    dialect = dialect_of(names)
    for program, (columns, remedy) in FOREIGN.items():
        if not dialect and set(columns) <= set(names):
            raise SettingsError(
                f"{path}: is a table of {program}, which is not read. {remedy}"
            )
    if not dialect:
        seen = ", ".join(names)
        between = (
            f"separated by {SEPARATORS.get(separator, repr(separator))}"
            if len(names) > 1
            else "separated by neither commas, semicolons nor tabs"
        )
        raise SettingsError(
            f"{path}: no table of localizations has the columns {seen[:200]!r} "
            f"({between}). Name them frame, x_nm and y_nm (nm from the centre of the "
            "first pixel, frames from 0), or export the table as ThunderSTORM does."
        )
    return dialect


def _decimal(path: Path, rows: list[tuple[str, ...]]) -> str:
    """Distinguish decimal commas from points; refuse what may be thousands."""
    found = [
        m for row in rows for cell in row if (m := _COMMA_NUMBER.match(cell.strip()))
    ]
    if not found:
        return "."
    for match in found:
        before, after = match[1], match[2]
        if len(after) != 3 or len(before) > 3 or before.startswith("0"):
            return ","
    raise SettingsError(
        f"{path}: {found[0][0]!r} may be a number with a decimal comma or thousands. "
        "Export the table with decimal points and without thousands separators."
    )


def _with_comment(path: Path, line: str, encoding: str) -> Layout:
    """Read the header of rapidSTORM, XML in a comment; refuse other comments."""
    if "<localizations" not in line:
        program = "DECODE" if "DECODE" in line or "EmitterSet" in line else "unknown"
        raise SettingsError(
            f"{path}: begins with a comment ({program}): {line[:60]!r}. Remove the "
            "lines above the column names, which must include frame, x_nm and y_nm "
            "(nm from the centre of the first pixel, frames from 0)."
        )
    try:
        fields = ElementTree.fromstring(line.lstrip("# ")).findall("field")
    except (ElementTree.ParseError, ValueError) as error:
        raise SettingsError(
            f"{path}: the header of rapidSTORM is damaged: {error}."
        ) from None
    names = tuple(field.get("identifier") or "" for field in fields)
    units = {field.get("identifier"): field.get("unit") for field in fields}
    for name in ("Position-0-0", "Position-1-0", "Position-2-0"):
        if units.get(name, "nanometer") != "nanometer":
            raise SettingsError(
                f"{path}: {name} is in {units[name]!r}, but must be in 'nanometer'. "
                "Export it again."
            )
    return Layout(
        encoding=encoding,
        separator=" ",
        decimal=".",
        header=tuple(name or f"unnamed {k + 1}" for k, name in enumerate(names)),
        lines_before=1,
        dialect=_dialect(path, names, " "),
    )
