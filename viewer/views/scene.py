"""What a canvas is asked to paint, and which mip level that takes."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..image.colouring import colour_table, depth_table

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy as np
    from numpy.typing import NDArray

    from ..data.document import Document
    from ..image.viewport import Rect, Viewport
    from .render_thread import RenderedView

TILE = 256
BACKGROUND = (11, 13, 17)  # around the field


@dataclass(frozen=True, slots=True, kw_only=True)
class Colours:
    """From sums to colours.

    Attributes
    ----------
    table_name : str
        Colour map: of the mean z where `depth_range_nm` is given, else of brightness.
    gamma : float
        Brightness is (counts / limit) ** gamma.
    limit : float
        Localizations per super-pixel of the finest tiles at full brightness.
    depth_range_nm : tuple[float, float] or None
        z at the ends of the colour map; None where colour is brightness.
    """

    table_name: str = "inferno"
    gamma: float = 0.5
    limit: float = 1.0
    depth_range_nm: tuple[float, float] | None = None

    @property
    def table(self) -> NDArray[np.uint8]:
        """The colour map, shape (1024, 3)."""
        make = colour_table if self.depth_range_nm is None else depth_table
        return make(self.table_name)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """One picture.

    Attributes
    ----------
    viewport : Viewport
        Of the canvas, in pixels of the screen.
    document : Document or None
        Its tiles are the lower layer; None: nothing but background.
    view : RenderedView or None
        Laid over the tiles where it reaches.
    colours : Colours
        For both.
    """

    viewport: Viewport
    document: Document | None = None
    view: RenderedView | None = None
    colours: Colours = Colours()

    @property
    def covered(self) -> bool:
        """Whether the view leaves nothing of the tiles to be seen."""
        if self.view is None or self.document is None:
            return False
        seen, field = self.viewport.rect, self.document.rect
        there = self.view.viewport.rect
        slack = 0.51 * self.viewport.pixel_nm
        return (
            there[0] <= max(seen[0], field[0]) + slack
            and there[1] >= min(seen[1], field[1]) - slack
            and there[2] <= max(seen[2], field[2]) + slack
            and there[3] >= min(seen[3], field[3]) - slack
        )


@dataclass(frozen=True, slots=True)
class TileRange:
    """The tiles of one level that a viewport shows.

    Attributes
    ----------
    level : int
        Mip level.
    texel_nm : float
        Edge of its pixels.
    rows, columns : tuple[int, int]
        First tile and the one after the last.
    """

    level: int
    texel_nm: float
    rows: tuple[int, int]
    columns: tuple[int, int]

    def __iter__(self) -> Iterator[tuple[int, int]]:
        for row in range(*self.rows):
            for column in range(*self.columns):
                yield row, column


def fitting_level(pixel_nm: float, super_pixel_nm: float, levels: int) -> int:
    """Choose the level whose pixels are nearest to the screen's.

    Between 0.71 and 1.41 screen pixels wide where there is such a level: sums are
    looked at pixel by pixel, so zooming out never skips any.
    """
    wanted = round(math.log2(max(pixel_nm / super_pixel_nm, 1e-9)))
    return min(max(wanted, 0), levels - 1)


def tile_range(document: Document, viewport: Viewport) -> TileRange | None:
    """Find the tiles in view, with those that the filtering at the edges touches."""
    image = document.image
    level = fitting_level(viewport.pixel_nm, image.super_pixel_nm, image.tiles.levels)
    texel_nm = image.super_pixel_nm * 2**level
    left, right, top, bottom = viewport.rect
    tile_nm = texel_nm * TILE
    tile_rows, tile_columns = image.tiles.shape(level)

    def span(low_nm: float, high_nm: float, count: int) -> tuple[int, int]:
        first = math.floor((low_nm - texel_nm) / tile_nm)
        last = math.floor((high_nm + texel_nm) / tile_nm) + 1
        return max(first, 0), min(last, count)

    columns = span(left - document.rect[0], right - document.rect[0], tile_columns)
    rows = span(top - document.rect[2], bottom - document.rect[2], tile_rows)
    if columns[0] >= columns[1] or rows[0] >= rows[1]:
        return None
    return TileRange(level, texel_nm, rows, columns)


def value_at(document: Document, viewport: Viewport, x_nm: float, y_nm: float) -> float:
    """Return the localizations per um2 in the pixel of the shown level at a place."""
    left, right, top, bottom = document.rect
    if not (left <= x_nm < right and top <= y_nm < bottom):
        return math.nan
    image = document.image
    level = fitting_level(viewport.pixel_nm, image.super_pixel_nm, image.tiles.levels)
    texel_nm = image.super_pixel_nm * 2**level
    row, column = int((y_nm - top) / texel_nm), int((x_nm - left) / texel_nm)
    with document.lock:
        tile = image.tiles.tile(level, row // TILE, column // TILE)
    count = float(tile[row % TILE, column % TILE, 0])
    return float(count / (texel_nm / 1e3) ** 2)


def common(one: Rect, other: Rect) -> Rect:
    """Return the rectangle that two have in common; ends before it begins if none."""
    return (
        max(one[0], other[0]),
        min(one[1], other[1]),
        max(one[2], other[2]),
        min(one[3], other[3]),
    )
