"""A Qt binding that miscounts None must not end the window."""

import subprocess
import sys

MANY_CALLS = """
import sys
import liveloc.viewer.window
from PySide6.QtCore import QPoint
point = QPoint()
for _ in range(200_000):
    point.setX(1)
liveloc.viewer.window.keep_none()
print(sys.getrefcount(None) > 1000)
"""


def test_a_window_outlives_more_calls_of_qt_than_none_has_references() -> None:
    child = subprocess.run(
        [sys.executable, "-c", MANY_CALLS],
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert child.returncode == 0, child.stderr
    assert child.stdout.strip() == "True"
