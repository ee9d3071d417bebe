"""The localization table: one row per emitter and frame, one layout everywhere."""

from __future__ import annotations

from enum import IntFlag
from typing import Any

import numpy as np
from numpy.typing import NDArray

# Positions are nm on the full chip: (0, 0) is the centre of the chip's first
# pixel, x = column, y = row, z positive away from the objective. Frames count
# from 0. Photons and background (per pixel) are detected photons.
LOCALIZATION = np.dtype(
    [
        ("frame", "<i8"),
        ("x_nm", "<f4"),
        ("y_nm", "<f4"),
        ("z_nm", "<f4"),
        ("photons", "<f4"),
        ("background", "<f4"),
        ("x_sigma_nm", "<f4"),
        ("y_sigma_nm", "<f4"),
        ("z_sigma_nm", "<f4"),
        ("photons_sigma", "<f4"),
        ("probability", "<f4"),
        ("flags", "<u2"),
    ]
)

Localizations = NDArray[Any]  # structured, dtype LOCALIZATION, shape (n,)


class Flag(IntFlag):
    """What a row's ``flags`` say about the three-frame window it came from."""

    NO_PREVIOUS = 1  # the frame before was lost or never was: the centre stood in
    NO_NEXT = 2  # the same for the frame after


def empty(rows: int = 0) -> Localizations:
    """Return a zeroed table of `rows` rows."""
    return np.zeros(rows, LOCALIZATION)
