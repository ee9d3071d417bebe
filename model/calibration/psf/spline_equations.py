"""The coefficients of a spline from images of it: one matrix per axis.

The image of a bead is linear in the coefficients of the spline, and its matrix is the
product of a matrix along z, one along y and one along x. So the least-squares problem
of all pixels of all beads is applied by matrix products, never built, and solved by
conjugate gradients.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Profiles = tuple[Any, Floats, Floats]  # the first is sparse

TILT_NM = 60.0  # beads may be that much higher or lower than their mean
MARGIN = 2  # knots beyond the outermost pixel
BENDING = 6.0  # sum of the squares of a second difference
BRIGHT = 100.0  # squared height over noise of knots that measure the roughness
FEWEST_BRIGHT = 50
ROUGHNESS, ROUGHNESSES = 0.5, (0.02, 2.0)  # where nothing is bright; limits
FLOOR = 1e-4  # least height, of the largest
LEAST_SEEN = 1e-3  # of the typical information, for the height of knots unseen
FIRST_STIFFNESS = 1e-2  # per information, before the roughness is known
RIDGE = 1e-6  # of the typical information, for knots that no pixel sees


@dataclass(frozen=True, slots=True, kw_only=True)
class Knots:
    """Where the coefficients of a spline lie.

    Attributes
    ----------
    z_first_nm, z_step_nm : float
        Depth of the first knot, and their spacing.
    depths, width : int
        Number of knots along z, and along x and y.
    centre_px : tuple[float, float]
        (row, column) of the emitter among them.
    """

    z_first_nm: float
    z_step_nm: float
    depths: int
    width: int
    centre_px: tuple[float, float]

    @classmethod
    def over(
        cls,
        low_nm: float,
        high_nm: float,
        step_nm: float,
        window_px: int,
        offset_px: tuple[float, float] = (0.0, 0.0),
    ) -> Knots:
        """Cover depths and a window, with knots about every `step_nm`.

        Parameters
        ----------
        low_nm, high_nm : float
            Depths of the lowest and the highest plane.
        step_nm : float
            Rounded so that a whole number of steps covers them.
        window_px : int
            Odd edge of the bead images.
        offset_px : tuple[float, float]
            (row, column) of a bead relative to its pixel, for which pixels and knots
            shall coincide: what a single bead determines best.
        """
        intervals = max(1, round((high_nm - low_nm) / step_nm))
        step = (high_nm - low_nm) / intervals
        beyond = 1 + math.ceil(TILT_NM / step)
        width = window_px + 2 * MARGIN
        centre = width // 2
        return cls(
            z_first_nm=low_nm - beyond * step,
            z_step_nm=step,
            depths=intervals + 1 + 2 * beyond,
            width=width,
            centre_px=(centre + offset_px[0], centre + offset_px[1]),
        )

    @property
    def shape(self) -> tuple[int, int, int]:
        """Of the coefficients: (depths, rows, columns)."""
        return self.depths, self.width, self.width

    def across(self, position_px: Floats, axis: int, half: int) -> Floats:
        """Distances of the pixels from the knots: (..., pixels, knots), in knots.

        Parameters
        ----------
        position_px : NDArray, shape (...)
            Of the bead, relative to the centre of its middle pixel.
        axis : int
            0: rows, 1: columns.
        half : int
            Pixels from the middle to the edge of the window.
        """
        pixels = np.arange(-half, half + 1)[:, None] + self.centre_px[axis]
        return pixels - np.arange(self.width) - np.asarray(position_px)[..., None, None]

    def along(self, z_nm: Floats) -> Floats:
        """Distances of depths from the knots: (planes, knots), in knots."""
        return ((z_nm - self.z_first_nm) / self.z_step_nm)[:, None] - np.arange(
            self.depths
        )


def spot(coefficients: Floats, profiles: Profiles) -> Floats:
    """Return the images of a bead, (planes, window, window).

    Parameters
    ----------
    coefficients : NDArray, shape (depths, rows, columns)
    profiles : tuple
        Along z (planes, depths), sparse; along y (1 or planes, window, rows) and along
        x (1 or planes, window, columns): one for all planes, or one for each.
    """
    depths, rows, columns = profiles
    if len(rows) == 1:  # all planes look from the same place: z last is cheaper
        return _along_z(depths, rows[0] @ coefficients @ columns[0].T)
    planes = _along_z(depths, coefficients)
    return np.asarray(rows @ planes @ np.swapaxes(columns, -1, -2))


def gathered(images: Floats, profiles: Profiles) -> Floats:
    """Apply the transpose of `spot`: images of one bead to coefficients."""
    depths, rows, columns = profiles
    if len(rows) == 1:
        return np.asarray(rows[0].T @ _along_z(depths.T, images) @ columns[0])
    planes = np.swapaxes(rows, -1, -2) @ images @ columns
    return _along_z(depths.T, planes)


def _along_z(matrix: Any, images: Floats) -> Floats:
    """Multiply the first axis of images by a sparse matrix."""
    flat = matrix @ images.reshape(len(images), -1)
    return np.asarray(flat.reshape(-1, *images.shape[1:]))


def squared(profiles: Profiles) -> Profiles:
    """Square each element."""
    z, y, x = profiles
    return z.power(2), y * y, x * x


class NormalEquations:
    """The least-squares problem of the coefficients, with a prior on their roughness.

    How rough a PSF is along each axis, relative to the height around, is measured where
    it is bright; where it is dim or seen from few places, the same is assumed. So the
    prior decides only what the images do not.

    Parameters
    ----------
    views : list of Profiles
        The matrices of each bead.
    weights : NDArray, shape (beads, planes, window, window)
        One over the variance of each pixel.
    shape : NDArray
        Coefficients so far.
    roughness : tuple of float, optional
        Roughness along z, y and x; None before there is a shape.
    """

    def __init__(
        self,
        views: list[Profiles],
        weights: Floats,
        shape: Floats,
        roughness: tuple[float, ...] | None = None,
    ) -> None:
        self._views = views
        self._weights = weights
        self._information = np.zeros_like(shape)
        for view, weight in zip(views, weights, strict=True):
            self._information += gathered(weight, squared(view))
        typical = float(np.median(self._information))
        self._ridge = RIDGE * typical
        if roughness is None:
            stiff = FIRST_STIFFNESS * np.maximum(self._information, 1e-3 * typical)
            self._stiffness = [stiff] * 3
        else:
            height = _height(shape, self._information)
            self._stiffness = [1 / (rough * height) ** 2 for rough in roughness]
        stiffness = BENDING * np.sum(self._stiffness, 0)
        self._scale = 1 / (self._information + stiffness + self._ridge)

    def roughness(self, shape: Floats) -> tuple[float, ...]:
        """Measure the relative second differences of a shape along z, y and x."""
        height = _height(shape, self._information)
        bright = height * height * self._information > BRIGHT
        result = []
        for axis in range(3):
            where = np.moveaxis(bright, axis, 0)[1:-1]
            rough = _rough(shape, height, axis)[where]
            enough = rough.size >= FEWEST_BRIGHT
            typical = np.sqrt(np.mean(rough**2)) if enough else ROUGHNESS
            result.append(float(np.clip(typical, *ROUGHNESSES)))
        return tuple(result)

    def right_side(self, images: Floats) -> Floats:
        """Return the right-hand side for `images`, shape of the coefficients."""
        total = np.zeros_like(self._information)
        for view, weight, image in zip(self._views, self._weights, images, strict=True):
            total += gathered(weight * image, view)
        return total

    def applied(self, coefficients: Floats) -> Floats:
        """Multiply by the matrix."""
        total = self._bent(coefficients) + self._ridge * coefficients
        for view, weight in zip(self._views, self._weights, strict=True):
            total += gathered(weight * spot(coefficients, view), view)
        return total

    def solve(
        self, right: Floats, start: Floats, rounds: int, tolerance: float
    ) -> Floats:
        """Solve by conjugate gradients.

        Parameters
        ----------
        right, start : NDArray
            Right-hand side, and a first guess.
        rounds : int
            Largest number of steps.
        tolerance : float
            Enough when the residual is that much smaller than `right`.
        """
        scale = self._scale
        enough = tolerance**2 * float(np.sum(right * right * scale))
        x = start
        residual = right - self.applied(x)
        direction = scale * residual
        size = float(np.sum(residual * direction))
        for _ in range(rounds):
            if size <= enough:
                break
            image = self.applied(direction)
            along = size / float(np.sum(direction * image))
            x = x + along * direction
            residual = residual - along * image
            scaled = scale * residual
            size, before = float(np.sum(residual * scaled)), size
            direction = scaled + size / before * direction
        return x

    def _bent(self, coefficients: Floats) -> Floats:
        """Return the gradient of the weighted sum of squared second differences."""
        total = np.zeros_like(coefficients)
        for axis, stiffness in enumerate(self._stiffness):
            c = np.moveaxis(coefficients, axis, 0)
            stiff = np.moveaxis(stiffness, axis, 0)[1:-1]
            bend = stiff * (c[2:] - 2 * c[1:-1] + c[:-2])
            out = np.moveaxis(total, axis, 0)
            out[2:] += bend
            out[1:-1] -= 2 * bend
            out[:-2] += bend
        return total


def _height(shape: Floats, information: Floats) -> Floats:
    """Return how high a shape may be at each knot; never 0.

    The largest height near by, because flanks bend more than their own height, and no
    less than the noise: a height below it is unknown, and assuming it to be low would
    make it lower in each round.
    """
    from scipy import ndimage

    height = ndimage.gaussian_filter(np.abs(shape), 1.0)
    height = ndimage.maximum_filter(height, 3)
    seen = np.maximum(information, LEAST_SEEN * float(np.median(information)))
    height = np.sqrt(height * height + 1 / seen)
    return np.asarray(np.maximum(height, FLOOR * height.max()))


def _rough(coefficients: Floats, height: Floats, axis: int) -> Floats:
    """Return differences along an axis, relative to the height in their middle."""
    tall = np.moveaxis(height, axis, 0)[1:-1]
    return np.asarray(np.diff(np.moveaxis(coefficients, axis, 0), 2, 0) / tall)


def spline_slope(t: Floats) -> Floats:
    """Evaluate the derivative of the cubic B-spline of unit knots."""
    a = np.abs(t)
    outer = np.clip(2 - a, 0, None)
    inner = np.clip(1 - a, 0, None)
    return np.asarray(np.sign(t) * (2 * inner * inner - 0.5 * outer * outer))
