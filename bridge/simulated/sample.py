"""The sample under the simulated microscope: light in, counts and truth out."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import numpy as np

from liveloc.model.physics.camera import expose
from liveloc.stream.localizations import LOCALIZATION, Localizations, empty

from .faults import Faults
from .microtubules import label, microtubules
from .noise import TableNoise
from .photophysics import Fluorophores
from .surroundings import Background, Drift, Fixtures, Roi

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .settings import SimulatedSettings


class Sample:
    """Microtubules, their fluorophores, and what a camera sees of them.

    Parameters
    ----------
    settings : SimulatedSettings
        Sample, optics, camera, and what happens when.
    faults : Faults, optional
        Changes of on-time and background, if they also come from elsewhere.
    """

    def __init__(
        self, settings: SimulatedSettings, faults: Faults | None = None
    ) -> None:
        self._settings = settings
        self._faults = Faults(settings.events) if faults is None else faults
        structure, physics, noise, drift, fixtures = (
            np.random.default_rng(child)
            for child in np.random.SeedSequence(settings.seed).spawn(5)
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
        self._noise = TableNoise(noise)
        self._drift = Drift(settings, drift)
        self._background = Background(settings)
        self._fixtures = Fixtures(settings, fixtures)
        self._exposures = 0
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

    @property
    def exposures(self) -> int:
        """Exposures since the microscope was opened."""
        return self._exposures

    @property
    def drift_nm(self) -> NDArray[np.float64]:
        """How far the sample is from `places_nm`: x, y, z."""
        return self._drift.nm

    @property
    def fixtures(self) -> Fixtures:
        """Beads and hot pixels; read only."""
        return self._fixtures

    def expose(
        self,
        frame: int,
        power_mw: float,
        roi: Roi,
        out: NDArray[np.uint16] | None,
        *,
        excitation_mw: float | None = None,
        interval_ms: float | None = None,
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
        out : NDArray[np.uint16], shape (height, width) of the ROI, optional
            Filled with counts (ADU). Without it the exposure is lost: the sample has
            lived through it, and its truth is noted.
        excitation_mw : float, optional
            561 nm power during the exposure; the default power if not given.
        interval_ms : float, optional
            How long the sample drifts until the next; as in the settings if not given.
        """
        given, faults = self._settings, self._faults
        faults.reach(self._exposures)
        excitation = given.excitation_mw if excitation_mw is None else excitation_mw
        index, photons = self._fluorophores.expose(
            power_mw, excitation, faults.number("on_time")
        )
        where = self._places[index] + self._drift.nm.astype(np.float32)
        background = self._background.photons(
            self._exposures, power_mw, excitation, faults.number("background")
        )
        if out is not None:
            image = self._image(where, photons, background, roi)
            if self._fixtures:
                share = excitation / given.excitation_mw
                image += self._fixtures.photons(roi, self._drift.nm, share)
            out[...] = expose(image, self._camera, self._noise)
        rows = self._rows(frame, where, photons, background, roi)
        self._drift.advance((interval_ms or given.exposure_ms) / 1e3)
        self._exposures += 1
        with self._lock:
            self._truth.append(rows)

    def _image(
        self,
        where: NDArray[np.float32],
        photons: NDArray[np.float64],
        background: NDArray[np.float32],
        roi: Roi,
    ) -> NDArray[np.float32]:
        """Draw what fluorophores and background send to each pixel of the ROI."""
        x, y, width, height = roi
        if roi != self._roi:
            self._roi, self._camera = roi, self._settings.calibration.cropped(*roi)
        pixel = self._settings.pixel_size_nm
        image: NDArray[np.float32] = self._settings.psf.render(
            where[:, 0] / pixel - np.float32(x),
            where[:, 1] / pixel - np.float32(y),
            where[:, 2],
            photons.astype(np.float32),
            (height, width),
        )
        image += background[y : y + height, x : x + width]
        return image

    def _rows(
        self,
        frame: int,
        where: NDArray[np.float32],
        photons: NDArray[np.float64],
        background: NDArray[np.float32],
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
        rows["background"] = background[place[seen, 1], place[seen, 0]]
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
