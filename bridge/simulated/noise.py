"""Shot noise from tables: the same distribution in a fraction of the time."""

from __future__ import annotations

import functools
import math
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

TABLE_MEAN = 48.0  # above it pixels are few, and NumPy's own generator draws them
LEVELS_PER_UNIT = 16  # tables are for means 0, 1/16, 2/16, ...
COUNTS = 128  # a mean of 48 gives 128 or more once in 1e20 draws
COUNT_BITS = 7


class TableNoise:
    """Noise for NumPy arrays, for the one camera that runs in real time.

    A Poisson number of mean m is drawn as the sum of two: one of the next lower
    multiple of 1/16, from an alias table (A. J. Walker, ACM Trans. Math. Softw. 3,
    253 (1977)), and one of the rest. The rests of all pixels are one Poisson number
    of events, thrown on the pixels in proportion. A random word of 32 bits resolves
    the chances to 2^-25.

    Parameters
    ----------
    rng : np.random.Generator
        Owned by the caller.
    """

    def __init__(self, rng: np.random.Generator) -> None:
        self._rng = rng
        self._tables = _poisson_tables()  # once in a process, before time counts

    def poisson(self, mean: NDArray[Any]) -> NDArray[np.float32]:
        """Draw Poisson counts as float32."""
        flat = mean.ravel()
        bright = np.flatnonzero(flat >= TABLE_MEAN)
        if 4 * len(bright) > flat.size:
            return self._rng.poisson(mean).astype(np.float32)
        scaled = flat * np.float32(LEVELS_PER_UNIT)
        scaled[bright] = 0
        level = scaled.astype(np.intp)
        counts = self._from_tables(level)
        scaled -= level
        np.add.at(counts, self._events(scaled), np.float32(1))
        counts[bright] = self._rng.poisson(flat[bright])
        return counts.reshape(mean.shape)

    def _from_tables(self, level: NDArray[np.intp]) -> NDArray[np.float32]:
        """Draw Poisson counts of mean ``level / LEVELS_PER_UNIT``."""
        word = self._rng.integers(0, 2**32, level.size, np.uint32)
        column = word & np.uint32(COUNTS - 1)
        entry = self._tables.take((level << COUNT_BITS) + column)
        drawn = np.where(word >= entry, entry & np.uint32(COUNTS - 1), column)
        return drawn.astype(np.float32)

    def _events(self, scaled: NDArray[Any]) -> NDArray[np.intp]:
        """Draw on which pixels the events of ``scaled / LEVELS_PER_UNIT`` happen."""
        until = np.cumsum(scaled, dtype=np.float64)
        total = float(until[-1])
        count = self._rng.poisson(total / LEVELS_PER_UNIT)
        happen = np.sort(self._rng.random(count)) * total  # sorted: found faster
        place = np.searchsorted(until, happen, side="right")
        return np.minimum(place, scaled.size - 1)

    def normal(self, like: NDArray[Any]) -> NDArray[np.float32]:
        """Draw standard normal float32 numbers."""
        return self._rng.standard_normal(like.shape, dtype=np.float32)

    def gamma(self, shape: NDArray[Any]) -> NDArray[np.float32]:
        """Draw Gamma numbers of scale 1 as float32, 0 where `shape` is 0."""
        return self._rng.standard_gamma(shape).astype(np.float32)


@functools.cache
def _poisson_tables() -> NDArray[np.uint32]:
    """Build alias tables, one row of `COUNTS` for each mean; flattened.

    The low bits of a random word choose an entry. It is kept if the word is below the
    table's, else it becomes the count in the low bits of that.
    """
    means = np.arange(1, round(TABLE_MEAN * LEVELS_PER_UNIT))[:, None] / LEVELS_PER_UNIT
    counts = np.arange(COUNTS)
    factorials = np.array([math.lgamma(count + 1) for count in counts])
    chance = np.exp(counts * np.log(means) - means - factorials)
    chance = np.concatenate([[counts == 0], chance])  # the first is of mean 0
    share = chance / chance.sum(1, keepdims=True) * COUNTS
    rows = np.arange(len(share))
    stay, other = np.ones_like(share), np.tile(counts, (len(rows), 1))
    for _ in range(COUNTS - 1):  # the poorest entry is filled up by the richest
        poor, rich = share.argmin(1), np.where(share < np.inf, share, -1).argmax(1)
        stay[rows, poor], other[rows, poor] = share[rows, poor], rich
        share[rows, rich] -= 1 - share[rows, poor]
        share[rows, poor] = np.inf
    fine = 2.0 ** (32 - COUNT_BITS)
    kept = np.clip(np.rint(stay * fine), 0, fine - 1).astype(np.uint32)
    entries: NDArray[np.uint32] = (kept << np.uint32(COUNT_BITS)) | other.astype(
        np.uint32
    )
    return entries.ravel()
