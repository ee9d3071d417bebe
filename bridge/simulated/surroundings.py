"""What lies around the fluorophores: drift, background, beads and bad pixels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .settings import SimulatedSettings

Roi = tuple[int, int, int, int]  # x, y, width, height, pixels


class Drift:
    """How far the sample has moved since the microscope was opened.

    Parameters
    ----------
    settings : SimulatedSettings
        Velocity and random walk.
    rng : np.random.Generator
        Owned by this object from now on.

    Attributes
    ----------
    nm : NDArray[np.float64], shape (3,)
        x, y, z.
    """

    def __init__(self, settings: SimulatedSettings, rng: np.random.Generator) -> None:
        self.nm = np.zeros(3)
        self._velocity = np.array(settings.drift_nm_per_s)
        self._walk = np.array(settings.drift_walk_nm)
        self._rng = rng

    def advance(self, seconds: float) -> None:
        """Move on."""
        self.nm = self.nm + self._velocity * seconds
        if self._walk.any():
            steps = self._rng.standard_normal(3) * np.sqrt(seconds)
            self.nm = self.nm + self._walk * steps


class Background:
    """The haze of a cell, laid over the chip.

    Parameters
    ----------
    settings : SimulatedSettings
        Level, and what raises it.
    """

    def __init__(self, settings: SimulatedSettings) -> None:
        self._settings = settings
        self._shape = 1 + 0.25 * _haze(settings.shape)  # mean 1
        self._level = -1.0
        self._map = np.empty(0, np.float32)

    def photons(
        self, exposure: int, power_mw: float, excitation_mw: float, factor: float
    ) -> NDArray[np.float32]:
        """Return the expected photons of every pixel of the chip; not to be changed.

        Parameters
        ----------
        exposure : int
            Exposures before this one.
        power_mw, excitation_mw : float
            405 nm, and excitation.
        factor : float
            Factor on the background of the settings.
        """
        given = self._settings
        level = given.background * (excitation_mw / given.excitation_mw)
        level *= 1 + given.background_rise * exposure / 1000
        level = factor * (level + given.background_per_mw * power_mw)
        if level != self._level:
            self._level = level
            self._map = np.asarray(level * self._shape, np.float32)
        return self._map


def _haze(shape: tuple[int, int]) -> NDArray[np.float64]:
    """Return a broad hump of mean 0 and height 1 in the middle of the chip."""
    height, width = shape
    rows, columns = np.ogrid[:height, :width]
    distance2: NDArray[Any] = ((rows + 0.5) / height - 0.5) ** 2 + (
        (columns + 0.5) / width - 0.5
    ) ** 2
    haze = np.exp(-distance2 / (2 * 0.3**2))
    haze = (haze - haze.min()) / max(float(np.ptp(haze)), 1e-9)  # 0 to 1
    return np.asarray(haze - haze.mean())


class Fixtures:
    """Beads that shine in every frame, and pixels that always count too much.

    Parameters
    ----------
    settings : SimulatedSettings
        How many and how bright.
    rng : np.random.Generator
        Decides the places.

    Attributes
    ----------
    beads_nm : NDArray[np.float32], shape (n, 3)
        Places of the beads before any drift.
    hot : tuple[NDArray[np.intp], NDArray[np.intp]]
        Rows and columns of the hot pixels, on the chip.
    """

    def __init__(self, settings: SimulatedSettings, rng: np.random.Generator) -> None:
        self._settings = settings
        size = np.array([settings.shape[1], settings.shape[0], 0])
        count = settings.fiducials
        places = rng.uniform(0.05, 0.95, (count, 3)) * size * settings.pixel_size_nm
        self.beads_nm = places.astype(np.float32)
        pixels = settings.shape[0] * settings.shape[1]
        hot = rng.choice(pixels, min(settings.hot_pixels, pixels), replace=False)
        self.hot = np.unravel_index(hot, settings.shape)
        self._seen: tuple[Any, ...] = ()
        self._image = np.empty(0, np.float32)

    def __bool__(self) -> bool:
        return len(self.beads_nm) > 0 or len(self.hot[0]) > 0

    def photons(
        self, roi: Roi, drift_nm: NDArray[np.float64], share: float
    ) -> NDArray[np.float32]:
        """Return what they add to every pixel of the ROI; not to be changed.

        Parameters
        ----------
        roi : tuple[int, int, int, int]
            x, y, width, height.
        drift_nm : NDArray[np.float64], shape (3,)
            Of the beads.
        share : float
            Fraction of the excitation at which beads are as bright as in the settings.
        """
        seen = (roi, tuple(drift_nm), share)
        if seen != self._seen:
            self._seen = seen
            self._image = self._render(roi, drift_nm, share)
        return self._image

    def _render(
        self, roi: Roi, drift_nm: NDArray[np.float64], share: float
    ) -> NDArray[np.float32]:
        """Draw them."""
        given, (x, y, width, height) = self._settings, roi
        image = np.zeros((height, width), np.float32)
        if len(self.beads_nm):
            where = (self.beads_nm + drift_nm).astype(np.float32)
            image += given.psf.render(
                where[:, 0] / given.pixel_size_nm - np.float32(x),
                where[:, 1] / given.pixel_size_nm - np.float32(y),
                where[:, 2],
                np.full(len(where), given.fiducial_photons * share, np.float32),
                (height, width),
            )
        rows, columns = self.hot[0] - y, self.hot[1] - x
        seen = (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
        image[rows[seen], columns[seen]] += given.hot_pixel_photons
        return image
