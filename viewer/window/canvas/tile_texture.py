"""Tiles on the graphics card: one texture, wrapped around like a torus.

Tile (row, column) of a level lies at (row mod n, column mod m) of the texture. So
neighbours in the image are neighbours in the texture, also across its rim, and linear
filtering needs no borders: a tile that changed is uploaded alone, panning uploads what
came into view, and everything is one draw call.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from vispy import gloo

from ...views.scene import TILE

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from ...data.document import Document
    from ...views.scene import TileRange


@dataclass(frozen=True, slots=True)
class _Held:
    """What lies in one place of the texture."""

    tiles: Any  # the pyramid it was taken from
    where: tuple[int, int, int]  # level, row, column
    version: int
    picture: NDArray[np.float32]  # renewed in place; vispy reads it when it draws


class TileTexture:
    """Holds the visible tiles of one level, two floats a pixel: counts and sum of z.

    Attributes
    ----------
    texture : vispy.gloo.Texture2D or None
        None until something was brought.
    uploads : int
        Tiles uploaded so far.
    """

    def __init__(self) -> None:
        self.texture: Any = None
        self.uploads = 0
        self._places = (0, 0)  # rows, columns of tiles
        self._held: dict[tuple[int, int], _Held] = {}

    @property
    def shape(self) -> tuple[int, int]:
        """(height, width) of the texture, pixels."""
        return self._places[0] * TILE, self._places[1] * TILE

    def bring(self, document: Document, wanted: TileRange) -> None:
        """Upload what is in view and is not there yet in its present version."""
        self._make_room(wanted)
        tiles = document.image.tiles
        for row, column in wanted:
            place = row % self._places[0], column % self._places[1]
            where = wanted.level, row, column
            held = self._held.get(place)
            if held is not None and (held.tiles is not tiles or held.where != where):
                held = None
            if held is not None and held.version == tiles.version(*where):
                continue
            with document.lock:
                version = tiles.version(*where)
                if held and tiles.renew(held.picture, *where, held.version):
                    picture = held.picture
                else:
                    picture = tiles.tile(*where)
            offset = place[0] * TILE, place[1] * TILE
            self.texture.set_data(picture, offset=offset)
            self._held[place] = _Held(tiles, where, version, picture)
            self.uploads += 1

    def _make_room(self, wanted: TileRange) -> None:
        rows = wanted.rows[1] - wanted.rows[0]
        columns = wanted.columns[1] - wanted.columns[0]
        if rows <= self._places[0] and columns <= self._places[1]:
            return
        self._places = max(rows, self._places[0]), max(columns, self._places[1])
        self._held.clear()
        if self.texture is not None:
            self.texture.delete()
        self.texture = gloo.Texture2D(
            shape=(*self.shape, 2),
            format="rg",
            internalformat="rg32f",
            interpolation="linear",
            wrapping="repeat",
        )
