"""The super-resolution image that grows: a histogram of localizations.

Counts and depths are summed as integers, so the image does not depend on how the
table was cut into pieces, or on what was shown in between.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from liveloc.stream.errors import SettingsError

from .colouring import DisplaySettings, Picture, picture
from .field import field_of
from .layers import Layers, binned
from .picture_file import enlargement, picture_png, write_tiff, write_whole
from .sheet import Sheet, about_field
from .super_pixels import (
    LARGEST_SIDE,
    SUPER_PIXEL_NM,
    check_field,
    fitting_super_pixel,
    image_shape,
    whole_numbers,
)
from .tiles import DEPTH_STEPS_PER_NM, Sums, Tiles
from .viewport import Viewport

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from liveloc.stream.localizations import Localizations

__all__ = [
    "DEEPEST_NM",
    "LARGEST_SIDE",
    "SUPER_PIXEL_NM",
    "Reconstruction",
    "fitting_super_pixel",
]

RUN = 32_768  # rows added at a time: what they need along the way stays in the cache
DEEPEST_NM = 1e6  # a depth beyond this is no depth


class Reconstruction:
    """Accumulates localizations into an image of the field of view.

    The field reaches from -0.5 px to size - 0.5 px around the ROI's first pixel:
    camera pixel (0, 0) has its centre at (0, 0) nm and covers half a pixel to
    either side.

    Parameters
    ----------
    shape : tuple[int, int]
        (height, width) of the camera frames, camera pixels.
    pixel_size_nm : float
        Edge of a camera pixel in the sample plane.
    roi_origin : tuple[int, int]
        (x, y) = (column, row) of the frame's first pixel on the full chip.
    super_pixel_nm : float, optional
        Edge of a pixel of the image. Without it a whole fraction of the camera
        pixel near 20 nm, coarser on large chips so that no side exceeds 4096.
    min_probability : float
        Rows below, or without a probability when this is above 0, stay out.
    max_sigma_nm : float, optional
        Rows with a larger (or no) x or y uncertainty stay out.

    Attributes
    ----------
    counted, not_finite, outside, filtered : int
        Every row given to `add` is in exactly one of these: in the image, without
        a finite x and y, out of the field, or kept out by a filter.
    revision : int
        Changes whenever the image does.
    tiles : Tiles
        The same image in squares, at full scale and at halves of it.

    Raises
    ------
    SettingsError
        A shape, a pixel size or a limit that makes no image.
    """

    def __init__(
        self,
        shape: tuple[int, int],
        pixel_size_nm: float,
        *,
        roi_origin: tuple[int, int] = (0, 0),
        super_pixel_nm: float | None = None,
        min_probability: float = 0.0,
        max_sigma_nm: float | None = None,
    ) -> None:
        check_field(shape, pixel_size_nm)
        self.shape = (int(shape[0]), int(shape[1]))
        self.pixel_size_nm = float(pixel_size_nm)
        self.roi_origin = (int(roi_origin[0]), int(roi_origin[1]))
        if super_pixel_nm is None:
            super_pixel_nm = fitting_super_pixel(self.shape, pixel_size_nm)
        self.super_pixel_nm = float(super_pixel_nm)
        self.min_probability = min_probability
        self.max_sigma_nm = max_sigma_nm
        rows, columns = image_shape(self.shape, pixel_size_nm, self.super_pixel_nm)
        self._sums = Sums((rows, columns))
        self.tiles = Tiles(self._sums)
        self.counted = self.not_finite = self.outside = self.filtered = 0
        self.revision = 0

    @classmethod
    def from_metadata(
        cls, metadata: Mapping[str, str], **options: Any
    ) -> Reconstruction:
        """Make an empty image for the field that a table's metadata state.

        Parameters
        ----------
        metadata : Mapping[str, str]
            With ``shape``, ``pixel_size_nm`` and ``roi_origin``, as our tables and
            streams carry them.
        **options
            As for the class.

        Raises
        ------
        SettingsError
            One of them is absent or cannot be read.
        """
        height, width = whole_numbers(metadata, "shape")
        column, row = whole_numbers(metadata, "roi_origin")
        text = metadata.get("pixel_size_nm", "")
        try:
            pixel_size_nm = float(text)
        except ValueError:
            raise SettingsError(
                f"metadata: pixel_size_nm is {text!r}, a number of nm is needed."
            ) from None
        return cls((height, width), pixel_size_nm, roi_origin=(column, row), **options)

    @classmethod
    def around(
        cls,
        localizations: Localizations,
        *,
        pixel_size_nm: float = 100.0,
        **options: Any,
    ) -> Reconstruction:
        """Make an image of a table that does not say its field, and fill it.

        The field is that of `field_of`: around all rows, but for single ones far off.
        """
        field = field_of([localizations], {"pixel_size_nm": repr(float(pixel_size_nm))})
        image = cls.from_metadata(field, **options)
        image.add(localizations)
        return image

    @property
    def extent_nm(self) -> tuple[float, float, float, float]:
        """(left, right, top, bottom) of the field: edges, not pixel centres."""
        left = (self.roi_origin[0] - 0.5) * self.pixel_size_nm
        top = (self.roi_origin[1] - 0.5) * self.pixel_size_nm
        height, width = self.shape
        return (
            left,
            left + width * self.pixel_size_nm,
            top,
            top + height * self.pixel_size_nm,
        )

    @property
    def counts(self) -> NDArray[np.uint32]:
        """Localizations in each super-pixel. Read it, do not write it."""
        return self._sums.counts

    @property
    def has_depth(self) -> bool:
        """Whether any row so far had a z other than 0."""
        return self._sums.depth_steps is not None

    def add(self, localizations: Localizations) -> int:
        """Add rows to the image.

        Parameters
        ----------
        localizations : Localizations, shape (n,)
            Copied from, not kept.

        Returns
        -------
        int
            How many of them are in the image.
        """
        return sum(
            self._add_piece(localizations[first : first + RUN])
            for first in range(0, len(localizations), RUN)
        )

    def add_positions(
        self,
        x_nm: NDArray[np.floating],
        y_nm: NDArray[np.floating],
        z_nm: NDArray[np.floating],
    ) -> int:
        """Add rows that are known to be wanted, of which only the place matters.

        Parameters
        ----------
        x_nm, y_nm, z_nm : NDArray, shape (n,)
            Where they are; a row without x or y stays out, as one without the field.

        Returns
        -------
        int
            How many of them are in the image.
        """
        before = self.counted
        for first in range(0, len(x_nm), RUN):
            piece = slice(first, first + RUN)
            self._add_positions(x_nm[piece], y_nm[piece], z_nm[piece], None)
        return self.counted - before

    def clear(self) -> None:
        """Forget every row; field and filters stay."""
        self._sums.clear()
        self.counted = self.not_finite = self.outside = self.filtered = 0
        self.revision += 1
        self.tiles.clear(self.revision)

    def layers(self, binning: int = 1) -> Layers:
        """Copy out the sums, with `binning` x `binning` super-pixels added up."""
        sums = self._sums
        counts = binned(sums.counts, binning)
        depth_sum = depth_counts = None
        if sums.depth_steps is not None:
            depth_sum = binned(sums.depth_steps, binning)
            depth_sum /= np.float32(DEPTH_STEPS_PER_NM)
            depth_counts = counts
            if sums.depthless is not None:
                depth_counts = counts - binned(sums.depthless, binning)
        return Layers(counts, depth_sum, depth_counts, self.super_pixel_nm * binning)

    def mean_depth_nm(self) -> NDArray[np.float32]:
        """Return the mean z of each super-pixel, NaN where there is none."""
        sums = self._sums
        mean = np.full(sums.counts.shape, np.nan, np.float32)
        if sums.depth_steps is None:
            depths = np.zeros(sums.counts.shape, np.float64)
        else:
            depths = sums.depth_steps / DEPTH_STEPS_PER_NM
        rows = sums.counts.astype(np.int64)
        if sums.depthless is not None:
            rows -= sums.depthless
        np.divide(depths, rows, out=mean, where=rows > 0, casting="same_kind")
        return mean

    def render(self, look: DisplaySettings | None = None) -> Picture:
        """Make a picture of what is there: 8-bit RGB with its contrast and range.

        Parameters
        ----------
        look : DisplaySettings, optional
            Colours, contrast, smoothing. Default: z as colour where the table has
            z, automatic contrast.
        """
        return picture(self.layers(), look or DisplaySettings())

    def sheet(self, look: DisplaySettings | None = None) -> Sheet:
        """Return the whole image as it is written to a file."""
        left, _, top, _ = self.extent_nm
        view = Viewport(
            left_nm=left,
            top_nm=top,
            pixel_nm=self.super_pixel_nm,
            shape=self.counts.shape,
        )
        about = about_field(view, self.pixel_size_nm, self.roi_origin, self.counted)
        return Sheet(
            layers=self.layers(),
            viewport=view,
            look=look or DisplaySettings(),
            about=about,
        )

    def save_png(self, path: str | Path, look: DisplaySettings | None = None) -> None:
        """Write a picture with scale bar (and colour bar), large enough to print.

        The file appears whole or not at all.
        """
        png = picture_png(self.sheet(look), enlargement(self.counts.shape))
        write_whole(Path(path), lambda part: part.write_bytes(png))

    def _repr_png_(self) -> bytes:
        """Show the picture in a notebook."""
        return picture_png(self.sheet(), enlargement(self.counts.shape))

    def save_tiff(self, path: str | Path) -> None:
        """Write the counts as a 32-bit TIFF that states its pixel size and origin.

        The file appears whole or not at all.
        """
        write_tiff(Path(path), self.sheet())

    def _add_piece(self, table: Localizations) -> int:
        """Add so few rows that what is computed of them stays in the cache."""
        keep: NDArray[np.bool_] | None = None
        with np.errstate(invalid="ignore"):  # NaN compares False: that is wanted
            if self.min_probability > 0:
                keep = table["probability"] >= self.min_probability
            if self.max_sigma_nm is not None:
                small = table["x_sigma_nm"] <= self.max_sigma_nm
                small &= table["y_sigma_nm"] <= self.max_sigma_nm
                keep = small if keep is None else keep & small
        return self._add_positions(table["x_nm"], table["y_nm"], table["z_nm"], keep)

    def _add_positions(
        self,
        x_nm: NDArray[np.floating],
        y_nm: NDArray[np.floating],
        z_nm: NDArray[np.floating],
        keep: NDArray[np.bool_] | None,
    ) -> int:
        left, right, top, bottom = self.extent_nm
        x, y = x_nm.astype(np.float64), y_nm.astype(np.float64)
        with np.errstate(invalid="ignore"):
            wanted = (x >= left) & (x < right) & (y >= top) & (y < bottom)
        inside = int(np.count_nonzero(wanted))
        if inside < x.size:
            finite = int(np.count_nonzero(np.isfinite(x) & np.isfinite(y)))
            self.not_finite += x.size - finite
            self.outside += finite - inside
        if keep is not None:
            wanted &= keep
        added = inside if keep is None else int(np.count_nonzero(wanted))
        self.filtered += inside - added
        if not added:
            return 0
        if added < x.size:
            x, y, z_nm = x[wanted], y[wanted], z_nm[wanted]
        self._count(x, y, z_nm)
        self.counted += added
        return added

    def _count(
        self, x: NDArray[np.float64], y: NDArray[np.float64], z: NDArray[np.floating]
    ) -> None:
        left, _, top, _ = self.extent_nm
        height, width = self.counts.shape
        x -= left
        x /= self.super_pixel_nm
        y -= top
        y /= self.super_pixel_nm
        column = np.minimum(x.astype(np.intp), width - 1)  # rounding at the edge
        row = np.minimum(y.astype(np.intp), height - 1)
        steps, known = _depths(z, flat=not self.has_depth)
        self._sums.add(row * width + column, steps, known)
        self.revision += 1
        self.tiles.add(row, column, steps, known, self.revision)


def _depths(
    z_nm: NDArray[np.floating], *, flat: bool
) -> tuple[NDArray[np.int64] | None, NDArray[np.bool_] | None]:
    """Return depths as whole steps, and which rows have one (None: all).

    No steps where all are 0 and so was every row before.
    """
    with np.errstate(invalid="ignore"):
        known = np.abs(z_nm) <= DEEPEST_NM
    every = None if known.all() else known
    if every is not None:
        z_nm = z_nm[every]
    steps = np.rint(z_nm * np.float32(DEPTH_STEPS_PER_NM)).astype(np.int64)
    return (None if flat and not steps.any() else steps), every
