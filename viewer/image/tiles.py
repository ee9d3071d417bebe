"""The picture in squares of 256 x 256 pixels, at full scale and at halves of it.

Every level is a sum of whole numbers over the level below: no count is lost and none
is rounded, so zooming out shows what is there. Few rows are added to all levels at
once; after many, tiles are summed anew when requested.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

TILE = 256  # pixels a side
TILE_BITS = 8
DEPTH_STEPS_PER_NM = 16  # depths are summed in whole sixteenths of a nm
LOGGED = 65_536  # rows, at most, whose pixels are remembered one by one
FEW = 16  # adding a row to the levels costs about as much as summing this many pixels


class Sums:
    """Counts and depths of one level.

    Attributes
    ----------
    counts : NDArray[np.uint32], shape (height, width)
        Rows in each pixel.
    depth_steps : NDArray[np.int64] or None
        Sum of their z in sixteenths of a nm; None until one is not 0.
    depthless : NDArray[np.uint32] or None
        How many of them have no z; None until there is one.
    """

    def __init__(self, shape: tuple[int, int]) -> None:
        self.counts: NDArray[np.uint32] = np.zeros(shape, np.uint32)
        self.depth_steps: NDArray[np.int64] | None = None
        self.depthless: NDArray[np.uint32] | None = None

    def add(
        self,
        pixels: NDArray[np.intp],
        steps: NDArray[np.int64] | None,
        known: NDArray[np.bool_] | None,
    ) -> None:
        """Add rows.

        Parameters
        ----------
        pixels : NDArray[np.intp]
            Flat index of each row's pixel.
        steps : NDArray[np.int64] or None
            Depth of each row that has one; None: all are 0.
        known : NDArray[np.bool_] or None
            Which rows have a depth; None: all.
        """
        np.add.at(self.counts.reshape(-1), pixels, np.uint32(1))
        if known is not None:
            if self.depthless is None:
                self.depthless = np.zeros_like(self.counts)
            np.add.at(self.depthless.reshape(-1), pixels[~known], np.uint32(1))
            pixels = pixels[known]
        if steps is not None:
            if self.depth_steps is None:
                self.depth_steps = np.zeros(self.counts.shape, np.int64)
            np.add.at(self.depth_steps.reshape(-1), pixels, steps)

    def values(
        self, place: tuple[Any, Any]
    ) -> tuple[NDArray[np.uint32], NDArray[np.float32] | None]:
        """Return the counts of some pixels, and the sum of z in nm if there is any z.

        Rows without z count as if they had the mean of the others.
        """
        counts = self.counts[place]
        if self.depth_steps is None:
            return counts, None
        depth = self.depth_steps[place].astype(np.float32)
        depth *= np.float32(1.0 / DEPTH_STEPS_PER_NM)
        if self.depthless is not None:
            depth *= counts / np.maximum(counts - self.depthless[place], 1)
        return counts, depth

    def clear(self) -> None:
        """Forget every row."""
        self.counts[...] = 0
        self.depth_steps = self.depthless = None

    def sum_up(self, fine: Sums, rows: slice, columns: slice) -> None:
        """Sum pixels of the level below into these rows and columns."""
        place = rows, columns
        below = (
            slice(2 * rows.start, 2 * rows.stop),
            slice(2 * columns.start, 2 * columns.stop),
        )
        self.counts[place] = _halved(fine.counts[below])
        if fine.depth_steps is not None:
            if self.depth_steps is None:
                self.depth_steps = np.zeros(self.counts.shape, np.int64)
            self.depth_steps[place] = _halved(fine.depth_steps[below])
        if fine.depthless is not None:
            if self.depthless is None:
                self.depthless = np.zeros_like(self.counts)
            self.depthless[place] = _halved(fine.depthless[below])


class Tiles:
    """The levels above a reconstruction's own pixels.

    They take a third of the memory that the image itself takes (4 bytes a pixel, 12
    with depth), once a tile of level 1 or higher was asked for.

    Parameters
    ----------
    finest : Sums
        Level 0, filled by the caller.

    Attributes
    ----------
    levels : int
        Level k has pixels of 2**k x 2**k super-pixels; the last one is one tile.
    """

    def __init__(self, finest: Sums) -> None:
        height, width = finest.counts.shape
        self.levels = 1
        while max(height, width) > TILE << (self.levels - 1):
            self.levels += 1
        self._sums: list[Sums | None] = [finest] + [None] * (self.levels - 1)
        self._shapes = [_halves((height, width), level) for level in range(self.levels)]
        self._versions = [
            np.zeros(self.shape(level), np.int64) for level in range(self.levels)
        ]
        self._stale = [
            np.ones(self.shape(level), np.bool_) for level in range(self.levels)
        ]
        self._stale[0][...] = False
        self._since_read = 0
        self._log: deque[tuple[int, NDArray[np.intp], NDArray[np.intp]]] = deque()
        self._logged = 0
        self._log_begins = 0  # every pixel that changed after this version is in it

    def shape(self, level: int) -> tuple[int, int]:
        """Return the rows and columns of tiles in a level."""
        height, width = self._shapes[level]
        return -(-height // TILE), -(-width // TILE)

    def version(self, level: int, row: int, column: int) -> int:
        """Return a number that changes, and grows, when the tile does."""
        return int(self._versions[level][row, column])

    def versions(self, level: int) -> NDArray[np.int64]:
        """Return `version` of all tiles of a level. Read it, do not write it."""
        return self._versions[level]

    def tile(self, level: int, row: int, column: int) -> NDArray[np.float32]:
        """Make the picture of a tile.

        Returns
        -------
        NDArray[np.float32], shape (256, 256, 2)
            Counts, and the sum of z in nm: their quotient is the mean z of the rows
            that have one. 0 beyond the edge of the field.
        """
        self._refresh(level, row, column)
        place = _pixels_of(row), _pixels_of(column)
        counts, depth = self._level(level).values(place)
        height, width = counts.shape
        out = np.zeros((TILE, TILE, 2), np.float32)
        out[:height, :width, 0] = counts
        if depth is not None:
            out[:height, :width, 1] = depth
        return out

    def renew(
        self,
        picture: NDArray[np.float32],
        level: int,
        row: int,
        column: int,
        since: int,
    ) -> bool:
        """Bring the picture of a tile up to date where it has changed.

        Parameters
        ----------
        picture : NDArray[np.float32], shape (256, 256, 2)
            As `tile` made it; changed in place.
        level, row, column : int
            Where it is.
        since : int
            Its version then.

        Returns
        -------
        bool
            False when too much has changed since: `tile` makes it anew.
        """
        if since < self._log_begins:
            return False
        self._refresh(level, row, column)
        sums = self._level(level)
        for version, rows, columns in reversed(self._log):
            if version <= since:
                break
            y, x = rows >> level, columns >> level
            here = (y >> TILE_BITS == row) & (x >> TILE_BITS == column)
            place = y[here], x[here]
            at = place[0] - row * TILE, place[1] - column * TILE
            picture[*at, 0], depth = sums.values(place)
            if depth is not None:
                picture[*at, 1] = depth
        return True

    def counts(self, level: int) -> NDArray[np.uint32]:
        """Return all counts of a level, up to date. Read them, do not write them."""
        for row, column in np.argwhere(self._stale[level]):
            self._refresh(level, row, column)
        return self._level(level).counts

    def add(
        self,
        row: NDArray[np.intp],
        column: NDArray[np.intp],
        steps: NDArray[np.int64] | None,
        known: NDArray[np.bool_] | None,
        version: int,
    ) -> None:
        """Note rows that were added to level 0, at these of its pixels."""
        across = self.shape(0)[1]
        touched = np.zeros(self._versions[0].size, np.bool_)
        touched[(row >> TILE_BITS) * across + (column >> TILE_BITS)] = True
        tile_row, tile_column = np.divmod(np.flatnonzero(touched), across)
        self._since_read += row.size
        few = self._since_read * FEW <= self._sums_size()
        self._remember(version, row, column)
        for level in range(self.levels):
            place = tile_row >> level, tile_column >> level
            self._versions[level][place] = version
            if level == 0:
                continue
            if few and self._sums[level] is not None:
                width = self._shapes[level][1]
                pixels = (row >> level) * width + (column >> level)
                self._level(level).add(pixels, steps, known)
            else:
                self._stale[level][place] = True

    def clear(self, version: int) -> None:
        """Note that level 0 is empty again."""
        self._forget(version)
        for level in range(self.levels):
            self._versions[level][...] = version
            if level:
                self._sums[level] = None
                self._stale[level][...] = True

    def _remember(
        self, version: int, row: NDArray[np.intp], column: NDArray[np.intp]
    ) -> None:
        """Log the pixels of few rows; many are not worth it."""
        if row.size > LOGGED // 8:
            self._forget(version)
            return
        self._log.append((version, row, column))
        self._logged += row.size
        while self._logged > LOGGED:
            self._log_begins, oldest, _ = self._log.popleft()
            self._logged -= oldest.size

    def _forget(self, version: int) -> None:
        """Begin the log anew: what changed up to this version is not in it."""
        self._log.clear()
        self._logged, self._log_begins = 0, version

    def _sums_size(self) -> int:
        finest = self._sums[0]
        assert finest is not None
        return finest.counts.size

    def _level(self, level: int) -> Sums:
        sums = self._sums[level]
        if sums is None:
            sums = self._sums[level] = Sums(self._shapes[level])
        return sums

    def _refresh(self, level: int, row: int, column: int) -> None:
        """Sum a tile anew if it is stale, and first what it is the sum of."""
        if level == 0:
            return
        self._since_read = 0
        if not self._stale[level][row, column]:
            return
        rows, columns = self.shape(level - 1)
        for below_row in range(2 * row, min(2 * row + 2, rows)):
            for below_column in range(2 * column, min(2 * column + 2, columns)):
                self._refresh(level - 1, below_row, below_column)
        fine = self._level(level - 1)
        self._level(level).sum_up(fine, _pixels_of(row), _pixels_of(column))
        self._stale[level][row, column] = False


def _pixels_of(tile: int) -> slice:
    return slice(tile * TILE, (tile + 1) * TILE)


def _halves(shape: tuple[int, int], level: int) -> tuple[int, int]:
    step = 1 << level
    return -(-shape[0] // step), -(-shape[1] // step)


def _halved(fine: NDArray[Any]) -> NDArray[Any]:
    """Add up 2 x 2 pixels; the last ones may be cut off by the edge."""
    height, width = fine.shape
    lines = fine[::2].copy()
    lines[: height // 2] += fine[1::2]
    out: NDArray[Any] = lines[:, ::2].copy()
    out[:, : width // 2] += lines[:, 1::2]
    return out
