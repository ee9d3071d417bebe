"""One view being drawn, run by run of rows."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from ..data.region import stored_rect
from ..image.gaussians import REACH, splat
from ..image.layers import Layers
from ..image.reconstruction import DEEPEST_NM
from ..image.viewport import Viewport

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from ..data.document import Document
    from ..data.row_store import CompactRows
    from ..image.colouring import DisplaySettings
    from ..image.viewport import Rect

FINEST = 3.0  # pixels per sigma: more would show nothing more
FILTERED_FROM = 2.0  # pixels per sigma that make equal Gaussians of a filter
FILTERED_ROWS = 100_000  # in view: so many are filtered, good to 3 % of one row's peak


def width_of(look: DisplaySettings, document: Document) -> float:
    """Return the Gaussians' sigma in nm: in mode ``sigma`` the median; 0: none."""
    if look.mode == "histogram":
        return 0.0
    if look.mode == "sigma":
        median = document.columns.percentile("lateral_sigma_nm", 50.0)
        return median if median > 0 else look.width_nm
    return look.width_nm


def coarsened(
    viewport: Viewport, look: DisplaySettings, document: Document
) -> Viewport:
    """Return pixels a whole factor larger where finer ones would show nothing more."""
    factor = math.floor(width_of(look, document) / FINEST / viewport.pixel_nm)
    if factor <= 1:
        return viewport
    height, width = viewport.shape
    return replace(
        viewport,
        pixel_nm=viewport.pixel_nm * factor,
        shape=(-(-height // factor), -(-width // factor)),
    )


class Drawing:
    """Draws a viewport, 65,536 rows at a time; make it with the document locked.

    Attributes
    ----------
    revision : int
        The document's when the last rows were drawn.
    share : float
        Of the rows drawn, 0 to 1.
    finished : bool
        Every row that there was is drawn.
    fresh : bool
        Rows were drawn since this was last set False.
    published : bool
        For the painter.
    """

    def __init__(
        self, document: Document, look: DisplaySettings, viewport: Viewport
    ) -> None:
        self.viewport = viewport
        self.mode = look.mode
        self.revision = document.revision
        self.share = 0.0
        self.finished = self.published = False
        self.fresh = True
        self._document = document
        self._image = document.image
        self._look = look
        self._rect = _reaching_in(look, viewport, document)
        self._has_depth = document.columns.has_depth
        self._grid = _filter_grid(look, viewport, document)
        self._canvas = self._grid.canvas if self._grid else viewport
        self._counts = np.zeros(self._canvas.shape, np.float32)
        self._depth_sum: NDArray[np.float32] | None = None
        if self._has_depth:
            self._depth_sum = np.zeros(self._canvas.shape, np.float32)
        self._depth_counts: NDArray[np.float32] | None = None  # until a z is NaN
        self._begun = 0  # rows before this one are drawn or on their way
        self._looked_at = 0.0
        self._runs: Iterator[CompactRows] | None = None

    @property
    def valid(self) -> bool:
        """Whether what is drawn is still part of what is to be shown."""
        image = self._document.image
        return (
            image is self._image
            and self._document.columns.has_depth == self._has_depth
            and len(self._document.store) >= self._begun
        )

    @property
    def caught_up(self) -> bool:
        """Whether every row that there was at the last look is drawn."""
        return self._runs is None

    @property
    def complete(self) -> bool:
        """Whether every row there is now is drawn."""
        nothing_new = len(self._document.store) == self._begun
        return nothing_new and self.caught_up and self.finished and self.valid

    def draws(self, look: DisplaySettings, viewport: Viewport) -> bool:
        """Return whether these would be drawn the same way."""
        return viewport == self.viewport and (look.mode, look.width_nm) == (
            self.mode,
            self._look.width_nm,
        )

    def step(self) -> bool:
        """Draw the next rows; False when there are none."""
        run = self._next_run()
        if run is None:
            return False
        self._draw(*self._document.shown(run))
        self.fresh = True
        if not self.finished:
            self.share = self._looked_at
        return True

    def _next_run(self) -> CompactRows | None:
        """Return rows that are not yet drawn; locks the document for a moment only."""
        if self._runs is None:
            with self._document.lock:
                store, self.revision = self._document.store, self._document.revision
                if len(store) <= self._begun:
                    self._finish()
                    return None
                self._runs = store.runs(
                    self._rect, first=self._begun, progress=self._look_at
                )
                self._begun = len(store)
        run = next(self._runs, None)  # of what was there then: needs no lock
        if run is None:
            self._runs = None
            self._finish()
            return self._next_run()
        return run

    def _look_at(self, share: float) -> None:
        self._looked_at = share

    def _finish(self) -> None:
        if self._grid:  # rows that come from now on are few: each is drawn by itself
            self._counts = self._grid.filtered(self._counts)
            if self._depth_sum is not None:
                self._depth_sum = self._grid.filtered(self._depth_sum)
            if self._depth_counts is not None:
                self._depth_counts = self._grid.filtered(self._depth_counts)
            self._grid, self._canvas = None, self.viewport
        self.fresh = self.fresh or not self.finished
        self.finished, self.share = True, 1.0

    def _draw(
        self, rows: CompactRows, x_nm: NDArray[np.float64], y_nm: NDArray[np.float64]
    ) -> None:
        images = [self._counts]
        weights: list[NDArray[np.float32] | None] = [None]
        if self._depth_sum is not None:
            z_nm = rows.column("z_nm")
            with np.errstate(invalid="ignore"):
                known = np.abs(z_nm) <= DEEPEST_NM
            images.append(self._depth_sum)
            weights.append(np.where(known, z_nm, np.float32(0)))
            if self._depth_counts is None and not known.all():
                self._depth_counts = self._counts.copy()
            if self._depth_counts is not None:
                images.append(self._depth_counts)
                weights.append(known.astype(np.float32))
        if self.mode == "histogram":
            _count(self._canvas, x_nm, y_nm, weights, images)
        elif self._grid:
            _share_out(self._canvas, x_nm, y_nm, weights, images)
        else:
            sigmas = self._sigmas(rows)
            splat(
                self._canvas,
                x_nm,
                y_nm,
                *sigmas,
                weights,
                fallback_nm=self._look.width_nm,
                out=images,
            )

    def _sigmas(
        self, rows: CompactRows
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        if self.mode == "sigma":
            return rows.column("x_sigma_nm"), rows.column("y_sigma_nm")
        same = np.full(len(rows), self._look.width_nm, np.float32)
        return same, same

    def layers(self) -> Layers:
        """Copy out what is drawn so far."""
        counts = self._copied(self._counts)
        depth_sum = depth_counts = None
        if self._depth_sum is not None:
            depth_sum = self._copied(self._depth_sum)
            depth_counts = counts
            if self._depth_counts is not None:
                depth_counts = self._copied(self._depth_counts)
        return Layers(
            counts, depth_sum, depth_counts, self.viewport.pixel_nm, self.mode
        )

    def _copied(self, image: NDArray[np.float32]) -> NDArray[np.float32]:
        image = self._grid.filtered(image) if self._grid else image.copy()
        if self.mode == "density":
            image *= np.float32(1e6 / self.viewport.pixel_nm**2)
        return image


@dataclass(frozen=True, slots=True)
class _FilterGrid:
    """Pixels in which rows are collected to become equal Gaussians by a filter.

    Attributes
    ----------
    canvas : Viewport
        These pixels, with a margin around what is to be seen.
    sigma : float
        Of the Gaussians, in these pixels.
    factor : int
        So many of them lie along a pixel of the picture.
    margin : int
        So many of them lie beyond each edge.
    """

    canvas: Viewport
    sigma: float
    factor: int
    margin: int

    def filtered(self, image: NDArray[np.float32]) -> NDArray[np.float32]:
        """Make the picture, in its own pixels and without the margin."""
        from scipy.ndimage import gaussian_filter

        # Sharing out has widened a row by 1/6 pixel^2, integrating over pixels
        # would have by 1/12.
        sigma = math.sqrt(self.sigma**2 - 1.0 / 12.0)
        image = gaussian_filter(image, sigma, mode="constant", truncate=REACH)
        inner = slice(self.margin, -self.margin)
        image = image[inner, inner]
        if self.factor == 1:
            return image.copy()
        height, width = (side // self.factor for side in image.shape)
        pieces = image.reshape(height, self.factor, width, self.factor)
        return np.asarray(pieces.sum(axis=(1, 3)), np.float32)


def _filter_grid(
    look: DisplaySettings, viewport: Viewport, document: Document
) -> _FilterGrid | None:
    """Choose the pixels of the filter; None: few rows are better drawn one by one."""
    if look.mode not in ("fixed", "density") or look.width_nm <= 0:
        return None
    factor = math.ceil(FILTERED_FROM * viewport.pixel_nm / look.width_nm - 1e-9)
    left, right, top, bottom = document.rect
    height, width = viewport.shape
    part = height * width * viewport.pixel_nm**2 / ((right - left) * (bottom - top))
    if factor > 4 or len(document.store) * min(part, 1.0) < FILTERED_ROWS:
        return None
    pixel_nm = viewport.pixel_nm / factor
    sigma = look.width_nm / pixel_nm
    margin = math.ceil((REACH * sigma + 2) / factor) * factor
    canvas = Viewport(
        left_nm=viewport.left_nm - margin * pixel_nm,
        top_nm=viewport.top_nm - margin * pixel_nm,
        pixel_nm=pixel_nm,
        shape=(height * factor + 2 * margin, width * factor + 2 * margin),
    )
    return _FilterGrid(canvas, sigma, factor, margin)


def _reaching_in(look: DisplaySettings, viewport: Viewport, document: Document) -> Rect:
    """Return the rectangle around all stored rows that may be seen in a viewport."""
    reach_nm = 0.0
    if look.mode == "sigma":
        broad = document.columns.percentile("lateral_sigma_nm", 99.9)
        reach_nm = REACH * max(look.width_nm, broad if broad > 0 else 0.0)
    elif look.mode != "histogram":
        reach_nm = REACH * look.width_nm + 2 * viewport.pixel_nm
    left, right, top, bottom = viewport.rect
    rect = (left - reach_nm, right + reach_nm, top - reach_nm, bottom + reach_nm)
    return stored_rect(document, rect)


def _count(
    viewport: Viewport,
    x_nm: NDArray[np.float64],
    y_nm: NDArray[np.float64],
    weights: list[NDArray[np.float32] | None],
    images: list[NDArray[np.float32]],
) -> None:
    """Add each row to the pixel it lies in."""
    column, row = viewport.columns(x_nm), viewport.rows(y_nm)
    height, width = viewport.shape
    with np.errstate(invalid="ignore"):
        inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
    place = row[inside].astype(np.intp) * width + column[inside].astype(np.intp)
    for image, weight in zip(images, weights, strict=True):
        one = np.float32(1) if weight is None else weight[inside]
        np.add.at(image.reshape(-1), place, one)


def _share_out(
    viewport: Viewport,
    x_nm: NDArray[np.float64],
    y_nm: NDArray[np.float64],
    weights: list[NDArray[np.float32] | None],
    images: list[NDArray[np.float32]],
) -> None:
    """Share each row out among the four pixels whose centres are nearest.

    The more, the nearer: its place is kept, which counting would round to a pixel.
    """
    column, row = viewport.columns(x_nm) - 0.5, viewport.rows(y_nm) - 0.5
    height, width = viewport.shape
    with np.errstate(invalid="ignore"):
        inside = (column >= 0) & (column < width - 1) & (row >= 0) & (row < height - 1)
    column, row = column[inside], row[inside]
    first_column, first_row = column.astype(np.intp), row.astype(np.intp)
    right = (column - first_column).astype(np.float32)
    low = (row - first_row).astype(np.float32)
    place = first_row * width + first_column
    for image, weight in zip(images, weights, strict=True):
        one = np.float32(1) if weight is None else weight[inside]
        lower = low * one
        upper = one - lower
        flat = image.reshape(-1)
        np.add.at(flat, place, upper * (1 - right))
        np.add.at(flat, place + 1, upper * right)
        np.add.at(flat, place + width, lower * (1 - right))
        np.add.at(flat, place + width + 1, lower * right)
