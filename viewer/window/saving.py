"""Names for files that are saved."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


def unused(folder: Path, suffix: str) -> Path:
    """Give a path of this moment that nothing has yet."""
    stem = f"liveloc-{datetime.now().astimezone():%Y%m%d-%H%M%S}"
    path = (folder / f"{stem}{suffix}").resolve()
    again = 2
    while path.exists():
        path = (folder / f"{stem}-{again}{suffix}").resolve()
        again += 1
    return path
