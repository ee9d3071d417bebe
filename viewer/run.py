"""Opens the window and keeps it until the user, a signal or the session ends it."""

from __future__ import annotations

import json
import signal
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

from liveloc.stream.errors import SettingsError

from .display import display_available

if TYPE_CHECKING:
    from .data.selection import Selection
    from .image.colouring import Look
    from .sessions.session import SessionView
    from .window.main_window import ViewerWindow

SWITCH_S = 0.001  # a thread that wants to paint waits so long for one that computes
SHOWN_S = 0.5  # after the end: time for the last picture to be on screen


def run_viewer(
    session: SessionView,
    *,
    title: str = "liveloc",
    address: str = "",
    look: Look | None = None,
    selection: Selection | None = None,
    source: Path | None = None,
    screenshot: Path | None = None,
    exit_after_end: bool = False,
    save_folder: Path | None = None,
    report: Path | None = None,
) -> int:
    """Show what is session until the window is closed.

    Blocks; call it from the main thread. An engine may start later, restart or end
    in between; a session under way is shown from its first localization.

    Parameters
    ----------
    session : SessionView
        A `LiveSession` or an `OpenedSession`; closed at the end, whatever happens.
    title : str
        Of the window.
    address : str
        Where news are expected from, said while there are none.
    look : Look, optional
        How to draw; as it was the last time if not given.
    selection : Selection, optional
        Which rows are shown, to begin with.
    source : Path, optional
        Folder of the session, or the table: what a saved view (key V) refers to.
    screenshot : Path, optional
        The window as the user saw it last is saved there as PNG.
    exit_after_end : bool
        Close the window when a session has ended and was shown.
    save_folder : Path, optional
        Where files are saved; the present folder if not given.
    report : Path, optional
        What was measured is written there as JSON when the window closes:
        ``published_to_screen_ms``, ``renderer``, ``redraws``, ``redraw_ms``.

    Returns
    -------
    int
        0 when the window was closed, by whomever; 1 when it showed a session that
        did not end well and `exit_after_end` is set.

    Raises
    ------
    SettingsError
        No display, a picture that cannot be written.
    """
    try:
        works, reason = display_available()
        if not works:
            raise SettingsError(f"viewer: {reason}")
        from PySide6.QtWidgets import QApplication

        from .window.main_window import ViewerWindow

        application = QApplication.instance() or QApplication(sys.argv[:1])
        window = ViewerWindow(
            session,
            title=title,
            address=address,
            save_folder=save_folder or Path(),
            look=look,
            selection=selection,
            source=source,
        )
        _show(application, window, screenshot, exit_after_end)
        if report is not None:
            report.write_text(json.dumps(window.report(), indent=1) + "\n", "utf-8")
    finally:
        session.close()
    if window.failure is not None:
        raise window.failure
    return int(exit_after_end and session.end_status not in ("", "ok"))


def _show(
    application: Any,
    window: ViewerWindow,
    screenshot: Path | None,
    exit_after_end: bool,
) -> None:
    """Run Qt's loop around the window."""
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
    """Let Ctrl-C close the window; give the handler that was there before.

    Python gets to run the handler in the window's timer calls, so within 50 ms:
    in the middle of one, thus it only leaves word.
    """
    if threading.current_thread() is not threading.main_thread():
        return None
    from PySide6.QtCore import QTimer

    return signal.signal(signal.SIGINT, lambda *_: QTimer.singleShot(0, window.close))
