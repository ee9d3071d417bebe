"""Scale bar, colour bar and their lettering, drawn into a picture.

The font comes with matplotlib: an exported picture looks the same everywhere.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw, ImageFont

if TYPE_CHECKING:
    from numpy.typing import NDArray

_FONT = "mpl-data/fonts/ttf/DejaVuSans.ttf"
_CAPITAL = 0.73  # height of a digit, in font sizes
_RIM = 0.16  # width of the dark rim that keeps letters legible, in letter heights


@dataclass(frozen=True, slots=True)
class ScaleBar:
    """A length worth showing.

    Attributes
    ----------
    length_nm : float
        1, 2 or 5 times a power of ten.
    label : str
        The same, for people.
    """

    length_nm: float
    label: str


def scale_bar(view_width_nm: float) -> ScaleBar:
    """Choose the round length nearest below a quarter of the view."""
    longest = max(view_width_nm, 1e-6) / 4.0
    decade = 10.0 ** math.floor(math.log10(longest))
    length = max(f * decade for f in (1.0, 2.0, 5.0) if f * decade <= longest * 1.001)
    label = f"{length:g} nm" if length < 1000 else f"{length / 1000:g} µm"
    return ScaleBar(length, label)


def write(
    rgb: NDArray[np.uint8], text: str, height: float, at: tuple[float, float], to: str
) -> None:
    """Write white letters with a dark rim; what lies outside the picture is cut off.

    Parameters
    ----------
    rgb : NDArray[np.uint8], shape (rows, columns, 3)
        Drawn into.
    text : str
        One line.
    height : float
        Height of a digit, pixels.
    at : (float, float)
        Column and row of the anchor.
    to : str
        Which point of the text lies there, as Pillow names it: ``ls`` is the left end
        of the baseline.
    """
    font, rim = _font(height), max(1, round(_RIM * height))
    left, top, right, bottom = font.getbbox(text, anchor=to, stroke_width=rim)
    left, top = max(0, math.floor(at[0] + left)), max(0, math.floor(at[1] + top))
    right, bottom = math.ceil(at[0] + right) + 1, math.ceil(at[1] + bottom) + 1
    part = rgb[top : max(top, bottom), left : max(left, right)]
    if part.size:
        image = Image.fromarray(np.ascontiguousarray(part))
        ImageDraw.Draw(image).text(
            (at[0] - left, at[1] - top),
            text,
            "white",
            font,
            to,
            stroke_width=rim,
            stroke_fill=(24, 24, 24),
        )
        part[...] = np.asarray(image)


@cache
def _font(height: float) -> ImageFont.FreeTypeFont:
    # By its path: matplotlib's own search imports matplotlib and builds a cache.
    found = find_spec("matplotlib")
    folder = Path(found.origin).parent if found and found.origin else Path()
    return ImageFont.truetype(folder / _FONT, height / _CAPITAL)


def draw_scale_bar(rgb: NDArray[np.uint8], pixel_nm: float) -> ScaleBar:
    """Draw a labelled scale bar into the lower right corner, and return it."""
    height, width = rgb.shape[:2]
    letters, margin = _sizes(rgb)
    bar = scale_bar(width * pixel_nm)
    length = max(1, round(bar.length_nm / pixel_nm))
    thick = max(2, round(letters * 0.3))
    right, bottom = width - margin, height - margin
    left, top = max(right - length, 0), max(bottom - thick, 0)
    rgb[max(top - 1, 0) : bottom + 1, max(left - 1, 0) : right + 1] //= 2  # a rim
    rgb[top:bottom, left:right] = 255
    half = max(length, _font(letters).getlength(bar.label)) / 2
    write(rgb, bar.label, letters, (right - half, top - letters * 0.6), "ms")
    return bar


def draw_colour_bar(
    rgb: NDArray[np.uint8],
    table: NDArray[np.uint8],
    ends_nm: tuple[float, float],
) -> None:
    """Draw the colours of z, labelled, into the lower left corner."""
    height = rgb.shape[0]
    letters, margin = _sizes(rgb)
    thick, length = max(3, round(letters * 0.8)), round(min(letters * 8, height * 0.4))
    bottom = height - margin
    top = max(bottom - length, 0)
    places = np.linspace(len(table) - 1, 0, bottom - top).astype(int)
    bar = rgb[top:bottom, margin : margin + thick]
    bar[...] = table[places][:, None, :]
    low, high = (f"{end:+.0f} nm" if end else "0 nm" for end in ends_nm)
    beside, letters = margin + thick + 0.5 * letters, letters * 0.8
    write(rgb, high, letters, (beside, top + letters), "ls")
    write(rgb, "z", letters, (beside, (top + bottom) / 2), "lm")
    write(rgb, low, letters, (beside, bottom), "ls")


def _sizes(rgb: NDArray[np.uint8]) -> tuple[float, int]:
    """Return letter height and margin for a picture of this size, pixels."""
    side = min(rgb.shape[:2])
    return max(9.0, side / 42.0), max(4, side // 36)
