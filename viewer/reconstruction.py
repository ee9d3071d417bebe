"""The super-resolution image that grows: a histogram of localizations.

Counts and depths are summed as integers, so the image does not depend on how the
table was cut into pieces, or on what was shown in between.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ..stream.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from ..stream.localizations import Localizations
    from .render import Look, Picture

SUPER_PIXEL_NM = 20.0  # aimed at when none is asked for
LARGEST_OWN_CHOICE = 4096  # super-pixels a side, when none is asked for
LARGEST_SIDE = 16384  # super-pixels a side: what every OpenGL texture holds
DEPTH_STEPS_PER_NM = 16  # depths are summed in whole sixteenths of a nm
DEEPEST_NM = 1e6  # a depth beyond this is no depth


@dataclass(frozen=True, slots=True)
class Layers:
    """What a picture is made of, at one scale.

    Attributes
    ----------
    counts : NDArray[np.float32], shape (height, width)
        Localizations in each pixel.
    depth_sum_nm : NDArray[np.float32], shape (height, width), or None
        Sum of their z; None for a table without depth.
    depth_counts : NDArray[np.float32], shape (height, width), or None
        How many of them have a z.
    pixel_nm : float
        Edge of a pixel.
    """

    counts: NDArray[np.float32]
    depth_sum_nm: NDArray[np.float32] | None
    depth_counts: NDArray[np.float32] | None
    pixel_nm: float


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
    counts : NDArray[np.uint32], shape (height, width)
        Localizations in each super-pixel. Read it, do not write it.
    counted, not_finite, outside, filtered : int
        Every row given to `add` is in exactly one of these: in the image, without
        a finite x and y, out of the field, or kept out by a filter.
    revision : int
        Changes whenever the image does.

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
        _check_field(shape, pixel_size_nm)
        self.shape = (int(shape[0]), int(shape[1]))
        self.pixel_size_nm = float(pixel_size_nm)
        self.roi_origin = (int(roi_origin[0]), int(roi_origin[1]))
        if super_pixel_nm is None:
            super_pixel_nm = fitting_super_pixel(self.shape, pixel_size_nm)
        self.super_pixel_nm = float(super_pixel_nm)
        self.min_probability = min_probability
        self.max_sigma_nm = max_sigma_nm
        rows, columns = _image_shape(self.shape, pixel_size_nm, self.super_pixel_nm)
        self.counts: NDArray[np.uint32] = np.zeros((rows, columns), np.uint32)
        self._depth_sum: NDArray[np.int64] | None = None  # until a z is not 0
        self._depthless: NDArray[np.uint32] | None = None  # until a z is not finite
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
        height, width = _whole_numbers(metadata, "shape")
        column, row = _whole_numbers(metadata, "roi_origin")
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

        The field is the smallest whole number of camera pixels around all rows
        with finite positions.
        """
        x = localizations["x_nm"].astype(np.float64) / pixel_size_nm
        y = localizations["y_nm"].astype(np.float64) / pixel_size_nm
        good = np.isfinite(x) & np.isfinite(y)
        x, y = x[good], y[good]
        if not x.size:
            x = y = np.zeros(1)
        left, top = math.floor(x.min() + 0.5), math.floor(y.min() + 0.5)
        width = math.floor(x.max() + 0.5) - left + 1
        height = math.floor(y.max() + 0.5) - top + 1
        image = cls((height, width), pixel_size_nm, roi_origin=(left, top), **options)
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
    def has_depth(self) -> bool:
        """Whether any row so far had a z other than 0."""
        return self._depth_sum is not None

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
        rows = self._select(localizations)
        if not rows.size:
            return 0
        pixels = self._pixels(rows)
        np.add.at(self.counts.reshape(-1), pixels, np.uint32(1))
        self._add_depths(rows["z_nm"].astype(np.float64), pixels)
        self.counted += rows.size
        self.revision += 1
        return int(rows.size)

    def clear(self) -> None:
        """Forget every row; field and filters stay."""
        self.counts[...] = 0
        self._depth_sum = self._depthless = None
        self.counted = self.not_finite = self.outside = self.filtered = 0
        self.revision += 1

    def layers(self, binning: int = 1) -> Layers:
        """Copy out the sums, with `binning` x `binning` super-pixels added up."""
        from .render import binned

        counts = binned(self.counts, binning)
        depth_sum = depth_counts = None
        if self._depth_sum is not None:
            depth_sum = binned(self._depth_sum, binning)
            depth_sum /= np.float32(DEPTH_STEPS_PER_NM)
            depth_counts = counts
            if self._depthless is not None:
                depth_counts = counts - binned(self._depthless, binning)
        return Layers(counts, depth_sum, depth_counts, self.super_pixel_nm * binning)

    def mean_depth_nm(self) -> NDArray[np.float32]:
        """Give the mean z of each super-pixel, NaN where there is none."""
        mean = np.full(self.counts.shape, np.nan, np.float32)
        if self._depth_sum is None:
            depths = np.zeros(self.counts.shape, np.float64)
        else:
            depths = self._depth_sum / DEPTH_STEPS_PER_NM
        rows = self.counts.astype(np.int64)
        if self._depthless is not None:
            rows -= self._depthless
        np.divide(depths, rows, out=mean, where=rows > 0, casting="same_kind")
        return mean

    def render(self, look: Look | None = None) -> Picture:
        """Make a picture of what is there: 8-bit RGB with its contrast and range.

        Parameters
        ----------
        look : Look, optional
            Colours, contrast, smoothing. Default: z as colour where the table has
            z, automatic contrast.
        """
        from .render import Look, picture

        return picture(self.layers(), look or Look())

    def save_png(self, path: str | Path, look: Look | None = None) -> None:
        """Write a picture with scale bar (and colour bar), large enough to print.

        The file appears whole or not at all.
        """
        from .export import save_png

        save_png(path, self, look)

    def _repr_png_(self) -> bytes:
        """Show the picture in a notebook."""
        from .export import picture_png

        return picture_png(self)

    def save_tiff(self, path: str | Path) -> None:
        """Write the counts as a 32-bit TIFF that states its pixel size and origin.

        The file appears whole or not at all.
        """
        from .export import save_tiff

        save_tiff(path, self)

    def _select(self, table: Localizations) -> Localizations:
        """Give the rows that belong into the image; count the others."""
        finite = np.isfinite(table["x_nm"]) & np.isfinite(table["y_nm"])
        left, right, top, bottom = self.extent_nm
        with np.errstate(invalid="ignore"):  # NaN compares False: that is wanted
            x, y = table["x_nm"].astype(np.float64), table["y_nm"].astype(np.float64)
            inside = (x >= left) & (x < right) & (y >= top) & (y < bottom)
            keep = inside.copy()
            if self.min_probability > 0:
                keep &= table["probability"] >= self.min_probability
            if self.max_sigma_nm is not None:
                keep &= table["x_sigma_nm"] <= self.max_sigma_nm
                keep &= table["y_sigma_nm"] <= self.max_sigma_nm
        self.not_finite += int(np.count_nonzero(~finite))
        self.outside += int(np.count_nonzero(finite & ~inside))
        self.filtered += int(np.count_nonzero(inside & ~keep))
        return table[keep]

    def _pixels(self, rows: Localizations) -> NDArray[np.intp]:
        """Give the flat index of each row's super-pixel."""
        left, _, top, _ = self.extent_nm
        height, width = self.counts.shape
        column = (rows["x_nm"].astype(np.float64) - left) / self.super_pixel_nm
        row = (rows["y_nm"].astype(np.float64) - top) / self.super_pixel_nm
        column = np.minimum(column.astype(np.intp), width - 1)  # rounding at the edge
        row = np.minimum(row.astype(np.intp), height - 1)
        return np.asarray(row * width + column, np.intp)

    def _add_depths(self, z_nm: NDArray[np.float64], pixels: NDArray[np.intp]) -> None:
        """Sum depths as integers; the images exist only once they are needed."""
        with np.errstate(invalid="ignore"):
            known = np.abs(z_nm) <= DEEPEST_NM
        if not known.all():
            if self._depthless is None:
                self._depthless = np.zeros_like(self.counts)
            np.add.at(self._depthless.reshape(-1), pixels[~known], np.uint32(1))
            z_nm, pixels = z_nm[known], pixels[known]
        steps = np.rint(z_nm * DEPTH_STEPS_PER_NM).astype(np.int64)
        if self._depth_sum is None:
            if not steps.any():
                return
            self._depth_sum = np.zeros(self.counts.shape, np.int64)
        np.add.at(self._depth_sum.reshape(-1), pixels, steps)


def _check_field(shape: tuple[int, int], pixel_size_nm: float) -> None:
    if len(shape) != 2 or min(shape) < 1:
        raise SettingsError(
            f"reconstruction: shape is {tuple(shape)}, needs (height, width) of the "
            "camera frames, both at least 1."
        )
    if not (math.isfinite(pixel_size_nm) and pixel_size_nm > 0):
        raise SettingsError(
            f"reconstruction: pixel_size_nm is {pixel_size_nm}, needs the edge of a "
            "camera pixel in the sample plane, above 0."
        )


def fitting_super_pixel(
    shape: tuple[int, int], pixel_size_nm: float, aim_nm: float = SUPER_PIXEL_NM
) -> float:
    """Give the whole fraction of a camera pixel nearest to `aim_nm` that still fits.

    Coarser on large chips, so that no side has more than 4096 super-pixels.
    """
    wanted = round(pixel_size_nm / aim_nm)
    return pixel_size_nm / max(1, min(wanted, LARGEST_OWN_CHOICE // max(shape)))


def _image_shape(
    shape: tuple[int, int], pixel_size_nm: float, super_pixel_nm: float
) -> tuple[int, int]:
    if not (math.isfinite(super_pixel_nm) and super_pixel_nm > 0):
        raise SettingsError(
            f"super_pixel_nm is {super_pixel_nm}, needs a number of nm above 0."
        )
    field_nm = max(shape) * pixel_size_nm
    if field_nm / super_pixel_nm > LARGEST_SIDE:
        raise SettingsError(
            f"super_pixel_nm is {super_pixel_nm:g}: a field of {field_nm / 1000:.1f} "
            f"um would be {field_nm / super_pixel_nm:.0f} pixels wide, at most "
            f"{LARGEST_SIDE} fit. Use {math.ceil(field_nm / LARGEST_SIDE)} nm or more."
        )
    # A hair less, so that a field of exactly n super-pixels is not n + 1 of them.
    height, width = (
        max(1, math.ceil(side * pixel_size_nm / super_pixel_nm - 1e-6))
        for side in shape
    )
    return height, width


def _whole_numbers(metadata: Mapping[str, str], key: str) -> tuple[int, int]:
    text = metadata.get(key, "")
    numbers = re.findall(r"-?\d+", text)
    if len(numbers) != 2:
        raise SettingsError(f"metadata: {key} is {text!r}, two numbers are needed.")
    return int(numbers[0]), int(numbers[1])
