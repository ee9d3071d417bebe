"""Opens the window and keeps it until the user, a signal or the session ends it."""

from __future__ import annotations

import signal
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..stream.errors import SettingsError
from .display import display_available
from .reconstruction import SUPER_PIXEL_NM

if TYPE_CHECKING:
    from .window.main_window import LiveWindow

SHOWN_S = 0.5  # after the end: time for the last picture to be on screen


def run_viewer(
    endpoint: str,
    *,
    title: str = "liveloc",
    super_pixel_nm: float = SUPER_PIXEL_NM,
    min_probability: float = 0.0,
    max_sigma_nm: float | None = None,
    screenshot: Path | None = None,
    exit_after_end: bool = False,
    save_folder: Path | None = None,
) -> int:
    """Show the sessions of the engine at `endpoint` until the window is closed.

    Blocks; call it from the main thread. The engine may start later, restart or
    end in between; a session under way is shown from its first localization.

    Parameters
    ----------
    endpoint : str
        Where the engine publishes localizations.
    title : str
        Of the window.
    super_pixel_nm : float
        Edge of an image pixel aimed at, see `Reconstruction`.
    min_probability, max_sigma_nm : float
        What is shown, see `Reconstruction`.
    screenshot : Path, optional
        The window as the user saw it last is saved there as PNG.
    exit_after_end : bool
        Close the window when a session has ended and was shown.
    save_folder : Path, optional
        Where key S puts pictures; the present folder if not given.

    Returns
    -------
    int
        0 when the window was closed, by whomever; 1 when it showed a session that
        did not end well and `exit_after_end` is set.

    Raises
    ------
    SettingsError
        No display, no such endpoint, a picture that cannot be written.
    """
    works, reason = display_available()
    if not works:
        raise SettingsError(f"viewer: {reason}")
    from PySide6.QtWidgets import QApplication

    from ..stream.broadcast import LocalizationSubscriber
    from .live import LiveSession
    from .window.main_window import LiveWindow

    application = QApplication.instance() or QApplication(sys.argv[:1])
    session = LiveSession(
        super_pixel_nm=super_pixel_nm,
        min_probability=min_probability,
        max_sigma_nm=max_sigma_nm,
    )
    window = LiveWindow(
        session,
        LocalizationSubscriber(endpoint),
        title=title,
        address=endpoint,
        save_folder=save_folder or Path(),
    )
    return _show(application, window, screenshot, exit_after_end)


def _show(
    application: Any, window: LiveWindow, screenshot: Path | None, exit_after_end: bool
) -> int:
    """Run Qt's loop around the window."""
    if screenshot is not None:
        window.photograph_at_close(screenshot)
    if exit_after_end:
        window.close_after_end(SHOWN_S)
    before = _closing_on_interrupt(window)
    try:
        window.show()
        application.exec()
    finally:
        window.close()
        if before is not None:
            signal.signal(signal.SIGINT, before)
    if window.failure is not None:
        raise window.failure
    ended = window.session.end_status
    return int(exit_after_end and ended not in ("", "ok"))


def _closing_on_interrupt(window: LiveWindow) -> Any:
    """Let Ctrl-C close the window; give the handler that was there before.

    Python gets to run the handler in the window's timer calls, so within 50 ms:
    in the middle of one, thus it only leaves word.
    """
    if threading.current_thread() is not threading.main_thread():
        return None
    from PySide6.QtCore import QTimer

    return signal.signal(signal.SIGINT, lambda *_: QTimer.singleShot(0, window.close))
