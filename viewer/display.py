"""Whether a window can open here, probed without risking this process."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys

from liveloc.stream.session.processes import PYTHON

PROBE_TIMEOUT_S = 20.0

# Qt ends the whole process when it finds no display or lacks a system library, so
# a child tries first. It opens nothing that could be seen.
_PROBE = """
import sys
from PySide6.QtGui import QGuiApplication, QOpenGLContext
app = QGuiApplication([])
sys.exit(0 if QOpenGLContext().create() else 3)
"""
_PACKAGES = (
    "libegl1 libgl1 libxkbcommon-x11-0 libxcb-cursor0 libxcb-icccm4 libxcb-keysyms1 "
    "libxcb-image0 libxcb-render-util0 libxcb-shape0 libxcb-xinerama0 libdbus-1-3"
)
_HEADLESS = "Without a window use --headless: the picture is written to a file."


def display_available() -> tuple[bool, str]:
    """Return whether the viewer's window can open on this machine.

    Returns
    -------
    bool
        True when a window can open. Always True on Windows and macOS.
    str
        What was found; if there is no display, what to do about it. One line.

    Notes
    -----
    On Linux with a display named in the environment this starts a child for about
    half a second, because Qt aborts where it cannot start.
    """
    if importlib.util.find_spec("PySide6") is None:
        return False, f"PySide6 not installed. Reinstall liveloc with pip. {_HEADLESS}"
    platform = os.environ.get("QT_QPA_PLATFORM", "")
    if platform.startswith("offscreen"):
        return True, "windows are invisible: QT_QPA_PLATFORM is 'offscreen'"
    if sys.platform in ("win32", "darwin"):
        return True, "windows open on this system's own display"
    named = os.environ.get("WAYLAND_DISPLAY") or os.environ.get("DISPLAY")
    if not named:
        return False, (
            "no display: neither DISPLAY nor WAYLAND_DISPLAY is set. Log in at a "
            f"desktop, or use 'ssh -X', or 'xvfb-run -a'. {_HEADLESS}"
        )
    return _probed(named)


def _probed(named: str) -> tuple[bool, str]:
    """Let a child start Qt and OpenGL on the display `named`."""
    try:
        child = subprocess.run(
            [*PYTHON, "-c", _PROBE],
            capture_output=True,
            text=True,
            errors="replace",
            timeout=PROBE_TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return False, (
            f"display {named} does not answer within {PROBE_TIMEOUT_S:.0f} s. "
            + _HEADLESS
        )
    if child.returncode == 0:
        return True, f"display {named}, with OpenGL"
    if child.returncode == 3:
        return True, (
            f"display {named}, without OpenGL: slower. Install a driver or software "
            "rendering (Debian, Ubuntu: apt install libgl1-mesa-dri)."
        )
    return False, f"display {named}: {_reason(child.stderr)} {_HEADLESS}"


def _reason(complaint: str) -> str:
    """Turn what Qt printed before it gave up into a cause and a remedy."""
    if "could not connect to display" in complaint:
        return "no X server answers. Is DISPLAY set to a running one?"
    lines = [line.strip() for line in complaint.splitlines() if line.strip()]
    first = next((line for line in lines if "lib" in line), "Qt cannot start.")
    return f"{first[:200]} Debian, Ubuntu: apt install {_PACKAGES}."
