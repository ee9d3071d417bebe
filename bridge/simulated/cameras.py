"""Cameras of the simulated microscope."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np

from liveloc.stream.calibration import CameraCalibration

if TYPE_CHECKING:
    from numpy.typing import NDArray

CameraKind = Literal["scmos", "scmos_maps", "emccd"]

# Photons are detected photons, so that the truth is what can be seen: qe is 1.
SIMULATED_CAMERA = CameraCalibration(
    offset_adu=100.0, e_per_adu=0.5, em_gain=1.0, qe=1.0, read_noise_e=1.6
)
SIMULATED_EMCCD = CameraCalibration(
    offset_adu=200.0, e_per_adu=10.0, em_gain=300.0, qe=1.0, read_noise_e=60.0
)


def simulated_camera(
    kind: CameraKind, shape: tuple[int, int], seed: int = 1
) -> CameraCalibration:
    """Build a camera.

    Parameters
    ----------
    kind : {"scmos", "scmos_maps", "emccd"}
        Which.
    shape : tuple[int, int]
        (height, width) of the chip, for the maps.
    seed : int
        Decides the pixels of ``scmos_maps``, as the serial number of a chip does.
    """
    if kind == "scmos":
        return SIMULATED_CAMERA
    if kind == "emccd":
        return SIMULATED_EMCCD
    rng = np.random.default_rng([seed, 0x5C705])
    return CameraCalibration(
        offset_adu=_offsets(rng, shape),
        e_per_adu=SIMULATED_CAMERA.e_per_adu * rng.normal(1.0, 0.02, shape).clip(0.8),
        read_noise_e=_read_noise(rng, shape),
    )


def _offsets(rng: np.random.Generator, shape: tuple[int, int]) -> NDArray[np.float64]:
    """Return an offset for each pixel, partly common to its column's amplifier."""
    columns = rng.normal(0.0, 0.8, (1, shape[1]))
    return 100.0 + columns + rng.normal(0.0, 1.2, shape)


def _read_noise(
    rng: np.random.Generator, shape: tuple[int, int]
) -> NDArray[np.float64]:
    """Return about 1.4 electrons for most pixels, much more for one in a hundred.

    The shape of the distribution is that of real chips (F. Huang et al., Nat.
    Methods 10, 653 (2013)): narrow, with a long tail.
    """
    noise = 1.4 * rng.lognormal(0.0, 0.15, shape)
    noisy = rng.random(shape) < 0.01
    return np.where(noisy, rng.uniform(4.0, 20.0, shape), noise)
