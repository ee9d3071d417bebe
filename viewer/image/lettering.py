"""Scale bar, colour bar and their lettering, drawn into a picture.

Letters are strokes, drawn with smooth edges at any size: an exported picture needs
no font file, no window system and looks the same everywhere.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

Point = tuple[float, float]

# Each glyph: its width and its strokes, in units of the letter height; y down,
# baseline at 1. Curves are built from arcs below.


def _arc(
    x: float, y: float, across: float, down: float, first: float, last: float
) -> list[Point]:
    """Give points of an ellipse's arc, degrees clockwise from 3 o'clock."""
    angles = np.radians(np.linspace(first, last, max(3, int(abs(last - first) / 15))))
    return [(x + across * math.cos(a), y + down * math.sin(a)) for a in angles]


_GLYPHS: dict[str, tuple[float, list[list[Point]]]] = {
    "0": (0.6, [_arc(0.3, 0.5, 0.27, 0.5, 0, 360)]),
    "1": (0.6, [[(0.12, 0.2), (0.34, 0.0), (0.34, 1.0)]]),
    "2": (0.6, [[*_arc(0.3, 0.28, 0.26, 0.28, 190, 395), (0.03, 1.0), (0.58, 1.0)]]),
    "3": (
        0.6,
        [
            _arc(0.28, 0.25, 0.25, 0.25, 200, 450),
            _arc(0.28, 0.74, 0.28, 0.26, 270, 520),
        ],
    ),
    "4": (0.6, [[(0.44, 1.0), (0.44, 0.0), (0.02, 0.7), (0.6, 0.7)]]),
    "5": (
        0.6,
        [
            [
                (0.52, 0.0),
                (0.12, 0.0),
                (0.07, 0.44),
                *_arc(0.28, 0.68, 0.28, 0.32, 225, 510),
            ]
        ],
    ),
    "6": (
        0.6,
        [
            _arc(0.3, 0.69, 0.27, 0.31, 0, 360),
            [*_arc(0.55, 0.69, 0.52, 0.69, 180, 260)],
        ],
    ),
    "7": (0.6, [[(0.03, 0.0), (0.57, 0.0), (0.2, 1.0)]]),
    "8": (
        0.6,
        [_arc(0.3, 0.24, 0.23, 0.24, 0, 360), _arc(0.3, 0.74, 0.28, 0.26, 0, 360)],
    ),
    "9": (
        0.6,
        [
            _arc(0.3, 0.31, 0.27, 0.31, 0, 360),
            [*_arc(0.05, 0.31, 0.52, 0.69, 0, 80)],
        ],
    ),
    "n": (
        0.55,
        [
            [(0.05, 0.33), (0.05, 1.0)],
            [*_arc(0.27, 0.55, 0.22, 0.22, 180, 360), (0.49, 1.0)],
        ],
    ),
    "m": (
        0.88,
        [
            [(0.05, 0.33), (0.05, 1.0)],
            [*_arc(0.24, 0.54, 0.19, 0.21, 180, 360), (0.43, 1.0)],
            [*_arc(0.62, 0.54, 0.19, 0.21, 180, 360), (0.81, 1.0)],
        ],
    ),
    "µ": (
        0.58,
        [
            [(0.05, 0.33), (0.05, 1.3)],
            [(0.05, 0.33), *_arc(0.27, 0.78, 0.22, 0.22, 180, 0), (0.49, 0.33)],
            [(0.49, 0.33), (0.49, 1.0)],
        ],
    ),
    "z": (0.5, [[(0.05, 0.35), (0.47, 0.35), (0.03, 1.0), (0.49, 1.0)]]),
    ".": (0.2, [[(0.1, 0.98), (0.1, 1.0)]]),
    "+": (0.6, [[(0.05, 0.55), (0.55, 0.55)], [(0.3, 0.3), (0.3, 0.8)]]),
    "-": (0.5, [[(0.05, 0.55), (0.45, 0.55)]]),
    " ": (0.35, []),
}
_SPACING = 0.2  # between letters, in letter heights
_STROKE = 0.125  # width of a stroke, in letter heights
_HALO = 0.5  # the same for the dark rim that keeps letters legible on an image
_BELOW = 0.35  # how far a letter reaches below the baseline


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


def text_mask(
    text: str, height: float, *, stroke: float = _STROKE
) -> NDArray[np.float32]:
    """Draw `text` with letters `height` pixels tall, strokes `stroke` times as wide.

    Returns
    -------
    NDArray[np.float32], shape (about 1.5 height, length of the text)
        Coverage from 0 to 1. A character without a glyph is left blank.
    """
    margin = _HALO / 2
    segments: list[tuple[float, float, float, float]] = []
    x = margin
    for letter in text:
        width, strokes = _GLYPHS.get(letter, _GLYPHS[" "])
        for line in strokes:
            for (xa, ya), (xb, yb) in pairwise(line):
                segments.append((x + xa, margin + ya, x + xb, margin + yb))
        x += width + _SPACING
    columns = max(1, math.ceil((x - _SPACING + margin) * height))
    rows = math.ceil((1.0 + _BELOW + 2 * margin) * height)
    mask = np.zeros((rows, columns), np.float32)
    for xa, ya, xb, yb in segments:
        ends = (xa * height, ya * height), (xb * height, yb * height)
        _draw(mask, *ends, stroke * height / 2)
    return mask


def _draw(mask: NDArray[np.float32], start: Point, end: Point, radius: float) -> None:
    """Draw one stroke with round ends and soft edges into `mask`."""
    (xa, ya), (xb, yb) = start, end
    reach = radius + 1.0
    top, bottom = max(0, int(min(ya, yb) - reach)), int(max(ya, yb) + reach) + 1
    left, right = max(0, int(min(xa, xb) - reach)), int(max(xa, xb) + reach) + 1
    part = mask[top:bottom, left:right]
    y = np.arange(top, top + part.shape[0])[:, None] + 0.5
    x = np.arange(left, left + part.shape[1])[None, :] + 0.5
    dx, dy = xb - xa, yb - ya
    along = ((x - xa) * dx + (y - ya) * dy) / max(dx * dx + dy * dy, 1e-12)
    along = np.clip(along, 0.0, 1.0)
    distance = np.hypot(x - xa - along * dx, y - ya - along * dy)
    np.maximum(
        part, np.clip(radius + 0.5 - distance, 0.0, 1.0), out=part, casting="same_kind"
    )


def write(
    rgb: NDArray[np.uint8], text: str, height: float, left: int, top: int
) -> None:
    """Write white letters with a dark rim; what would stand outside is cut off."""
    rim = text_mask(text, height, stroke=_HALO)
    _blend(rgb, rim * 0.6, left, top, 0.0)
    _blend(rgb, text_mask(text, height), left, top, 255.0)


def text_size(text: str, height: float) -> tuple[int, int]:
    """Give (height, width) of what `write` covers, pixels."""
    rows, columns = text_mask(text, height).shape
    return rows, columns


def _blend(
    rgb: NDArray[np.uint8], mask: NDArray[np.float32], left: int, top: int, grey: float
) -> None:
    left, top = max(left, 0), max(top, 0)
    part = rgb[top : top + mask.shape[0], left : left + mask.shape[1]]
    share = mask[: part.shape[0], : part.shape[1], None]
    part[...] = (part * (1.0 - share) + grey * share + 0.5).astype(np.uint8)


def draw_scale_bar(rgb: NDArray[np.uint8], pixel_nm: float) -> ScaleBar:
    """Draw a labelled scale bar into the lower right corner; say which length."""
    height, width = rgb.shape[:2]
    letters, margin = _sizes(rgb)
    bar = scale_bar(width * pixel_nm)
    length = max(1, round(bar.length_nm / pixel_nm))
    thick = max(2, round(letters * 0.3))
    right, bottom = width - margin, height - margin
    left, top = max(right - length, 0), max(bottom - thick, 0)
    rgb[max(top - 1, 0) : bottom + 1, max(left - 1, 0) : right + 1] //= 2  # a rim
    rgb[top:bottom, left:right] = 255
    rows, columns = text_size(bar.label, letters)
    centred = right - length // 2 - columns // 2
    write(rgb, bar.label, letters, min(centred, right - columns), top - rows)
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
    beside = margin + thick
    low, high = (f"{end:+.0f} nm" if end else "0 nm" for end in ends_nm)
    letters *= 0.8
    rows = round(letters * (1.0 + _HALO))  # without what reaches below the baseline
    write(rgb, high, letters, beside, top - round(letters * _HALO / 2))
    write(rgb, "z", letters, beside, (top + bottom - rows) // 2)
    write(rgb, low, letters, beside, bottom - rows + round(letters * _HALO / 2))


def _sizes(rgb: NDArray[np.uint8]) -> tuple[float, int]:
    """Give letter height and margin for a picture of this size, pixels."""
    side = min(rgb.shape[:2])
    return max(9.0, side / 42.0), max(4, side // 36)
