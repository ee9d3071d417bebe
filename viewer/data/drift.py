"""Drift of the sample, from the localizations themselves.

Redundant cross-correlation (Wang et al. 2014, Opt. Express 22, 15982): the movie is
cut into segments, the pictures of every two segments are laid over each other, and
the drift that explains all those shifts best is found by least squares.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from liveloc.stream.errors import SettingsError

from ..image.layers import binned
from .drift_curve import Drift

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from ..image.viewport import Rect
    from .document import Document

LEAST_SEGMENTS, MOST_SEGMENTS = 3, 20
LEAST_ROWS = 200  # of a segment: fewer give no picture to lay over another
FITTING_ROWS = 1_000  # of a segment, where the number of segments is free
MOST_ROWS = 1_000_000  # looked at; of more, every n-th
FIELD_NM = 25_000.0  # looked at, of a larger field where most rows are
COARSER = 8  # super-pixels: steps in which that part is looked for
PIXEL_NM = 25.0  # of the pictures that are correlated
LARGEST_SHIFT_NM = 1500.0  # between two segments
SLOW = 10.0  # pixels, sigma: what varies more slowly has no say
WINDOW = 2.0  # pixels, sigma of the window that a peak is centred in
OUTLIER_NM = 20.0  # a shift that misses the common answer by more is left out


def estimate_drift(
    document: Document,
    segments: int | None = None,
    *,
    progress: Callable[[float], None] | None = None,
) -> Drift:
    """Estimate the drift of the rows that are selected.

    Blocks for some seconds whatever the number of rows: what is correlated are up to
    a million rows of the 25 um where most rows are. The document is locked for
    moments only.

    Parameters
    ----------
    document : Document
        Its positions are taken as they came, without the correction made now.
    segments : int, optional
        Into how many pieces of equally many rows the movie is cut, at least 3.
        Default: as many as have 1,000 rows each, 3 to 20; fewer, where their
        pictures do not fit onto each other.
    progress : callable, optional
        Called now and then with the fraction done, 0 to 1.

    Raises
    ------
    SettingsError
        There are too few rows, or they have nothing in common.
    """
    report = progress or (lambda _share: None)
    frame, x_nm, y_nm = _sample(document, lambda share: report(0.3 * share))
    return drift_of(
        frame, x_nm, y_nm, segments, progress=lambda share: report(0.3 + 0.7 * share)
    )


def drift_of(
    frame: NDArray[np.integer[Any]],
    x_nm: NDArray[np.floating],
    y_nm: NDArray[np.floating],
    segments: int | None = None,
    *,
    progress: Callable[[float], None] | None = None,
) -> Drift:
    """Estimate the drift from these rows; see `estimate_drift`."""
    number = _segments(len(frame), segments)
    order = np.argsort(frame, kind="stable")
    if frame[order[0]] == frame[order[-1]]:
        raise SettingsError(
            "drift: all rows are in one frame; it needs a movie. Widen the frame range."
        )
    report = progress or (lambda _share: None)
    while True:
        pieces = np.array_split(order, number)
        try:
            places = _places(_Pictures(x_nm, y_nm, pieces), number, report)
            break
        except SettingsError:  # longer segments have more structure in each
            if segments is not None or number == LEAST_SEGMENTS:
                raise
            number = max(LEAST_SEGMENTS, number // 2)
    times = np.array([float(np.mean(frame[piece])) for piece in pieces])
    return _curve(times, places, int(frame[order[0]]), int(frame[order[-1]]))


def _places(
    pictures: _Pictures, segments: int, progress: Callable[[float], None]
) -> NDArray[np.float64]:
    """Lay every two pictures over each other; give the places of all, in nm."""
    pairs = [(i, j) for i in range(segments) for j in range(i + 1, segments)]
    shifts = np.empty((len(pairs), 2))
    for number, (first, second) in enumerate(pairs):
        shifts[number] = pictures.shift(first, second)
        progress((number + 1) / len(pairs))
    return _common_answer(segments, pairs, shifts * PIXEL_NM)


def _segments(rows: int, asked: int | None) -> int:
    least = LEAST_SEGMENTS if asked is None else asked
    if least < LEAST_SEGMENTS:
        raise SettingsError(
            f"drift: {asked} segments, at least {LEAST_SEGMENTS} are needed."
        )
    if rows < least * LEAST_ROWS:
        raise SettingsError(
            f"drift: {rows:,} rows are selected, {least} segments need at least "
            f"{least * LEAST_ROWS:,}. Record longer, or select more rows"
            + (" or fewer segments." if asked else ".")
        )
    if asked is not None:
        return asked
    return max(LEAST_SEGMENTS, min(MOST_SEGMENTS, rows // FITTING_ROWS))


def _sample(
    document: Document, progress: Callable[[float], None]
) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]:
    """Copy out (frame, x, y) of up to `MOST_ROWS` rows, every n-th of the best area."""
    while document.work(0.05):  # the image is asked where most of them are
        pass
    with document.lock:
        rect, expected = _busiest(document)
        runs = document.store.runs(rect)
    step = max(1, -(-expected // MOST_ROWS))
    parts: list[tuple[NDArray[Any], ...]] = []
    seen = 0
    for run in runs:
        seen += len(run)
        with document.lock:
            shown, x_nm, y_nm = document.shown(run.chosen(slice(None, None, step)))
            made = document.drift
        frame = shown.column("frame").astype(np.int64)
        if made is not None:
            dx, dy = made.at(frame)
            x_nm, y_nm = x_nm + dx, y_nm + dy
        left, right, top, bottom = rect
        within = (x_nm >= left) & (x_nm < right) & (y_nm >= top) & (y_nm < bottom)
        parts.append((frame[within], x_nm[within], y_nm[within]))
        progress(min(1.0, seen / max(1, expected)))
    if not parts:
        return np.zeros(0, np.int64), np.zeros(0), np.zeros(0)
    frame, x_nm, y_nm = (np.concatenate(column) for column in zip(*parts, strict=True))
    return frame, x_nm, y_nm


def _busiest(document: Document) -> tuple[Rect, int]:
    """Find the part of the field of at most `FIELD_NM` with most rows; count them."""
    image = document.image
    counts = binned(image.counts, COARSER).astype(np.float64)
    pixel_nm = image.super_pixel_nm * COARSER
    height, width = counts.shape
    side = max(1, int(FIELD_NM / pixel_nm))
    tall, wide = min(side, height), min(side, width)
    sums = np.zeros((height + 1, width + 1))
    np.cumsum(np.cumsum(counts, axis=0), axis=1, out=sums[1:, 1:])
    inside = (
        sums[tall:, wide:]
        - sums[:-tall, wide:]
        - sums[tall:, :-wide]
        + sums[:-tall, :-wide]
    )
    row, column = np.unravel_index(int(inside.argmax()), inside.shape)
    left, _, top, _ = image.extent_nm
    left += float(column) * pixel_nm
    top += float(row) * pixel_nm
    right = left + wide * pixel_nm
    bottom = top + tall * pixel_nm
    return (left, right, top, bottom), int(inside.max())


class _Pictures:
    """The segments' histograms, transformed, to be laid over each other."""

    def __init__(
        self,
        x_nm: NDArray[np.floating],
        y_nm: NDArray[np.floating],
        pieces: list[NDArray[np.intp]],
    ) -> None:
        from scipy import fft

        column = ((x_nm - x_nm.min()) / PIXEL_NM).astype(np.intp)
        row = ((y_nm - y_nm.min()) / PIXEL_NM).astype(np.intp)
        self._reach = math.ceil(LARGEST_SHIFT_NM / PIXEL_NM)
        shape = (int(row.max()) + 1, int(column.max()) + 1)
        self._padded = tuple(
            fft.next_fast_len(side + self._reach, real=True) for side in shape
        )
        self._transforms = []
        passed = _structure(self._padded)
        for piece in pieces:
            picture = np.zeros(self._padded, np.float32)
            np.add.at(picture, (row[piece], column[piece]), np.float32(1))
            np.sqrt(picture, out=picture)  # a bead must not drown everything else
            self._transforms.append(fft.rfft2(picture) * passed)

    def shift(self, first: int, second: int) -> tuple[float, float]:
        """Return how far (x, y) the second picture is from the first, in pixels."""
        from scipy import fft
        from scipy.ndimage import gaussian_filter

        product = np.conj(self._transforms[first]) * self._transforms[second]
        overlap = fft.irfft2(product, s=self._padded)
        reach = self._reach
        around = np.arange(-reach, reach + 1)
        near = overlap[np.ix_(around, around)].astype(np.float64)
        peak = gaussian_filter(near, 1.0, mode="constant")
        row, column = np.unravel_index(int(peak.argmax()), peak.shape)
        part = 4 * math.ceil(WINDOW)
        top, left = max(0, int(row) - part), max(0, int(column) - part)
        near = near[top : top + 2 * part + 1, left : left + 2 * part + 1]
        y, x = _centre(near, float(row - top), float(column - left))
        return x + left - reach, y + top - reach


def _structure(shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Return the filter that removes what varies slowly: the illumination."""
    from scipy import fft

    down, across = fft.fftfreq(shape[0]), fft.rfftfreq(shape[1])
    frequency = 2 * np.pi * np.hypot(down[:, None], across)
    smooth = np.exp(-0.5 * (SLOW * frequency) ** 2)
    return np.asarray(np.sqrt(1.0 - smooth), np.float32)


def _centre(
    image: NDArray[np.float64], row: float, column: float
) -> tuple[float, float]:
    """Find the centre of a peak: where a Gaussian window around it is balanced."""
    rows, columns = np.arange(image.shape[0]), np.arange(image.shape[1])
    for _ in range(50):
        across = np.exp(-0.5 * ((columns - column) / WINDOW) ** 2)
        down = np.exp(-0.5 * ((rows - row) / WINDOW) ** 2)
        weight = np.maximum(image, 0.0) * down[:, None] * across
        total = float(weight.sum())
        if total <= 0:
            break
        move_row = float((weight.sum(axis=1) * (rows - row)).sum()) / total
        move_column = float((weight.sum(axis=0) * (columns - column)).sum()) / total
        row, column = row + move_row, column + move_column
        if abs(move_row) + abs(move_column) < 1e-4:
            break
    return row, column


def _common_answer(
    segments: int, pairs: list[tuple[int, int]], shifts_nm: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Find the places of all segments that explain the shifts best; shape (n, 2)."""
    design = np.zeros((len(pairs), segments))
    for number, (first, second) in enumerate(pairs):
        design[number, first], design[number, second] = -1.0, 1.0
    design = design[:, 1:]  # the first segment is where it is
    kept = np.ones(len(pairs), np.bool_)
    while True:
        places = np.linalg.lstsq(design[kept], shifts_nm[kept], rcond=None)[0]
        missed = np.hypot(*(shifts_nm - design @ places).T)
        worst = int(np.argmax(np.where(kept, missed, -1.0)))
        if missed[worst] <= OUTLIER_NM:
            return np.vstack([np.zeros((1, 2)), places])
        kept[worst] = False
        few = kept.sum() < max(segments, 0.5 * len(pairs))  # anything fits so few
        if few or np.linalg.matrix_rank(design[kept]) < segments - 1:
            raise SettingsError(
                f"drift: the pictures of {segments} segments do not fit onto each "
                f"other within {OUTLIER_NM:g} nm: too little structure in each. Use "
                "fewer segments, or select more rows."
            )


def _curve(
    times: NDArray[np.float64], places_nm: NDArray[np.float64], first: int, last: int
) -> Drift:
    """Lay a curve through the segments, straight beyond the outer ones."""
    from scipy.interpolate import PchipInterpolator

    frames = np.unique(np.linspace(first, last, 16 * len(times) + 1).round())
    times, known = np.unique(times, return_index=True)
    through = PchipInterpolator(times, places_nm[known])
    slope = through.derivative()
    within = np.clip(frames, times[0], times[-1])
    curve = through(within) + slope(within) * (frames - within)[:, None]
    curve -= curve.mean(axis=0)
    return Drift(frames.astype(np.int64), curve[:, 0].copy(), curve[:, 1].copy())
