"""What of Micro-Manager works on this machine."""

from __future__ import annotations

from importlib.metadata import version
from typing import TYPE_CHECKING

from liveloc.stream.errors import LivelocError

from .camera.python_core import close_core
from .camera.sequence_source import open_core

if TYPE_CHECKING:
    from pymmcore_plus import CMMCorePlus


def examine_micromanager() -> list[tuple[str, bool, str]]:
    """Load the demo devices and take a picture.

    Returns
    -------
    list of (name, works, detail)
        One entry for the core and its adapters, one for the demo camera if there
        is a core.
    """
    try:
        core = open_core("demo")
    except (LivelocError, OSError, RuntimeError) as error:
        detail = f"{error} Install mm-test-adapters, or set MICROMANAGER_PATH."
        return [("Micro-Manager", False, detail)]
    try:
        folders = ", ".join(core.getDeviceAdapterSearchPaths())
        detail = (
            f"pymmcore-plus {version('pymmcore-plus')}, {core.getVersionInfo()}, "
            f"{core.getAPIVersionInfo()}; adapters in {folders}"
        )
        return [("Micro-Manager", True, detail), _examine_camera(core)]
    finally:
        close_core(core)


def _examine_camera(core: CMMCorePlus) -> tuple[str, bool, str]:
    """Take one picture with the current camera."""
    try:
        core.snapImage()
        height, width = core.getImage().shape[:2]
    except (RuntimeError, IndexError) as error:
        return ("demo camera", False, f"takes no picture: {error}")
    return ("demo camera", True, f"took a picture of {width} x {height} pixels")
