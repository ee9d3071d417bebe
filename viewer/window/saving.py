"""Where files are saved: under names of this moment, or where the user says."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from PySide6.QtWidgets import QFileDialog

if TYPE_CHECKING:
    from PySide6.QtWidgets import QWidget

# What can be saved: the end of its name, and what the dialog offers besides.
KINDS = {
    "picture": (".png", "Picture (*.png);;TIFF, 32 bits (*.tif);;OME-TIFF (*.ome.tif)"),
    "table": (".arrow", "Arrow (*.arrow);;ThunderSTORM (*.csv)"),
    "view": (".yaml", "View (*.yaml)"),
}


def unused(folder: Path, kind: str) -> Path:
    """Return an unused path, named after the present time."""
    stem = f"liveloc-{datetime.now().astimezone():%Y%m%d-%H%M%S}"
    suffix = KINDS[kind][0]
    path = (folder / f"{stem}{suffix}").resolve()
    again = 2
    while path.exists():
        path = (folder / f"{stem}-{again}{suffix}").resolve()
        again += 1
    return path


def asked(parent: QWidget, folder: Path, kind: str) -> Path | None:
    """Let the user choose; None for a dialog that was closed."""
    suffix, offered = KINDS[kind]
    proposed = str(unused(folder, kind))
    name, chosen = QFileDialog.getSaveFileName(
        parent, f"Save the {kind}", proposed, offered
    )
    if not name:
        return None
    path = Path(name)
    if not path.suffix:
        wanted = chosen.rpartition("*")[2].rstrip(")") or suffix
        path = path.with_name(path.name + wanted)
    return path
