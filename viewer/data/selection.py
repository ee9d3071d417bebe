"""Which rows of a table are shown: one closed range per quantity."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

import numpy as np

from liveloc.stream.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

Range = tuple[float | None, float | None]  # both ends belong to it; None: no end
EVERYTHING: Range = (None, None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """Ranges that a row has to be within, all of them, to be shown.

    A row without a value (NaN) is within a range only if that has no ends.

    Attributes
    ----------
    probability : Range
        That this is an emitter.
    lateral_sigma_nm : Range
        The larger of the uncertainties in x and y.
    z_sigma_nm, z_nm : Range
        Uncertainty and value of the axial position.
    photons, background : Range
        Detected photons, background per pixel.
    frame : Range
        Numbers of frames, from 0.
    """

    probability: Range = EVERYTHING
    lateral_sigma_nm: Range = EVERYTHING
    z_sigma_nm: Range = EVERYTHING
    z_nm: Range = EVERYTHING
    photons: Range = EVERYTHING
    background: Range = EVERYTHING
    frame: Range = EVERYTHING

    @property
    def active(self) -> dict[str, Range]:
        """The ranges with an end, by name."""
        ranges = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: ends for name, ends in ranges.items() if ends != EVERYTHING}

    def mask(
        self, column: Callable[[str], NDArray[np.float32]], rows: int
    ) -> NDArray[np.bool_]:
        """Return for each row whether it is shown.

        Parameters
        ----------
        column : callable
            Returns a quantity of all rows by its name here; called only for those
            whose range has an end.
        rows : int
            How many there are.
        """
        shown = np.ones(rows, np.bool_)
        for name, (low, high) in self.active.items():
            values = column(name)
            with np.errstate(invalid="ignore"):  # NaN compares False: out
                if low is not None:
                    shown &= values >= low
                if high is not None:
                    shown &= values <= high
        return shown

    def as_dict(self) -> dict[str, list[float | None]]:
        """Return the ranges with an end, as plain lists."""
        return {name: list(ends) for name, ends in self.active.items()}

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> Selection:
        """Undo `as_dict`.

        Raises
        ------
        SettingsError
            An unknown quantity, or what is no range.
        """
        known = [field.name for field in fields(cls)]
        for name, ends in plain.items():
            if name not in known:
                raise SettingsError(
                    f"selection: {name!r} is not known. Known are {', '.join(known)}."
                )
            if not _is_range(ends):
                raise SettingsError(
                    f"selection: {name} is {ends!r}, needs [low, high] with low <= "
                    "high; null leaves an end open."
                )
        return cls(**{name: (ends[0], ends[1]) for name, ends in plain.items()})


def _is_range(ends: Any) -> bool:
    if not isinstance(ends, list | tuple) or len(ends) != 2:
        return False
    known = [end for end in ends if end is not None]
    numbers = all(
        isinstance(end, int | float) and not isinstance(end, bool) for end in known
    )
    return numbers and all(map(math.isfinite, known)) and known == sorted(known)
