"""A raw camera frame for the eye: sent now and then, lost without harm."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .localizations import Localizations

PREVIEW_PIXELS = 1 << 20  # of a larger frame, means over squares of pixels are sent
PREVIEW_ROWS = 8_192  # that are sent along; of a frame with more, the first
PER_SECOND = 5.0
BYTES_PER_S = 20e6
SHARE = 0.02  # of the thread's time, at most, goes into copying


@dataclass(frozen=True, slots=True, kw_only=True)
class Preview:
    """The newest localized frame and what was found in it.

    Attributes
    ----------
    seq : int
        Number of the frame in its stream, as in the table.
    pixels : NDArray[np.uint16], shape (height, width)
        Camera counts (ADU); where `binning` is above 1 the means of so many
        pixels in each direction.
    binning : int
        Camera pixels along an edge of one pixel here.
    localizations : Localizations
        The rows of this frame, at most 8192 of them.
    """

    seq: int
    pixels: NDArray[np.uint16]
    binning: int
    localizations: Localizations


class PreviewTaker:
    """Takes a frame now and then and waits for what is found in it.

    At most 5 frames and 20 MB per second, and fewer where copying them would take
    more than 2 % of the time. One thread owns it.
    """

    def __init__(self) -> None:
        self._due_s = 0.0  # monotonic
        self._taken: tuple[int, NDArray[np.uint16], int] | None = None

    def look(self, seq: int, pixels: NDArray[Any]) -> None:
        """Copy a frame, if one is due.

        Parameters
        ----------
        seq : int
            Its number; it has not been localized yet.
        pixels : NDArray, shape (height, width)
            Camera counts, copied.
        """
        began_s = time.monotonic()
        if self._taken is not None or began_s < self._due_s:
            return
        binning = fitting_binning(pixels.shape)
        copy = mean_binned(pixels, binning)
        took_s = time.monotonic() - began_s
        self._due_s = began_s + max(
            1.0 / PER_SECOND, copy.nbytes / BYTES_PER_S, took_s / SHARE
        )
        self._taken = (seq, copy, binning)

    def found(
        self, frames: NDArray[np.int64], localizations: Localizations
    ) -> Preview | None:
        """Return the frame that was taken, once it is among localized ones.

        Parameters
        ----------
        frames : NDArray[np.int64], shape (n,)
            Numbers of frames that were localized, increasing.
        localizations : Localizations
            Of these frames.
        """
        if self._taken is None or not len(frames) or frames[-1] < self._taken[0]:
            return None
        (seq, pixels, binning), self._taken = self._taken, None
        if seq not in frames:
            return None  # the network had no answer for it
        rows = localizations[localizations["frame"] == seq][:PREVIEW_ROWS]
        return Preview(seq=seq, pixels=pixels, binning=binning, localizations=rows)


def fitting_binning(shape: tuple[int, ...]) -> int:
    """Return the smallest whole factor with which a frame is small enough."""
    factor = 1
    while -(-shape[0] // factor) * -(-shape[1] // factor) > PREVIEW_PIXELS:
        factor += 1
    return factor


def mean_binned(pixels: NDArray[Any], factor: int) -> NDArray[np.uint16]:
    """Copy a frame; with `factor` above 1, means over squares of so many pixels.

    Squares that reach over the right or lower edge are means of what is in them.
    """
    if factor == 1:
        return pixels.astype(np.uint16)
    rows = pixels[::factor].astype(np.uint32)
    for first in range(1, min(factor, pixels.shape[0])):
        part = pixels[first::factor]
        rows[: len(part)] += part.astype(np.uint32)
    sums = rows[:, ::factor].copy()
    for first in range(1, min(factor, pixels.shape[1])):
        part = rows[:, first::factor]
        sums[:, : part.shape[1]] += part
    # What is cut off by an edge has fewer pixels. Dividing by one number is quick.
    left_rows, left_columns = (side % factor for side in pixels.shape)
    edges: list[tuple[Any, int]] = []
    if left_rows:
        edges.append((np.s_[-1, :], factor * left_rows))
    if left_columns:
        edges.append((np.s_[:, -1], factor * left_columns))
    if left_rows and left_columns:
        edges.append((np.s_[-1, -1], left_rows * left_columns))
    cut = [(place, sums[place] // number) for place, number in edges]
    sums //= np.uint32(factor * factor)
    for place, values in cut:
        sums[place] = values
    return sums.astype(np.uint16)
