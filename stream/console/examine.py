"""What the disk of this machine can take."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

PROBE_MIB = 64
ENOUGH_MIB_PER_S = 150  # 256x256 pixels, 16 bit, 1,000 frames/s


def examine_disk(folder: Path) -> tuple[str, bool, str]:
    """Write 64 MiB into `folder` and see how fast it reaches the disk.

    Returns
    -------
    (name, works, detail) : tuple[str, bool, str]
        `works` is False where recording would be slow, or is not possible.
    """
    block = os.urandom(1 << 20)
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            began = time.monotonic()
            for _ in range(PROBE_MIB):
                file.write(block)
            file.flush()
            os.fsync(file.fileno())
            rate = PROBE_MIB / (time.monotonic() - began)
    except OSError as error:
        return ("disk", False, f"{folder} cannot be written: {error}")
    free_gib = shutil.disk_usage(folder).free / 2**30
    detail = f"{rate:.0f} MiB/s and {free_gib:.0f} GiB free in {folder}"
    if rate < ENOUGH_MIB_PER_S:
        return ("disk", False, f"{detail}: slow for recording, choose a local SSD")
    return ("disk", True, detail)
