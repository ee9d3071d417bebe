"""Keep Python's None alive under a Qt binding that forgets to count it.

PySide6 6.12.0 gives None away without taking a reference in every call that returns
nothing. From Python 3.12 on None is immortal and nothing comes of it; before, the
interpreter ends with ``Fatal Python error: none_dealloc`` after some ten thousand
calls, which a live window makes within minutes.
"""

from __future__ import annotations

import ctypes
import sys

from PySide6.QtCore import QPoint

CALLS = 16
PLENTY = 1 << 40  # references: years of redraws


def loses_none() -> bool:
    """Say whether calls of Qt take references to None away."""
    point, before = QPoint(), sys.getrefcount(None)
    for _ in range(CALLS):
        point.setX(1)
    return sys.getrefcount(None) <= before - CALLS // 2


def keep_none() -> bool:
    """Give None more references than can be lost; say whether that was needed.

    Where the count cannot be found, nothing is done.
    """
    if sys.version_info >= (3, 12) or not loses_none():
        return False
    count = ctypes.c_ssize_t.from_address(id(None))
    found = abs(count.value - sys.getrefcount(None)) < CALLS
    if found and count.value < PLENTY // 2:
        count.value += PLENTY
    return True
