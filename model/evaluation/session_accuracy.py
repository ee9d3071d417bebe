"""The accuracy of a session on the simulated microscope, which knows the truth."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from liveloc.stream.files.session_folder import SessionFolder
from liveloc.stream.tables.ledger import ProcessedLog
from liveloc.stream.tables.opening import read_table

from .metrics import Field, evaluate

if TYPE_CHECKING:
    from pathlib import Path

BORDER_NM = 450.0  # left out, as in the SMLM challenge


def session_accuracy(folder: Path) -> dict[str, Any] | None:
    """Score the localized frames of a session against its truth, for the report.

    Returns
    -------
    dict or None
        None without a truth, or where the bridge could not write all of it.
    """
    paths = SessionFolder(folder)
    if not paths.truth.exists() or not paths.table.exists():
        return None
    found, metadata = read_table(paths.table)
    truth, about = read_table(paths.truth)
    if about["complete"] != "yes":
        return None
    done = ProcessedLog(paths.ledger).localized_frames()
    found, truth = (rows[np.isin(rows["frame"], done)] for rows in (found, truth))
    field = Field.of(truth, metadata)
    score = evaluate(found, truth, field=field, border_nm=BORDER_NM)
    return {**score.as_dict(), "border_nm": BORDER_NM}
