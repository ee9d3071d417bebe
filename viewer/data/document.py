"""All rows of a session and what is drawn from them, for every thread of the viewer.

Rows are numbered as they come. After a changed selection or drift a new image begins
empty: rows below the number that was next at that moment reach it through `work`,
the others through `add`. So each row is counted exactly once, in whatever order these
are called.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from liveloc.stream.errors import LivelocError

from ..image.field import field_of
from ..image.reconstruction import Reconstruction
from ..image.super_pixels import SUPER_PIXEL_NM, fitting_super_pixel
from .column_histograms import ColumnHistograms
from .compact import CompactRows, compacted
from .row_store import RowStore
from .selection import Selection

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from numpy.typing import NDArray

    from liveloc.stream.localizations import Localizations

    from ..image.viewport import Rect
    from .drift_curve import Drift

PIECE = 32_768  # rows taken in under one hold of the lock: a few ms


class Document:
    """Rows, the selection of them, and the image of that selection.

    Parameters
    ----------
    metadata : Mapping[str, str]
        With ``shape``, ``pixel_size_nm`` and ``roi_origin``, as our tables and
        streams carry them.
    super_pixel_nm : float
        Edge of the image's pixels that is aimed at, see `fitting_super_pixel`.
    spool : bool
        Keep whole rows in a temporary file, see `RowStore`.

    Attributes
    ----------
    lock : threading.RLock
        Held by callers that read or change what several calls must agree on, for a
        few ms at most. Every method takes it by itself.
    store : RowStore
        All rows. A new object after `clear`.
    image : Reconstruction
        Of the selected rows, corrected for drift. A new object after `select`,
        `correct` and `clear`.
    columns : ColumnHistograms
        How the quantities of all rows are distributed.
    revision : int
        Grows with whatever changes what is shown.
    rect : Rect
        Edges of the field, nm.

    Raises
    ------
    SettingsError
        The metadata do not say the field, or one that makes no image.
    """

    def __init__(
        self,
        metadata: Mapping[str, str],
        *,
        super_pixel_nm: float = SUPER_PIXEL_NM,
        spool: bool = True,
    ) -> None:
        self.metadata = dict(metadata)
        self.lock = threading.RLock()
        field = Reconstruction.from_metadata(self.metadata)
        self.shape = field.shape
        self.pixel_size_nm = field.pixel_size_nm
        self.roi_origin = field.roi_origin
        self.rect: Rect = field.extent_nm
        self._super_pixel_nm = fitting_super_pixel(
            self.shape, self.pixel_size_nm, super_pixel_nm
        )
        self._spool = spool
        self._choice = _Choice(Selection(), None)
        self.columns = ColumnHistograms()
        self.store = RowStore(self.rect, spool=spool)
        self.image = self._empty_image()
        self.revision = 0
        self._pending: _PendingRows | None = None

    @classmethod
    def around(
        cls, rows: Localizations, *, pixel_size_nm: float = 100.0, **options: Any
    ) -> Document:
        """Make a document of a table that does not say its field, and fill it.

        The field is that of `field_of`: around all rows, but for single ones far off.
        """
        metadata = field_of([rows], {"pixel_size_nm": repr(float(pixel_size_nm))})
        document = cls(metadata, **options)
        document.add(rows)
        return document

    def __enter__(self) -> Document:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def selection(self) -> Selection:
        """Which rows are shown."""
        return self._choice.selection

    @property
    def drift(self) -> Drift | None:
        """What is taken off their positions."""
        return self._choice.drift

    @property
    def pending(self) -> float:
        """Share of the rows that the image still lacks, 0..1."""
        pending = self._pending
        return pending.share if pending is not None else 0.0

    def add(self, rows: Localizations) -> None:
        """Take rows in, any number; the lock is free between pieces of 32,768.

        Do not hold the lock while calling it: sorting and writing to disk happen
        without.
        """
        for first in range(0, len(rows), PIECE):
            self._add_piece(rows[first : first + PIECE])

    def _add_piece(self, rows: Localizations) -> None:
        compact = compacted(rows)
        with self.lock:
            store = self.store
            self.columns.add(rows, compact)
            self._count(*self._choice.of(compact))
            store.append(
                rows, compact
            )  # last: a reader that sees its length sees the rest
            self.revision += 1
        store.flush()
        for block in store.unsorted():
            by = store.sort(block)
            with self.lock:
                store.replace(block, by)

    def of_frame(self, frame: int, most: int) -> Localizations:
        """Return the rows of one frame, selected or not; see `RowStore.of_frame`."""
        with self.lock:
            store = self.store
        return store.of_frame(frame, most)

    def clear(self) -> None:
        """Forget every row; the selection and the drift stay."""
        with self.lock:
            self.store.close()
            self.store = RowStore(self.rect, spool=self._spool)
            self.columns.clear()
            self._begin()

    def select(self, selection: Selection) -> None:
        """Show other rows. Returns at once; `work` brings the image up to date."""
        with self.lock:
            self._choice = _Choice(selection, self.drift)
            self._begin()

    def correct(self, drift: Drift | None) -> None:
        """Take another drift off. Returns at once; `work` does the rest."""
        with self.lock:
            self._choice = _Choice(self.selection, drift)
            self._begin()

    def work(self, budget_s: float) -> bool:
        """Add rows that the image lacks, for about as long.

        Returns
        -------
        bool
            True while there is more to do.
        """
        end = time.monotonic() + budget_s
        while True:
            with self.lock:
                pending = self._pending
                if pending is None:
                    return False
                run = pending.next()
            if run is None:  # another thread is just adding the last of them
                return True
            shown = pending.choice.of(run)
            with self.lock:
                if self._pending is pending:  # else another image has begun meanwhile
                    self._count(*shown)
                    pending.added += len(run)
                    self._pending = pending if pending.share > 0 else None
                    self.revision += 1
            if time.monotonic() >= end:
                return True

    def shown(
        self, run: CompactRows
    ) -> tuple[CompactRows, NDArray[np.float64], NDArray[np.float64]]:
        """Return the rows of a run that the selection shows, and where they are.

        Returns
        -------
        rows : CompactRows
            The selected ones.
        x_nm, y_nm : NDArray[np.float64]
            Positions corrected for drift, to the precision a table holds (float32),
            so that picture and saved table agree.
        """
        return self._choice.of(run)

    def selected_rows(self) -> Iterator[Localizations]:
        """Return whole rows as they are shown, in order: selected, drift taken off.

        Rows without a position or outside the field are among them: no picture
        shows these, but no selection takes them away either. What is selected later
        does not change it.

        Raises
        ------
        LivelocError
            Rows were cleared meanwhile, because the session began anew.
        """
        with self.lock:
            store, choice = self.store, self._choice
            pieces = store.whole_rows()
        while True:
            with self.lock:
                if self.store is not store:
                    raise LivelocError(
                        "the rows to be saved are gone: the session began anew. "
                        "Save again."
                    )
                rows = next(pieces, None)
            if rows is None:
                return
            yield choice.of_whole(rows)

    def close(self) -> None:
        """Delete the temporary file. Idempotent."""
        with self.lock:
            self.store.close()
            self._pending = None

    def _empty_image(self) -> Reconstruction:
        return Reconstruction(
            self.shape,
            self.pixel_size_nm,
            roi_origin=self.roi_origin,
            super_pixel_nm=self._super_pixel_nm,
        )

    def _begin(self) -> None:
        """Start an empty image, to which all rows there are now are yet to be added."""
        self.image = self._empty_image()
        rows = len(self.store)
        self._pending = (
            _PendingRows(self._choice, self.store.runs(), rows) if rows else None
        )
        self.revision += 1

    def _count(
        self, run: CompactRows, x: NDArray[np.float64], y: NDArray[np.float64]
    ) -> None:
        self.image.add_positions(x, y, run.column("z_nm"))


@dataclass(frozen=True, slots=True)
class _Choice:
    """Which rows are shown, and how far from where they were found."""

    selection: Selection
    drift: Drift | None

    def of(
        self, run: CompactRows
    ) -> tuple[CompactRows, NDArray[np.float64], NDArray[np.float64]]:
        """Return the shown rows and their places, as `Document.shown` does."""
        if self.selection.active:
            mask = self.selection.mask(run.column, len(run))
            if not mask.all():
                run = run.chosen(mask)
        x = run.column("x_nm").astype(np.float64)
        y = run.column("y_nm").astype(np.float64)
        if self.drift is not None:
            dx, dy = self.drift.at(run.column("frame"))
            x = (x - dx).astype(np.float32).astype(np.float64)
            y = (y - dy).astype(np.float32).astype(np.float64)
        return run, x, y

    def of_whole(self, rows: Localizations) -> Localizations:
        """Copy the whole rows that are shown, at their places."""
        compact = compacted(rows)  # what is drawn is chosen by these values, too
        mask = self.selection.mask(compact.column, len(rows))
        chosen = rows[mask]
        _, chosen["x_nm"], chosen["y_nm"] = self.of(compact.chosen(mask))
        return chosen


class _PendingRows:
    """Rows still to be added to a new image.

    Attributes
    ----------
    choice : _Choice
        What is shown of them.
    added : int
        Number of rows added so far.
    """

    def __init__(self, choice: _Choice, runs: Iterator[CompactRows], rows: int) -> None:
        self.choice = choice
        self.added = 0
        self._runs = runs
        self._rows = rows

    @property
    def share(self) -> float:
        """Fraction still to be added, 0 to 1."""
        return (self._rows - self.added) / self._rows

    def next(self) -> CompactRows | None:
        """Return the next run of them, None after the last."""
        return next(self._runs, None)
