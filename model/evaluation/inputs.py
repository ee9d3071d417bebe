"""Read the two tables of an evaluation, and note what is doubtful about them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from liveloc.stream.console.options import ASSUMED_PIXEL_NM, table_path
from liveloc.stream.errors import SettingsError
from liveloc.stream.pixel_size import check_pixel_size
from liveloc.stream.tables.opening import open_pieces, read_table

from .matching import match

if TYPE_CHECKING:
    from pathlib import Path

    from liveloc.stream.localizations import Localizations

COMPARED_FRAMES = 200  # show whether both tables count frames from the same number
ALIKE = 1e-3  # relative difference of pixel sizes that are one
MANY_MORE = 1.2  # times the pairs, if one of them counts from another


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Inputs:
    """A table and its truth, in the same coordinates.

    Attributes
    ----------
    table, truth : Localizations
        Rows with a position.
    metadata : dict[str, str]
        Metadata of both files; the truth takes precedence.
    remarks : list[str]
        Assumptions and omissions, one line each.
    """

    table: Localizations
    truth: Localizations
    metadata: dict[str, str]
    remarks: list[str]


def read_inputs(
    table: Path,
    truth: Path,
    pixel_size_nm: float | None = None,
    axial_nm: float | None = None,
) -> Inputs:
    """Read a table and its truth.

    A pixel size that only one of them states holds for both. If neither does, 100 nm
    are assumed, with a remark, but not for positions in pixels.

    Parameters
    ----------
    table, truth : Path
        Files as `read_table` reads them, or folders of sessions.
    pixel_size_nm : float, optional
        Pixel size of tables that do not state it.
    axial_nm : float, optional
        Largest distance of a pair along z; None: in the plane only.

    Raises
    ------
    SettingsError
        See `read_table`.
    """
    paths = table_path(table), table_path(truth)
    if pixel_size_nm is not None:
        check_pixel_size(pixel_size_nm, "--pixel-size")
    stated = [_stated(path, pixel_size_nm) for path in paths]
    size = pixel_size_nm or next((s for s in stated if s), None)
    remarks = []
    if size is None and not any(_in_pixels(path) for path in paths):
        size = ASSUMED_PIXEL_NM
        names = " and ".join(path.name for path in paths)
        remarks.append(
            f"{names} do not state the pixel size: {size:g} nm assumed; use "
            "--pixel-size for true positions"
        )
    mine, theirs = stated
    if mine and theirs and abs(mine / theirs - 1) > ALIKE:
        remarks.append(
            f"{paths[0].name} states pixels of {mine:g} nm, {paths[1].name} "
            f"of {theirs:g} nm: each was read with its own"
        )
    found, metadata = read_table(paths[0], mine or size)
    true, about = read_table(paths[1], theirs or size)
    for path, stated_by in zip(paths, (metadata, about), strict=True):
        if left_out := stated_by.pop("remarks", ""):
            remarks.append(f"{path.name}: {left_out}")
    if doubt := _other_first_frame(found, true, axial_nm):
        remarks.append(f"{paths[0].name}: {doubt}")
    if size is not None:
        metadata.setdefault("pixel_size_nm", repr(size))
    return Inputs(table=found, truth=true, metadata=metadata | about, remarks=remarks)


def _stated(path: Path, given: float | None) -> float | None:
    """Return the pixel size that a table states, or that is given for it."""
    try:
        text = open_pieces(path, given).metadata.get("pixel_size_nm")
    except SettingsError:  # raised again when the table is read
        return None
    return float(text) if text else None


def _in_pixels(path: Path) -> bool:
    """Return whether a table's positions are in pixels, so that no size is assumed."""
    try:
        return open_pieces(path).in_pixels
    except SettingsError:
        return True


def _other_first_frame(
    table: Localizations, truth: Localizations, axial_nm: float | None
) -> str:
    """Return a doubt if far more rows match the frame before or after."""
    frames = np.unique(truth["frame"])[:COMPARED_FRAMES]
    if not len(frames) or not len(table):
        return ""
    true = truth[truth["frame"] <= frames[-1]]
    near = table[table["frame"] <= frames[-1] + 1]
    pairs = {}
    for step in (0, -1, 1):
        moved = near.copy()
        moved["frame"] += step
        pairs[step] = len(match(moved, true, axial_nm)[0])
    step = max(pairs, key=lambda s: pairs[s])
    if pairs[step] <= MANY_MORE * pairs[0] + 10:
        return ""
    return (
        f"with frame numbers one {'lower' if step < 0 else 'higher'} {pairs[step]} of "
        f"{len(true)} emitters would be found, not {pairs[0]}: do both tables count "
        "frames from the same number?"
    )
