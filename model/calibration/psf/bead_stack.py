"""Read the input of a PSF calibration: planes, and stated positions of beads."""

from __future__ import annotations

import csv
import io
from typing import TYPE_CHECKING, Any

import numpy as np

from liveloc.stream.errors import SettingsError
from liveloc.stream.files.input_file import read_file
from liveloc.stream.movies import open_movie

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray


def read_stack(path: Path) -> NDArray[Any]:
    """Read all planes of a stack: (planes, height, width), counts or any light.

    TIFF of any number type, or any movie that `open_movie` reads.

    Raises
    ------
    SettingsError
        Missing, unreadable, of more than one channel, or with pixels that are not
        square.
    """
    if not path.exists():
        raise SettingsError(f"{path}: no such bead stack.")
    with open_movie(path, counts=False) as movie:
        if movie.pixel_size.oblong:
            raise SettingsError(
                f"{path} {movie.pixel_size.oblong}. If the file is wrong, save it "
                "without the pixel size."
            )
        stack = np.stack([movie.read(k) for k in range(len(movie))])
    if stack.dtype.kind not in "iuf" or not np.isfinite(stack).all():
        raise SettingsError(
            f"{path}: has pixels of type {stack.dtype} that are not all finite numbers."
        )
    return stack


def read_positions(path: Path, pixel_size_nm: float) -> NDArray[np.float64]:
    """Read true positions of beads from a table with the columns x_nm and y_nm.

    Nanometres count from the corner of the first pixel, as in the tables of the SMLM
    challenge; a bead that is listed for every plane counts once.

    Returns
    -------
    NDArray, shape (n, 2)
        (x, y) in pixels: the centre of the first pixel is (0, 0).

    Raises
    ------
    SettingsError
        Missing file, or one without these columns.
    """
    content = read_file(path, "table of beads", 64 << 20)
    try:
        text = io.StringIO(content.decode("utf-8-sig"), newline="")
        rows = list(csv.DictReader(text))
        places = np.array([(float(row["x_nm"]), float(row["y_nm"])) for row in rows])
    except (UnicodeDecodeError, csv.Error) as error:
        raise SettingsError(f"{path}: cannot be read as a table: {error}") from None
    except (KeyError, TypeError, ValueError):
        places = np.empty((0, 2))
    if not len(places) or not np.isfinite(places).all():
        raise SettingsError(
            f"{path}: not a table of bead positions. It needs columns named x_nm and "
            "y_nm, in nanometres from the corner of the first pixel."
        )
    unique = np.unique(places.round(4), axis=0)
    return np.asarray(unique / pixel_size_nm - 0.5, np.float64)
