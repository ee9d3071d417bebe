"""The sample under the simulated microscope: light in, counts and truth out."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import numpy as np

from ...model.physics.camera import NumpyNoise, expose
from ...stream.localizations import LOCALIZATION, Localizations, empty
from .microtubules import label, microtubules
from .photophysics import Fluorophores

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .settings import SimulatedSettings

Roi = tuple[int, int, int, int]  # x, y, width, height, pixels


class Sample:
    """Microtubules, their fluorophores, and what a camera sees of them.

    Parameters
    ----------
    settings : SimulatedSettings
        Sample, optics, camera.
    """

    def __init__(self, settings: SimulatedSettings) -> None:
        self._settings = settings
        structure, physics, noise = (
            np.random.default_rng(child)
            for child in np.random.SeedSequence(settings.seed).spawn(3)
        )
        height_nm, width_nm = (n * settings.pixel_size_nm for n in settings.shape)
        lines = microtubules(structure, width_nm, height_nm)
        places = label(structure, lines, settings.fluorophores, width_nm, height_nm)
        # The field begins at the edge of the first pixel, positions at its centre.
        places[:, :2] -= settings.pixel_size_nm / 2
        self._places = places.astype(np.float32)
        self._fluorophores = Fluorophores(
            settings.fluorophores, settings.photophysics, physics
        )
        self._noise = NumpyNoise(noise)
        self._background = _background(settings)
        self._roi: Roi = (0, 0, settings.shape[1], settings.shape[0])
        self._camera = settings.calibration  # of that ROI
        self._lock = threading.Lock()
        self._truth: list[Localizations] = []

    @property
    def fluorophores(self) -> Fluorophores:
        """States of the fluorophores; read only."""
        return self._fluorophores

    @property
    def places_nm(self) -> NDArray[np.float32]:
        """Positions of all fluorophores, shape (n, 3): x, y, z."""
        return self._places

    def expose(
        self, frame: int, power_mw: float, roi: Roi, out: NDArray[np.uint16]
    ) -> None:
        """Take one exposure and note its truth.

        Parameters
        ----------
        frame : int
            Number of the exposure, for the truth.
        power_mw : float
            405 nm power during the exposure.
        roi : tuple[int, int, int, int]
            Part of the chip that is read out.
        out : NDArray[np.uint16], shape (height, width) of the ROI
            Filled with counts (ADU).
        """
        index, photons = self._fluorophores.expose(power_mw)
        where = self._places[index]
        x, y, width, height = roi
        pixel = self._settings.pixel_size_nm
        image = self._settings.psf.render(
            where[:, 0] / pixel - np.float32(x),
            where[:, 1] / pixel - np.float32(y),
            where[:, 2],
            photons.astype(np.float32),
            (height, width),
        )
        image += self._background[y : y + height, x : x + width]
        if roi != self._roi:
            self._roi, self._camera = roi, self._settings.calibration.cropped(*roi)
        out[...] = expose(image, self._camera, self._noise)
        rows = self._rows(frame, where, photons, roi)
        with self._lock:
            self._truth.append(rows)

    def _rows(
        self,
        frame: int,
        where: NDArray[np.float32],
        photons: NDArray[np.float64],
        roi: Roi,
    ) -> Localizations:
        """Describe the emitters of one frame that lie within the ROI."""
        x, y, width, height = roi
        place = np.rint(where[:, :2] / self._settings.pixel_size_nm).astype(np.int64)
        low, high = np.array([x, y]), np.array([x + width, y + height])
        seen = np.all((place >= low) & (place < high), axis=1) & (photons > 0)
        rows = empty(int(seen.sum()))
        rows["frame"] = frame
        rows["x_nm"], rows["y_nm"], rows["z_nm"] = where[seen].T
        rows["photons"] = photons[seen]
        rows["background"] = self._background[place[seen, 1], place[seen, 0]]
        rows["probability"] = 1.0
        return rows

    def truth(self) -> Localizations:
        """Return all rows since the sequence began or since `take_truth`."""
        with self._lock:
            return _joined(self._truth)

    def take_truth(self) -> Localizations:
        """Return what `truth` does, and forget it: long runs stay small."""
        with self._lock:
            rows, self._truth = self._truth, []
        return _joined(rows)

    def forget_truth(self) -> None:
        """Begin a new sequence: its frames count from 0 again."""
        with self._lock:
            self._truth = []


def _joined(rows: list[Localizations]) -> Localizations:
    """Concatenate tables, also none of them."""
    return np.concatenate(rows) if rows else np.empty(0, LOCALIZATION)


def _background(settings: SimulatedSettings) -> NDArray[np.float32]:
    """Lay the haze of a cell over the chip: expected photons of every pixel."""
    height, width = settings.shape
    rows, columns = np.ogrid[:height, :width]
    distance2: NDArray[Any] = ((rows + 0.5) / height - 0.5) ** 2 + (
        (columns + 0.5) / width - 0.5
    ) ** 2
    haze = np.exp(-distance2 / (2 * 0.3**2))
    haze = (haze - haze.min()) / max(float(np.ptp(haze)), 1e-9)  # 0 to 1
    level = settings.background * (1 + 0.25 * (haze - haze.mean()))
    return np.asarray(level, np.float32)
