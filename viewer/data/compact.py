"""Localizations in 24 bytes each: what is kept of every row while it may be drawn.

====================  =====  =====================================================
column                bytes  kept as
====================  =====  =====================================================
x_nm, y_nm            4, 4   exactly (float32), NaN and inf included
frame                 4      0 to 2**32 - 1; what lies beyond is kept as the end
z_nm                  2      steps of 0.5 nm, to +-16,383.5 nm
photons, background   2, 2   steps of 1/2048 of their power of two, 2**-9 to 2**23
x_sigma_nm            2      the same
y_sigma_nm            2      the same
probability           1      steps of 1/254, 0 to 1
z_sigma_nm            1      steps of 1/16 of its power of two, 2**-3 to 2**12.8
====================  =====  =====================================================

A value is kept as the nearest one there is, finite or not; what is NaN (and a z that
is not finite) has a code of its own. In the floating columns 0 is kept, whole numbers
to 4096 are exact, and what is negative becomes 0. A run of rows within 65,536 frames
may keep its frames in 2 bytes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from liveloc.stream.localizations import empty

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from numpy.typing import NDArray

    from liveloc.stream.localizations import Localizations

BYTES_PER_ROW = 24
Z_STEP_NM = 0.5
Z_ZERO = 32768  # the code of z = 0; code 0 says that there is none
LAST_FRAME = 2**32 - 1
SHORT_FRAMES = 2**16


@dataclass(frozen=True, slots=True)
class Quantity:
    """How one quantity becomes a small whole number, and comes back.

    Attributes
    ----------
    encode : callable
        float32 values to codes.
    values : NDArray[np.float32]
        What each code stands for.
    """

    encode: Callable[[NDArray[np.float32]], NDArray[Any]]
    values: NDArray[np.float32]


def _encode_depth(z_nm: NDArray[np.float32]) -> NDArray[np.uint16]:
    known = np.isfinite(z_nm)
    deepest = np.float32((Z_ZERO - 1) * Z_STEP_NM)
    within = np.clip(np.where(known, z_nm, 0), -deepest, deepest)
    steps = np.rint(within * np.float32(1.0 / Z_STEP_NM)) + np.float32(Z_ZERO)
    return np.where(known, steps, 0).astype(np.uint16)


def _depth() -> Quantity:
    values = ((np.arange(2**16) - Z_ZERO) * Z_STEP_NM).astype(np.float32)
    values[0] = np.nan
    return Quantity(_encode_depth, values)


def _share() -> Quantity:
    def encode(share: NDArray[np.float32]) -> NDArray[np.uint8]:
        known = ~np.isnan(share)
        steps = np.rint(np.clip(np.where(known, share, 0), 0, 1) * np.float32(254))
        return np.where(known, steps + 1, 0).astype(np.uint8)

    values = ((np.arange(256) - 1) / 254).astype(np.float32)
    values[0] = np.nan
    return Quantity(encode, values)


def _floating(kind: type[np.unsignedinteger[Any]], shift: int, low: float) -> Quantity:
    """Keep the upper bits of a float32 from `low` on: code 2; 1 is 0, 0 is NaN."""
    last = np.iinfo(kind).max
    lowest = int(np.float32(low).view(np.int32)) >> shift
    bits = (np.arange(last + 1, dtype=np.int32) + (lowest - 2)) << shift
    values = bits.view(np.float32).copy()
    values[0], values[1] = np.nan, 0.0
    half = np.int32(1 << (shift - 1))
    offset = np.int32(lowest - 2)

    def encode(column: NDArray[np.float32]) -> NDArray[Any]:
        with np.errstate(invalid="ignore"):
            within = np.minimum(column, values[-1])  # NaN stays
            tiny = within < values[2]
            codes = ((within.view(np.int32) + half) >> shift) - offset
            codes[tiny] = np.where(within[tiny] >= values[2] / 2, 2, 1)
        codes[np.isnan(column)] = 0
        return np.asarray(codes, kind)

    return Quantity(encode, values)


_FLOATING = _floating(np.uint16, 12, 2.0**-9)
QUANTITIES: dict[str, Quantity] = {
    "z_nm": _depth(),
    "photons": _FLOATING,
    "background": _FLOATING,
    "x_sigma_nm": _FLOATING,
    "y_sigma_nm": _FLOATING,
    "probability": _share(),
    "z_sigma_nm": _floating(np.uint8, 19, 2.0**-3),
}
LAYOUT: dict[str, np.dtype[Any]] = {
    "x_nm": np.dtype(np.float32),
    "y_nm": np.dtype(np.float32),
    "frame": np.dtype(np.uint32),
    **{
        name: quantity.encode(np.zeros(1, np.float32)).dtype
        for name, quantity in QUANTITIES.items()
    },
}


class CompactRows:
    """A run of rows, column by column; a column is gathered when it is asked for.

    Parameters
    ----------
    kept : dict
        An array per name of `LAYOUT`, as long as each other. Not copied. What is
        chosen of them is in `codes`.
    first_frame : int
        What is to be added to the kept frame numbers.
    places : NDArray[np.intp], optional
        Where its rows are in those arrays; default: all, in their order.
    """

    __slots__ = ("_places", "first_frame", "kept")

    def __init__(
        self,
        kept: dict[str, NDArray[Any]],
        first_frame: int = 0,
        places: NDArray[np.intp] | None = None,
    ) -> None:
        self.kept = kept
        self.first_frame = first_frame
        self._places = places

    def __len__(self) -> int:
        return len(self.kept["x_nm"] if self._places is None else self._places)

    @property
    def nbytes(self) -> int:
        """Bytes of its columns."""
        return len(self) * sum(column.itemsize for column in self.kept.values())

    def column(self, name: str) -> NDArray[Any]:
        """Return a quantity of all rows.

        Parameters
        ----------
        name : str
            A column of the table above, or ``lateral_sigma_nm``: the larger of the
            uncertainties in x and y.

        Returns
        -------
        NDArray, shape (n,)
            float32, NaN where there is no value; ``frame``: int64. Do not write it.
        """
        if name == "lateral_sigma_nm":
            both = self.column("x_sigma_nm"), self.column("y_sigma_nm")
            return np.asarray(np.maximum(*both), np.float32)
        kept = self.codes(name)
        if name == "frame":
            return kept.astype(np.int64) + self.first_frame
        if name in QUANTITIES:
            kept = QUANTITIES[name].values[kept]
        return np.asarray(kept, np.float32)

    def codes(self, name: str) -> NDArray[Any]:
        """Return a column as it is kept; frames: less those of `packed`."""
        column = self.kept[name]
        return column if self._places is None else column[self._places]

    def chosen(self, which: Any) -> CompactRows:
        """Return the rows of a mask, a slice or a list of places."""
        if self._places is None and isinstance(which, slice):
            kept = {name: column[which] for name, column in self.kept.items()}
            return CompactRows(kept, self.first_frame)
        if not isinstance(which, slice):
            which = np.asarray(which)
            masked = which.dtype == np.bool_
            which = np.flatnonzero(which) if masked else which.astype(np.intp)
        places = which if self._places is None else self._places[which]
        return CompactRows(self.kept, self.first_frame, places)

    def packed(self) -> CompactRows:
        """Copy the rows, with frames in 2 bytes where they lie close enough."""
        kept = {name: self.codes(name).copy() for name in LAYOUT if name != "frame"}
        frames = self.column("frame")
        first = int(frames.min()) if len(self) else 0
        close = not len(self) or int(frames.max()) - first < SHORT_FRAMES
        first = first if close else 0
        kept["frame"] = (frames - first).astype(np.uint16 if close else np.uint32)
        return CompactRows(kept, first)

    def copy_into(self, room: CompactRows, begin: int) -> None:
        """Write the rows into others that lie in one piece, frames whole."""
        here = slice(begin, begin + len(self))
        for name, column in self.kept.items():
            into = room.kept[name][here]
            if name == "frame":
                into[...] = self.column(name)
            elif self._places is None:
                into[...] = column
            else:
                column.take(self._places, out=into, mode="clip")  # clip: no copy

    @classmethod
    def room(cls, rows: int) -> CompactRows:
        """Make room for so many rows, contents undefined."""
        return cls({name: np.empty(rows, kind) for name, kind in LAYOUT.items()})

    def whole(self) -> Localizations:
        """Return rows of the full table; what is not kept is NaN, flags are 0."""
        rows = empty(len(self))
        rows["photons_sigma"] = np.nan
        for name in LAYOUT:
            rows[name] = self.column(name)
        return rows


def compacted(rows: Localizations) -> CompactRows:
    """Keep of whole rows what a selection and a picture see of them.

    Parameters
    ----------
    rows : Localizations, shape (n,)
        Copied from.
    """
    kept: dict[str, NDArray[Any]] = {
        "x_nm": rows["x_nm"].astype(np.float32),
        "y_nm": rows["y_nm"].astype(np.float32),
        "frame": np.clip(rows["frame"], 0, LAST_FRAME).astype(np.uint32),
    }
    for name, quantity in QUANTITIES.items():
        kept[name] = quantity.encode(rows[name].astype(np.float32))
    return CompactRows(kept)


def joined(runs: Iterable[CompactRows]) -> CompactRows:
    """Put runs one after the other."""
    parts = list(runs)
    if len(parts) == 1:
        return parts[0]
    together = CompactRows.room(sum(len(part) for part in parts))
    begin = 0
    for part in parts:
        part.copy_into(together, begin)
        begin += len(part)
    return together
