"""What a stack of frames of a still scene says of each pixel, in one pass."""

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


@dataclass(frozen=True, slots=True)
class StackStatistics:
    """Means and variances of every pixel in time.

    Attributes
    ----------
    name : str
        Of the stack, for people.
    frames : int
        At least 2.
    mean : NDArray, shape (height, width)
        Counts.
    variance : NDArray, shape (height, width)
        Counts squared, unbiased.
    covariance : NDArray, shape (height, width)
        Of each pixel with the mean of its frame, counts squared.
    frame_means : NDArray, shape (frames,)
        Mean of each frame, counts.
    histogram : NDArray, shape (65536,)
        How often each count occurs; in large frames among some million of pixels.
    """

    name: str
    frames: int
    mean: NDArray[np.float64]
    variance: NDArray[np.float64]
    covariance: NDArray[np.float64]
    frame_means: NDArray[np.float64]
    histogram: NDArray[np.int64]

    @property
    def shape(self) -> tuple[int, int]:
        """(height, width)."""
        return self.mean.shape[0], self.mean.shape[1]

    @property
    def pile_up(self) -> int | None:
        """The largest count, if it stands for all that is brighter."""
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
            By how much a pixel follows the mean of its frame: its own signal over
            the mean signal where a lamp flickers, 1 where an offset wanders.
        """
        together = float(np.var(self.frame_means, ddof=1))
        left = self.variance - 2 * share * self.covariance + share**2 * together
        # A pixel is part of its frame's mean: so much of its own noise is gone.
        return np.maximum(left, 0.0) / (1 - 1 / max(self.mean.size, 2))


def stack_statistics(name: str, frames: Iterable[NDArray[Any]]) -> StackStatistics:
    """Read a stack once; memory for a few frames, whatever its length.

    Parameters
    ----------
    name : str
        For people.
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
    for frame in frames:
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
    )
