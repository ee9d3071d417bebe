"""Limit how often a signal is sent while a slider moves; send once on release."""

from __future__ import annotations

from typing import TYPE_CHECKING

from PySide6.QtCore import QObject, QTimer

if TYPE_CHECKING:
    from collections.abc import Callable

INTERVAL_MS = 100


class Throttle(QObject):
    """Calls `say` at most every `INTERVAL_MS`, and never misses the last change."""

    def __init__(self, say: Callable[[], None], parent: QObject) -> None:
        super().__init__(parent)
        self._say = say
        self._changed = False
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(INTERVAL_MS)
        self._timer.timeout.connect(self._due)

    def soon(self) -> None:
        """Something changed and goes on changing."""
        self._changed = True
        if not self._timer.isActive():
            self._due()

    def now(self) -> None:
        """Something changed for good."""
        self._changed = True
        self._due()

    def forget(self) -> None:
        """Whatever has not been said is void."""
        self._changed = False

    def _due(self) -> None:
        if self._changed:
            self._changed = False
            self._timer.start()
            self._say()
