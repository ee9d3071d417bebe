"""What turns camera counts into photons."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Value = float | NDArray[Any]

MAPS = ("offset_adu", "e_per_adu", "read_noise_e")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CameraCalibration:
    """``photons = (ADU - offset) * e_per_adu / em_gain / qe``.

    Offset, gain and read noise are one number for all pixels, or maps of shape
    (height, width): float32 and read-only from construction on, all of one shape.
    Two calibrations are equal when all numbers are.

    Attributes
    ----------
    offset_adu : float or NDArray
        Counts of a dark pixel.
    e_per_adu : float or NDArray
        Electrons per count, before EM gain is divided out.
    em_gain : float
        1 without electron multiplication.
    qe : float
        Quantum efficiency; 1 to count detected photons.
    read_noise_e : float or NDArray
        Standard deviation of a dark pixel, electrons at the output: after EM gain.
    saturation_adu : float
        Largest count; from there on a pixel says nothing.
    estimated : bool
        Guessed from the frames themselves, not measured on the camera.
    origin : tuple[int, int]
        (x, y) = (column, row) of the full chip where the maps begin; (0, 0) without.

    Raises
    ------
    ValueError
        Maps of different shapes, or that are no images.
    """

    offset_adu: Value = 100.0
    e_per_adu: Value = 1.0
    em_gain: float = 1.0
    qe: float = 1.0
    read_noise_e: Value = 1.6
    saturation_adu: float = 65535.0
    estimated: bool = False
    origin: tuple[int, int] = (0, 0)

    def __post_init__(self) -> None:
        shapes = set()
        for name in MAPS:
            value = getattr(self, name)
            if isinstance(value, np.ndarray) and value.ndim == 0:
                object.__setattr__(self, name, float(value))
            elif isinstance(value, np.ndarray):
                value = np.array(value, np.float32, order="C")
                value.flags.writeable = False
                object.__setattr__(self, name, value)
                shapes.add(value.shape)
        if len(shapes) > 1 or any(len(shape) != 2 for shape in shapes):
            raise ValueError(
                f"camera maps have shapes {sorted(shapes)}, need one (h, w)"
            )
        if not shapes:
            object.__setattr__(self, "origin", (0, 0))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, CameraCalibration):
            return NotImplemented
        return all(
            np.array_equal(getattr(self, f.name), getattr(other, f.name))
            for f in fields(self)
        )

    def __hash__(self) -> int:
        return hash((self.em_gain, self.qe, self.saturation_adu, self.origin))

    @property
    def maps(self) -> dict[str, NDArray[np.float32]]:
        """What is known pixel by pixel, by name; views."""
        values = {name: getattr(self, name) for name in MAPS}
        return {k: v for k, v in values.items() if isinstance(v, np.ndarray)}

    @property
    def has_maps(self) -> bool:
        """Something is known pixel by pixel."""
        return self.shape is not None

    @property
    def shape(self) -> tuple[int, int] | None:
        """(height, width) of the maps; None without any."""
        for value in self.maps.values():
            return value.shape[0], value.shape[1]
        return None

    @property
    def photons_per_adu(self) -> Value:
        """Photons that one count above the offset stands for."""
        return self.e_per_adu / self.em_gain / self.qe

    @property
    def read_variance_photons(self) -> Value:
        """Variance of a dark pixel, photons squared."""
        return (self.read_noise_e / self.em_gain / self.qe) ** 2

    @property
    def excess(self) -> float:
        """What electron multiplication does to the variance of shot noise."""
        return 2.0 if self.em_gain > 1 else 1.0

    def photons(self, counts: NDArray[Any]) -> NDArray[np.float32]:
        """Convert counts to photons, float32, same shape, always a new array.

        With maps the last two axes of `counts` must be theirs.
        """
        result = counts.astype(np.float32)
        result -= np.float32(self.offset_adu)
        result *= np.float32(self.photons_per_adu)
        return result

    def cropped(self, x: int, y: int, width: int, height: int) -> CameraCalibration:
        """Return the calibration of a region of the chip.

        Parameters
        ----------
        x, y : int
            Column and row of the region's first pixel on the full chip.
        width, height : int
            Pixels.

        Returns
        -------
        CameraCalibration
            Its maps are of that region; itself where there are none.

        Raises
        ------
        ValueError
            The maps do not cover the region.
        """
        if self.shape is None:
            return self
        left, top = x - self.origin[0], y - self.origin[1]
        rows, columns = self.shape
        if left < 0 or top < 0 or left + width > columns or top + height > rows:
            raise ValueError(
                f"the camera maps cover {columns}x{rows} pixels of the chip from "
                f"{self.origin}, the frames are {width}x{height} from {(x, y)}"
            )
        part = np.s_[top : top + height, left : left + width]
        cut = {name: value[part] for name, value in self.maps.items()}
        return replace(self, **cut, origin=(x, y))  # type: ignore[arg-type]

    @property
    def typical(self) -> CameraCalibration:
        """The same camera in single numbers: the medians of its maps."""
        medians = {name: float(np.median(v)) for name, v in self.maps.items()}
        return replace(self, **medians, origin=(0, 0))  # type: ignore[arg-type]
