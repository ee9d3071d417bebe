"""Qt's loop around a window, until the user, Ctrl-C or the session's end closes it."""

from __future__ import annotations

import signal
import sys
import threading
from typing import TYPE_CHECKING, Any

from PySide6.QtCore import QCoreApplication, QTimer
from PySide6.QtWidgets import QApplication

if TYPE_CHECKING:
    from pathlib import Path

    from .main_window import ViewerWindow

SWITCH_S = 0.001  # a thread that wants to paint waits so long for one that computes
SHOWN_S = 0.5  # after the end: time for the last picture to be on screen


def qt_application() -> QCoreApplication:
    """Return the application that a window needs, started if need be."""
    return QApplication.instance() or QApplication(sys.argv[:1])


def show_until_closed(
    application: QCoreApplication,
    window: ViewerWindow,
    screenshot: Path | None,
    exit_after_end: bool,
) -> None:
    """Run Qt's loop around the window; the arguments are those of `run_viewer`."""
    if screenshot is not None:
        window.photograph_at_close(screenshot)
    if exit_after_end:
        window.close_after_end(SHOWN_S)
    before, interval_s = _closing_on_interrupt(window), sys.getswitchinterval()
    sys.setswitchinterval(SWITCH_S)
    try:
        window.show()
        application.exec()
    finally:
        window.close()
        sys.setswitchinterval(interval_s)
        if before is not None:
            signal.signal(signal.SIGINT, before)


def _closing_on_interrupt(window: ViewerWindow) -> Any:
    """Let Ctrl-C close the window; return the handler that was there before.

    Python runs the handler within one of the window's timer calls, so it only
    schedules the closing.
    """
    if threading.current_thread() is not threading.main_thread():
        return None
    return signal.signal(signal.SIGINT, lambda *_: QTimer.singleShot(0, window.close))
