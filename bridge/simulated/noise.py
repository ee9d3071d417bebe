"""Shot and read noise from tables: the same numbers in a fraction of the time."""

from __future__ import annotations

import functools
import math
from statistics import NormalDist
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

TABLE_MEAN = 48.0  # above it pixels are few, and NumPy's own generator draws them
LEVELS_PER_UNIT = 16  # tables are for means 0, 1/16, 2/16, ...
COUNTS = 128  # a mean of 48 gives 128 or more once in 1e20 draws
COUNT_BITS = 7
QUANTILES = 2**16


class TableNoise:
    """Noise for NumPy arrays, for the one camera that runs in real time.

    A Poisson number of mean m is drawn as the sum of two: one of the next lower
    multiple of 1/16, from an alias table (A. J. Walker, ACM Trans. Math. Softw. 3,
    253 (1977)), and one of the rest. For the rests, events are thrown on all pixels
    alike, 1/16 per pixel, and each is kept with the probability of its pixel.
    A random word resolves the chances to 2^-25. A normal number is one of 65,536
    quantiles; the outermost two stand for the tails and are drawn from these.

    Parameters
    ----------
    rng : np.random.Generator
        Owned by the caller.
    """

    def __init__(self, rng: np.random.Generator) -> None:
        self._rng = rng
        self._poisson = _poisson_tables()  # once in a process, before time counts
        self._normal = _normal_quantiles()

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

    def _words(self, count: int, kind: type[np.unsignedinteger[Any]]) -> NDArray[Any]:
        """Draw random words of all bits of a type."""
        raw = self._rng.bit_generator.random_raw(-(-count * kind().itemsize // 8))
        return np.asarray(raw, np.uint64).view(kind)[:count]

    def _from_tables(self, level: NDArray[np.intp]) -> NDArray[np.float32]:
        """Draw Poisson counts of mean ``level / LEVELS_PER_UNIT``."""
        word = self._words(level.size, np.uint32)
        column = word & np.uint32(COUNTS - 1)
        entry = self._poisson.take((level << COUNT_BITS) + column)
        stays = word < entry
        entry &= np.uint32(COUNTS - 1)
        drawn = entry ^ ((entry ^ column) * stays)  # where it stays the column, else it
        return np.asarray(drawn, np.float32)

    def _events(self, scaled: NDArray[Any]) -> NDArray[np.intp]:
        """Draw on which pixels the events of ``scaled / LEVELS_PER_UNIT`` happen."""
        thrown = self._rng.poisson(scaled.size / LEVELS_PER_UNIT)
        place = self._rng.integers(0, scaled.size, thrown)
        return place[self._rng.random(thrown) < scaled[place]]

    def normal(self, like: NDArray[Any]) -> NDArray[np.float32]:
        """Draw standard normal float32 numbers."""
        word = self._words(like.size, np.uint16)
        drawn = self._normal.take(word)
        for place in np.flatnonzero((word == 0) | (word == QUANTILES - 1)):
            beyond = NormalDist().inv_cdf((1 - self._rng.random()) / QUANTILES)
            drawn[place] = beyond if word[place] == 0 else -beyond
        return drawn.reshape(like.shape)

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


@functools.cache
def _normal_quantiles() -> NDArray[np.float32]:
    """Tabulate the normal distribution at the middles of equal shares."""
    inverse = NormalDist().inv_cdf
    lower = np.array([inverse((i + 0.5) / QUANTILES) for i in range(QUANTILES // 2)])
    return np.concatenate([lower, -lower[::-1]]).astype(np.float32)
