"""Where the sample was, frame by frame: what is taken off the positions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from liveloc.stream.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, eq=False)
class Drift:
    """Where the sample was, frame by frame, relative to its mean over the frames.

    Subtract it from positions. Between the knots it is interpolated without
    overshoot, before the first and after the last it stays as it is there.

    Attributes
    ----------
    frames : NDArray[np.int64], shape (knots,)
        Ascending.
    x_nm, y_nm : NDArray[np.float64], shape (knots,)
        Shift of the sample at these frames.
    """

    frames: NDArray[np.int64]
    x_nm: NDArray[np.float64]
    y_nm: NDArray[np.float64]

    @property
    def largest_nm(self) -> float:
        """The largest shift in either direction."""
        return float(max(np.abs(self.x_nm).max(), np.abs(self.y_nm).max()))

    def at(
        self, frame: NDArray[np.integer[Any]]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return the shifts (dx, dy) in nm at these frames."""
        frame = np.asarray(frame)
        if not frame.size:
            return np.zeros(frame.shape), np.zeros(frame.shape)
        return (
            np.interp(frame, self.frames, self.x_nm),
            np.interp(frame, self.frames, self.y_nm),
        )

    def as_dict(self) -> dict[str, list[float]]:
        """Return the knots as plain lists."""
        return {
            "frames": [int(frame) for frame in self.frames],
            "x_nm": [float(shift) for shift in self.x_nm],
            "y_nm": [float(shift) for shift in self.y_nm],
        }

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> Drift:
        """Undo `as_dict`.

        Raises
        ------
        SettingsError
            What is no drift.
        """
        try:
            frames = np.asarray(plain["frames"], np.int64)
            x_nm = np.asarray(plain["x_nm"], np.float64)
            y_nm = np.asarray(plain["y_nm"], np.float64)
        except (KeyError, TypeError, ValueError, OverflowError):
            frames, x_nm, y_nm = np.zeros(0, np.int64), np.zeros(0), np.zeros(0)
        good = frames.ndim == 1 and frames.size > 0
        good = good and frames.shape == x_nm.shape == y_nm.shape
        if not (
            good
            and np.all(np.diff(frames) > 0)
            and np.all(np.isfinite(x_nm))
            and np.all(np.isfinite(y_nm))
        ):
            raise SettingsError(
                f"drift: {dict(plain)!r:.200} cannot be read, needs frames "
                "(ascending), x_nm and y_nm: lists of as many numbers, at least one."
            )
        return cls(frames, x_nm, y_nm)
