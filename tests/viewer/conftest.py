"""A display for the window's tests, and settings that are nobody's."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from liveloc.viewer import display_available

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(autouse=True)
def own_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Remember nothing of this machine's user, and nothing from test to test."""
    folder = tmp_path / "settings"
    monkeypatch.setenv("LIVELOC_CONFIG_DIR", str(folder))
    return folder


@pytest.fixture(scope="session")
def display() -> Iterator[None]:
    """A display: the one there is, or an Xvfb of our own."""
    server = None
    if sys.platform == "linux" and not os.environ.get("DISPLAY"):
        if shutil.which("Xvfb") is None:
            pytest.skip("no DISPLAY, and Xvfb is not installed")
        reading, writing = os.pipe()
        server = subprocess.Popen(
            ["Xvfb", "-displayfd", str(writing), "-screen", "0", "1400x1000x24"],
            pass_fds=(writing,),
            stderr=subprocess.DEVNULL,
        )
        os.close(writing)
        with os.fdopen(reading) as pipe:
            os.environ["DISPLAY"] = f":{pipe.readline().strip()}"
    works, reason = display_available()
    if works:
        yield
    if server is not None:
        server.terminate()
        server.wait(10)
        del os.environ["DISPLAY"]
    if not works:
        pytest.skip(reason)


@pytest.fixture(scope="session")
def application(display: None) -> Iterator[Any]:
    from PySide6.QtWidgets import QApplication

    application = QApplication.instance() or QApplication([])
    yield application
    application.processEvents()
    application.shutdown()  # while the display is still there
