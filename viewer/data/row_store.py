"""All rows of a session, compact, and quick to ask for a part of the field.

Rows go into an open block; a full one is sorted by place, so that a rectangle touches
only the cells it covers. Whole rows go to a temporary file beside.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from liveloc.stream.localizations import LOCALIZATION

from .compact import CompactRows, compacted, joined
from .spool import Spool

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import NDArray

    from liveloc.stream.localizations import Localizations

    from ..image.viewport import Rect

__all__ = ["RUN", "CompactRows", "RowStore", "compacted"]

RUN = 65_536  # rows in one piece, at most
BLOCK = 2**18  # rows sorted together
CELLS = 64  # cells of a block along x, and along y


class Block:
    """Up to `BLOCK` successive rows; sorted by cell once it is full.

    Attributes
    ----------
    first : int
        Number of its first row.
    rows : CompactRows
        As long as the block's room.
    count : int
        Rows in use.
    starts : NDArray[np.int32] or None
        Where each cell begins, cells row by row, then the rows without a position.
        None: not sorted, rows in the order they came.
    order : NDArray[np.int32] or None
        Which of its rows stands at each place, where that is still needed.
    """

    def __init__(
        self,
        first: int,
        rows: CompactRows,
        count: int,
        starts: NDArray[np.int32] | None = None,
        order: NDArray[np.int32] | None = None,
    ) -> None:
        self.first = first
        self.rows = rows
        self.count = count
        self.starts = starts
        self.order = order

    @classmethod
    def open(cls, first: int) -> Block:
        """Make room for rows."""
        return cls(first, CompactRows.room(BLOCK), 0)

    @property
    def nbytes(self) -> int:
        """Bytes in use."""
        extra = [array for array in (self.starts, self.order) if array is not None]
        kept = self.rows.chosen(slice(self.count)).nbytes
        return kept + sum(array.nbytes for array in extra)

    def append(self, rows: CompactRows) -> int:
        """Copy in as many of the rows as there is room for; say how many."""
        taken = min(len(rows), BLOCK - self.count)
        rows.chosen(slice(taken)).copy_into(self.rows, self.count)
        self.count += taken
        return taken

    def as_it_is(self) -> Block:
        """Return the rows in use now; later appends do not change it."""
        return Block(self.first, self.rows, self.count, self.starts, self.order)

    def sorted(self, grid: Grid, *, keep_order: bool) -> Block:
        """Make a block of the same rows, ordered by cell."""
        rows = self.rows.chosen(slice(self.count))
        cells = grid.cells(rows.column("x_nm"), rows.column("y_nm"))
        order = np.argsort(cells, kind="stable").astype(np.int32)
        counts = np.bincount(cells, minlength=CELLS * CELLS + 1)
        starts = np.concatenate([[0], np.cumsum(counts)]).astype(np.int32)
        packed = rows.chosen(order).packed()
        kept_order = order if keep_order else None
        return Block(self.first, packed, self.count, starts, kept_order)

    def within(self, part: Part | None) -> Iterator[CompactRows]:
        """Return its rows in a part of the field, or all, at most `RUN` at once."""
        if part is None:
            for begin in range(0, self.count, RUN):
                yield self.rows.chosen(slice(begin, min(begin + RUN, self.count)))
            return
        places = self._places(part)
        for begin in range(0, len(places), RUN):
            yield self.rows.chosen(places[begin : begin + RUN])

    def _places(self, part: Part) -> NDArray[np.intp]:
        near: Any = slice(self.count)
        if self.starts is not None:
            near = _stretches(self.starts[part.begins], self.starts[part.ends])
        x, y = self.rows.column("x_nm")[near], self.rows.column("y_nm")[near]
        inside = np.flatnonzero(part.holds(x, y))
        return inside if self.starts is None else np.asarray(near[inside], np.intp)


def _stretches(begins: NDArray[np.int32], ends: NDArray[np.int32]) -> NDArray[np.intp]:
    """Return the whole numbers of all stretches, begin to end, one after another."""
    lengths = ends - begins
    ahead = np.cumsum(lengths) - lengths
    numbers = np.arange(int(lengths.sum())) + np.repeat(begins - ahead, lengths)
    return np.asarray(numbers, np.intp)


class Grid:
    """The cells that blocks are sorted by."""

    def __init__(self, rect: Rect) -> None:
        self._left, right, self._top, bottom = rect
        self._per_nm = (CELLS / (right - self._left), CELLS / (bottom - self._top))

    def cells(
        self, x_nm: NDArray[np.floating], y_nm: NDArray[np.floating]
    ) -> NDArray[np.uint16]:
        """Return each row's cell; rows outside count to the nearest one."""
        column, row = self._columns(x_nm), self._rows(y_nm)
        cells = row * CELLS + column
        cells[np.isnan(x_nm) | np.isnan(y_nm)] = CELLS * CELLS
        return cells.astype(np.uint16)

    def part(self, rect: Rect) -> Part:
        """Prepare to look for the rows of a rectangle."""
        left, right = self._columns(np.array(rect[:2], np.float64))
        top, bottom = self._rows(np.array(rect[2:], np.float64))
        lines = np.arange(top, bottom + 1, dtype=np.intp) * CELLS
        return Part(rect, lines + left, lines + max(left, right + 1))

    def _columns(self, x_nm: NDArray[np.floating]) -> NDArray[np.int32]:
        return _cell_numbers((x_nm.astype(np.float64) - self._left) * self._per_nm[0])

    def _rows(self, y_nm: NDArray[np.floating]) -> NDArray[np.int32]:
        return _cell_numbers((y_nm.astype(np.float64) - self._top) * self._per_nm[1])


@dataclass(frozen=True, slots=True)
class Part:
    """A rectangle and the cells it touches.

    Attributes
    ----------
    rect : Rect
        Its edges belong to it.
    begins, ends : NDArray[np.intp]
        For each line of cells the first one, and the one after the last.
    """

    rect: Rect
    begins: NDArray[np.intp]
    ends: NDArray[np.intp]

    def holds(
        self, x_nm: NDArray[np.floating], y_nm: NDArray[np.floating]
    ) -> NDArray[np.bool_]:
        """Return which positions lie in it."""
        left, right, top, bottom = self.rect
        inside: NDArray[np.bool_] = x_nm >= left
        inside &= x_nm <= right
        inside &= y_nm >= top
        inside &= y_nm <= bottom
        return inside


def _cell_numbers(place: NDArray[np.float64]) -> NDArray[np.int32]:
    return np.fmin(np.fmax(place, 0), CELLS - 1).astype(np.int32)  # NaN: 0


class RowStore:
    """Every row that came, numbered from 0.

    One writer or reader at a time: `Document.lock`.

    Parameters
    ----------
    rect : Rect
        Edges of the field. Rows outside are kept, too.
    spool : bool
        Keep whole rows in a temporary file. Without it `whole_rows` returns the
        rounded values, and each row needs 4 bytes more.
    """

    def __init__(self, rect: Rect, *, spool: bool = True) -> None:
        self._grid = Grid(rect)
        self._blocks = [Block.open(0)]
        self._unsorted: list[Block] = []
        self._rows = 0
        self._spool = Spool() if spool else None

    def __len__(self) -> int:
        return self._rows

    @property
    def nbytes(self) -> int:
        """Bytes in memory for all rows."""
        return sum(block.nbytes for block in self._blocks)

    @property
    def spool_failure(self) -> str:
        """Why whole rows are no longer kept; empty while they are."""
        return self._spool.failure if self._spool else ""

    def append(self, rows: Localizations, compact: CompactRows | None = None) -> None:
        """Take rows in.

        Parameters
        ----------
        rows : Localizations, shape (n,)
            Copied.
        compact : CompactRows, optional
            The same rows `compacted`, where the caller has them.
        """
        compact = compacted(rows) if compact is None else compact
        if self._spool:
            self._spool.append(rows)
        taken = 0
        while taken < len(compact):
            block = self._blocks[-1]
            if block.count == BLOCK:
                self._blocks.append(Block.open(block.first + BLOCK))
                continue
            taken += block.append(compact.chosen(slice(taken, None)))
            if block.count == BLOCK:
                self._unsorted.append(block)
        self._rows += len(compact)
        if len(self._unsorted) > 1:  # no other thread sorts them
            self.flush()
            for block in self.unsorted():
                self.replace(block, self.sort(block))

    def unsorted(self) -> list[Block]:
        """Return the full blocks that wait to be sorted."""
        return list(self._unsorted)

    def sort(self, block: Block) -> Block:
        """Sort a full block; needs no lock, `replace` does."""
        last = block.first + block.count
        spooled = self._spool is not None and self._spool.written >= last
        return block.sorted(self._grid, keep_order=not spooled)

    def replace(self, block: Block, by: Block) -> None:
        """Put a sorted block in the place of its former self, if that is there."""
        if block in self._unsorted:  # else another thread was faster
            self._unsorted.remove(block)
            self._blocks[block.first // BLOCK] = by

    def flush(self) -> None:
        """Write whole rows that wait; needs no lock, and may wait for the disk."""
        if self._spool:
            self._spool.flush()

    def runs(
        self,
        rect: Rect | None = None,
        *,
        first: int = 0,
        progress: Callable[[float], None] | None = None,
    ) -> Iterator[CompactRows]:
        """Return the rows that are there now, in runs of at most 65,536.

        Parameters
        ----------
        rect : Rect, optional
            Only rows in it, edges included.
        first : int
            Only rows with this number or a higher one.
        progress : callable, optional
            Called before each run with the fraction of all rows seen after it.

        Returns
        -------
        iterator of CompactRows
            Blocks in an order of which every beginning is spread evenly over time.
            Rows that come, or a clearing, while it is in use do not change it: once
            made, it needs no lock.
        """
        blocks = [
            block.as_it_is() if block.first >= first else self._late(block, first)
            for block in self._blocks
            if block.first + block.count > first
        ]
        part = None if rect is None else self._grid.part(rect)
        return self._runs(blocks, part, progress or (lambda _share: None))

    def _runs(
        self,
        blocks: Sequence[Block],
        part: Part | None,
        progress: Callable[[float], None],
    ) -> Iterator[CompactRows]:
        waiting: list[CompactRows] = []
        held, seen, total = 0, 0.0, sum(block.count for block in blocks)
        for number in fair_order(len(blocks)):
            block = blocks[number]
            runs = list(block.within(part))
            for run in runs:
                if held + len(run) > RUN:
                    progress(seen / total)
                    yield joined(waiting)
                    waiting, held = [], 0
                waiting.append(run)
                held += len(run)
                seen += block.count / len(runs)
            seen += 0 if runs else block.count
        if held:
            progress(1.0)
            yield joined(waiting)

    def _late(self, block: Block, first: int) -> Block:
        """Return a block of those of its rows that have number `first` or a higher one.

        A sorted block knows them no more; the temporary file does.
        """
        skipped = first - block.first
        if block.starts is None:
            rows = block.rows.chosen(slice(skipped, block.count))
        elif block.order is not None:
            rows = block.rows.chosen(block.order >= skipped)
        else:
            assert self._spool is not None
            rows = compacted(self._spool.read(first, block.count - skipped))
        return Block(first, rows, len(rows))

    def of_frame(self, frame: int, most: int) -> Localizations:
        """Return whole rows of one frame; none where they are not kept.

        Rows must have come in the order of their frames, as those of a session do.
        """
        if self._spool is None:
            return np.zeros(0, LOCALIZATION)
        return self._spool.of_frame(frame, most)

    def whole_rows(self) -> Iterator[Localizations]:
        """Return the rows that are there now as they came, in order, 65,536 at a time.

        Rows that the temporary file does not hold have rounded values.
        """
        blocks = [block.as_it_is() for block in self._blocks]
        return self._whole_rows(blocks)

    def _whole_rows(self, blocks: Sequence[Block]) -> Iterator[Localizations]:
        for block in blocks:
            compact: CompactRows | None = None
            for begin in range(0, block.count, RUN):
                end = min(begin + RUN, block.count)
                if self._spool and self._spool.kept >= block.first + end:
                    yield self._spool.read(block.first + begin, end - begin)
                    continue
                if compact is None:
                    compact = block.rows
                    if block.order is not None:
                        compact = compact.chosen(np.argsort(block.order))
                yield compact.chosen(slice(begin, end)).whole()

    def close(self) -> None:
        """Delete the temporary file. Idempotent."""
        if self._spool:
            self._spool.close()


def fair_order(count: int) -> list[int]:
    """Order 0..count-1 so that every beginning is spread evenly (van der Corput)."""
    bits = max(1, (count - 1).bit_length())
    reverse = (int(f"{number:0{bits}b}"[::-1], 2) for number in range(2**bits))
    return [number for number in reverse if number < count]
