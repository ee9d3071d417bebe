"""The maps between network and emitter list: names, order, geometry."""

from __future__ import annotations

CELL_PX = 2  # edge of a cell, camera pixels: every cell can report one emitter
REACH_PX = 2.0  # largest offset of an emitter from its cell's centre, per axis
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
