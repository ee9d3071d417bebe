"""Means, variances and correlations of a stack of a still scene, in one pass."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

PILE_UP = 5.0  # times as many counts at the largest as at any close below it
STRIP = 1 << 14  # pixels
COUNTED = 1 << 20  # pixels of a frame that are in the histogram
PILED = 1e-3  # share of all counts
MIDDLE = 512  # pixels: edge of the part whose noise is compared with its neighbours'
FAR = 8  # pixels: no smoothing reaches so far, a flickering lamp does


@dataclass(frozen=True, slots=True)
class StackStatistics:
    """Means and variances of every pixel in time.

    Attributes
    ----------
    name : str
        Name of the stack, for messages.
    frames : int
        Number of frames, at least 2.
    mean : NDArray, shape (height, width)
        Counts.
    variance : NDArray, shape (height, width)
        Counts squared, unbiased.
    covariance : NDArray, shape (height, width)
        Covariance of each pixel with the mean of its frame, counts squared.
    frame_means : NDArray, shape (frames,)
        Mean of each frame, counts.
    histogram : NDArray, shape (65536,)
        Occurrences of each count; in large frames among about a million pixels.
    like_neighbours : float
        Correlation of the noise of pixels side by side, or one above the other, the
        larger one, above that of pixels farther apart: 0 for a camera's counts.
    like_next : float
        Correlation of a pixel's noise in successive frames: 0 for a camera's counts.
    """

    name: str
    frames: int
    mean: NDArray[np.float64]
    variance: NDArray[np.float64]
    covariance: NDArray[np.float64]
    frame_means: NDArray[np.float64]
    histogram: NDArray[np.int64]
    like_neighbours: float
    like_next: float

    @property
    def shape(self) -> tuple[int, int]:
        """(height, width)."""
        return self.mean.shape[0], self.mean.shape[1]

    @property
    def pile_up(self) -> int | None:
        """Saturation level, if brighter counts pile up at the largest one."""
        largest = int(np.flatnonzero(self.histogram)[-1])
        below = self.histogram[max(0, largest - 8) : largest]
        here = int(self.histogram[largest])
        stands_out = below.size and here > PILE_UP * below.max()
        common = here > PILED * self.histogram.sum()  # not one stuck pixel
        return largest if stands_out and common else None

    def share_from(self, count: float) -> float:
        """Share of all counts that are `count` or more."""
        at_or_above = self.histogram[max(0, int(np.ceil(count))) :].sum()
        return float(at_or_above / self.histogram.sum())

    def steadied(self, share: NDArray[np.float64] | float) -> NDArray[np.float64]:
        """Variance of each pixel without what all pixels do together.

        Parameters
        ----------
        share : NDArray or float
            How strongly a pixel follows the mean of its frame: its own signal over
            the mean signal for a flickering lamp, 1 for a wandering offset.
        """
        together = float(np.var(self.frame_means, ddof=1))
        left = self.variance - 2 * share * self.covariance + share**2 * together
        # A pixel is part of its frame's mean: so much of its own noise is gone.
        return np.maximum(left, 0.0) / (1 - 1 / max(self.mean.size, 2))


def stack_statistics(name: str, frames: Iterable[NDArray[Any]]) -> StackStatistics:
    """Read a stack once, with memory for a few frames whatever its length.

    Parameters
    ----------
    name : str
        Name of the stack, for messages.
    frames : Iterable of NDArray, shape (height, width)
        Whole counts, at least two frames.

    Raises
    ------
    ValueError
        Fewer than two frames.
    """
    histogram = np.zeros(65_536, np.int64)
    means: list[float] = []
    first: NDArray[np.float64] | None = None
    likeness = _Likeness()
    for frame in frames:
        likeness.add(frame)
        sparse = frame.ravel()[:: frame.size // COUNTED | 1]
        histogram += np.bincount(sparse, minlength=65_536)
        if first is None:
            first = frame.astype(np.float64)
            total, squares, products = (np.zeros_like(first) for _ in range(3))
            first_mean = float(first.mean())
            strip = max(1, STRIP // frame.shape[1])  # rows: fits the processor's cache
        step = float(frame.mean()) - first_mean
        means.append(step)
        for top in range(0, len(frame), strip):
            rows = slice(top, top + strip)
            change = frame[rows] - first[rows]  # small numbers: nothing cancels below
            total[rows] += change
            products[rows] += change * step
            squares[rows] += change * change
    if first is None or len(means) < 2:
        raise ValueError(f"{name}: {len(means)} frames, needs at least 2")
    n, steps = len(means), np.array(means)
    mean = total / n
    return StackStatistics(
        name=name,
        frames=n,
        mean=first + mean,
        variance=(squares - n * mean**2) / (n - 1),
        covariance=(products - n * mean * steps.mean()) / (n - 1),
        frame_means=steps + first_mean,
        histogram=histogram,
        like_neighbours=likeness.of_neighbours,
        like_next=likeness.of_next,
    )


class _Likeness:
    """Compares changes from frame to frame with those beside them and after them."""

    def __init__(self) -> None:
        self._last: NDArray[np.float64] | None = None
        self._change: NDArray[np.float64] | None = None
        self._square, self._changes, self._follow, self._pairs = 0.0, 0, 0.0, 0
        self._beside = np.zeros((2, 2))  # axis, near or far

    def add(self, frame: NDArray[Any]) -> None:
        """Take the next frame."""
        top, left = (max(0, side - MIDDLE) // 2 for side in frame.shape)
        part = frame[top : top + MIDDLE, left : left + MIDDLE].astype(np.float64)
        if self._last is not None:
            change = part - self._last
            change -= change.mean()
            self._square += float(np.mean(change**2))
            self._changes += 1
            for axis, turned in enumerate((change, change.T)):
                for k, step in enumerate((1, FAR)):
                    if len(turned) > step:
                        product = turned[step:] * turned[:-step]
                        self._beside[axis, k] += float(product.mean())
            if self._change is not None:
                self._follow += float(np.mean(change * self._change))
                self._pairs += 1
            self._change = change
        self._last = part

    @property
    def of_neighbours(self) -> float:
        """See `StackStatistics.like_neighbours`."""
        if self._square <= 0:
            return 0.0
        return float(np.max(self._beside[:, 0] - self._beside[:, 1]) / self._square)

    @property
    def of_next(self) -> float:
        """See `StackStatistics.like_next`: changes of white noise correlate by -0.5."""
        if self._square <= 0 or not self._pairs:
            return 0.0
        square = self._square / self._changes
        return 0.5 + self._follow / self._pairs / square
