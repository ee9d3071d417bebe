"""The maps between network and emitter list: names, order, geometry."""

from __future__ import annotations

from dataclasses import dataclass

SIZE_MULTIPLE = 4  # frames are padded to a multiple of this many pixels

# Whose features the second half of the network takes, in this order.
WINDOW = ("before", "centre", "after")

# One value per cell; channel order of the network's output.
MAPS = (
    "probability",  # that the cell reports an emitter
    "x_px",  # offset from the cell's centre, column direction
    "y_px",  # offset from the cell's centre, row direction
    "z_nm",
    "photons",
    "x_sigma_px",
    "y_sigma_px",
    "z_sigma_nm",
    "photons_sigma",  # relative: of the logarithm of the photons
    "background",  # photons per pixel
)


@dataclass(frozen=True, slots=True)
class Grid:
    """The cells of the maps: each can report one emitter.

    Attributes
    ----------
    cell_px : int
        Edge of a cell, camera pixels.
    reach_px : float
        Largest offset of an emitter from its cell's centre, per axis.
    """

    cell_px: int
    reach_px: float

    def cells(self, shape: tuple[int, int]) -> tuple[int, int]:
        """Return (rows, columns) of the maps of frames of `shape` pixels, padded."""
        height, width = (side + -side % SIZE_MULTIPLE for side in shape)
        return height // self.cell_px, width // self.cell_px


PIXELS = Grid(cell_px=1, reach_px=1.0)
CELLS = Grid(cell_px=2, reach_px=2.0)
