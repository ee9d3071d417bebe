"""The table as it is shown: selected rows, without the drift, maybe of a rectangle."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from liveloc.stream.errors import SettingsError
from liveloc.stream.tables.arrow import TableWriter
from liveloc.stream.tables.coordinates import DIALECTS
from liveloc.stream.tables.text import sidecar, write_csv

if TYPE_CHECKING:
    from collections.abc import Iterator

    from liveloc.stream.localizations import Localizations

    from ..image.viewport import Rect
    from .document import Document


def save_table(
    document: Document,
    path: str | Path,
    rect: Rect | None = None,
    *,
    dialect: str = "thunderstorm",
) -> int:
    """Write the rows as they are shown; the file appears whole or not at all.

    Parameters
    ----------
    document : Document
        Its selection and its drift decide.
    path : str or Path
        ``.arrow``: our own table. ``.csv``: a text table, and a file beside it that
        says what the text cannot.
    rect : Rect, optional
        Only rows within: left and upper edge belong to it.
    dialect : str
        Of the text table, a key of ``coordinates.DIALECTS``.

    Returns
    -------
    int
        Rows written.

    Raises
    ------
    SettingsError
        Another end of the name, an unknown dialect.
    RecordingError
        The disk refused it.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix not in (".arrow", ".csv"):
        raise SettingsError(
            f"{path}: a table's name ends in .arrow or .csv. Give it one of them."
        )
    if dialect not in DIALECTS:
        raise SettingsError(
            f"cannot write a table for {dialect!r}; known are {', '.join(DIALECTS)}."
        )
    metadata = document.metadata | _said(document, rect)
    metadata.pop("complete", None)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    counted = _Counted(document, rect)
    try:
        part.unlink(missing_ok=True)  # of an attempt that was killed
        if suffix == ".arrow":
            with TableWriter(part, metadata) as table:
                for rows in counted:
                    table.append(rows)
        else:
            write_csv(part, counted, metadata, dialect)
            os.replace(sidecar(part), sidecar(path))
        os.replace(part, path)
    finally:
        for left in (part, sidecar(part)):
            left.unlink(missing_ok=True)
    return counted.rows


class _Counted:
    """The rows to write, counted on their way."""

    def __init__(self, document: Document, rect: Rect | None) -> None:
        self._document, self._rect = document, rect
        self.rows = 0

    def __iter__(self) -> Iterator[Localizations]:
        for rows in self._document.selected_rows():
            if self._rect is not None:
                rows = rows[within(rows, self._rect)]
            self.rows += len(rows)
            yield rows


def within(
    rows: Localizations, rect: Rect
) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """Return which rows lie in a rectangle; NaN lies in none."""
    left, right, top, bottom = rect
    x, y = rows["x_nm"].astype(np.float64), rows["y_nm"].astype(np.float64)
    with np.errstate(invalid="ignore"):
        inside = (x >= left) & (x < right) & (y >= top) & (y < bottom)
    return np.asarray(inside, np.bool_)


def _said(document: Document, rect: Rect | None) -> dict[str, str]:
    """Return what was done to the rows; empty where nothing was."""
    said = {}
    if document.selection.active:
        said["selection"] = json.dumps(document.selection.as_dict())
    if document.drift is not None:
        said["drift_subtracted"] = json.dumps(document.drift.as_dict())
    if rect is not None:
        said["rectangle_nm"] = json.dumps([float(edge) for edge in rect])
    return said
