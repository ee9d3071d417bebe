"""Opens the window and keeps it until the user, a signal or the session ends it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from liveloc.stream.errors import SettingsError

from .display import display_available

if TYPE_CHECKING:
    from .data.selection import Selection
    from .image.colouring import DisplaySettings
    from .sessions.session import SessionView


def run_viewer(
    session: SessionView,
    *,
    title: str = "liveloc",
    address: str = "",
    look: DisplaySettings | None = None,
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
        Address, shown while waiting for the engine.
    look : DisplaySettings, optional
        How to draw; default: as the last time.
    selection : Selection, optional
        Which rows are shown, to begin with.
    source : Path, optional
        Folder of the session, or the table: what a saved view (key V) refers to.
    screenshot : Path, optional
        The window as the user saw it last is saved there as PNG.
    exit_after_end : bool
        Close the window when a session has ended and was shown.
    save_folder : Path, optional
        Folder for saved files; default: the current folder.
    report : Path, optional
        What was measured is written there as JSON when the window closes:
        ``published_to_screen_ms``, ``renderer``, ``redraws``, ``redraw_ms``.

    Returns
    -------
    int
        0 when the window was closed; 1 when it showed a session that
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
        from .window.application import qt_application, show_until_closed
        from .window.main_window import ViewerWindow

        application = qt_application()
        window = ViewerWindow(
            session,
            title=title,
            address=address,
            save_folder=save_folder or Path(),
            look=look,
            selection=selection,
            source=source,
        )
        show_until_closed(application, window, screenshot, exit_after_end)
        if report is not None:
            report.write_text(json.dumps(window.report(), indent=1) + "\n", "utf-8")
    finally:
        session.close()
    if window.failure is not None:
        raise window.failure
    return int(exit_after_end and session.end_status not in ("", "ok"))
