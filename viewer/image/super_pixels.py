"""Which pixels an image gets: of the camera's field, as fine as asked for."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING

from liveloc.stream.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Mapping


SUPER_PIXEL_NM = 20.0  # aimed at when none is asked for
LARGEST_OWN_CHOICE = 4096  # super-pixels a side, when none is asked for
LARGEST_SIDE = 16384  # super-pixels a side: what every OpenGL texture holds


def check_field(shape: tuple[int, int], pixel_size_nm: float) -> None:
    """Refuse a field that nothing can lie in."""
    if len(shape) != 2 or min(shape) < 1:
        raise SettingsError(
            f"reconstruction: shape is {tuple(shape)}, needs (height, width) of the "
            "camera frames, both at least 1."
        )
    if not (math.isfinite(pixel_size_nm) and pixel_size_nm > 0):
        raise SettingsError(
            f"reconstruction: pixel_size_nm is {pixel_size_nm}, needs the edge of a "
            "camera pixel in the sample plane, above 0."
        )


def fitting_super_pixel(
    shape: tuple[int, int], pixel_size_nm: float, aim_nm: float = SUPER_PIXEL_NM
) -> float:
    """Return the whole fraction of a camera pixel nearest to `aim_nm` that still fits.

    Coarser on large chips, so that no side has more than 4096 super-pixels: on the
    largest several camera pixels in one.
    """
    if max(shape) > LARGEST_OWN_CHOICE:
        return pixel_size_nm * -(-max(shape) // LARGEST_OWN_CHOICE)
    wanted = round(pixel_size_nm / aim_nm)
    return pixel_size_nm / max(1, min(wanted, LARGEST_OWN_CHOICE // max(shape)))


def image_shape(
    shape: tuple[int, int], pixel_size_nm: float, super_pixel_nm: float
) -> tuple[int, int]:
    """Return (height, width) of a field in super-pixels; the last may reach beyond it.

    Raises
    ------
    SettingsError
        No size of a pixel, or more of them than any screen takes.
    """
    if not (math.isfinite(super_pixel_nm) and super_pixel_nm > 0):
        raise SettingsError(
            f"super_pixel_nm is {super_pixel_nm}, needs a number of nm above 0."
        )
    field_nm = max(shape) * pixel_size_nm
    if field_nm / super_pixel_nm > LARGEST_SIDE:
        raise SettingsError(
            f"super_pixel_nm is {super_pixel_nm:g}: a field of {field_nm / 1000:.1f} "
            f"um would be {field_nm / super_pixel_nm:.0f} pixels wide, at most "
            f"{LARGEST_SIDE} fit. Use {math.ceil(field_nm / LARGEST_SIDE)} nm or more."
        )
    # A hair less, so that a field of exactly n super-pixels is not n + 1 of them.
    height, width = (
        max(1, math.ceil(side * pixel_size_nm / super_pixel_nm - 1e-6))
        for side in shape
    )
    return height, width


def whole_numbers(metadata: Mapping[str, str], key: str) -> tuple[int, int]:
    """Read a pair of whole numbers from a table's metadata."""
    text = metadata.get(key, "")
    numbers = re.findall(r"-?\d+", text)
    if len(numbers) != 2:
        raise SettingsError(f"metadata: {key} is {text!r}, two numbers are needed.")
    return int(numbers[0]), int(numbers[1])
