"""Keys are a table; the window obeys it and the sheet prints it."""

from __future__ import annotations

from html import escape
from typing import Any

import pytest

from liveloc.viewer.window.panels.shortcuts import MOUSE, SHORTCUTS, action_of


def test_no_key_does_two_things_and_every_key_exists() -> None:
    from PySide6.QtCore import Qt

    keys = [key for shortcut in SHORTCUTS for key in shortcut.keys]
    assert len(keys) == len(set(keys))
    for key in keys:
        assert hasattr(Qt.Key, f"Key_{key}")
        assert action_of(key) is not None
    assert action_of("Z") is None


def test_every_action_is_something_that_the_window_does() -> None:
    from liveloc.viewer.window.main_window import ViewerWindow

    for shortcut in SHORTCUTS:
        method = getattr(ViewerWindow, shortcut.action)
        assert method.__doc__
    assert len({shortcut.action for shortcut in SHORTCUTS}) == len(SHORTCUTS)


@pytest.mark.display
def test_the_sheet_lists_exactly_the_table(application: Any) -> None:
    from PySide6.QtWidgets import QWidget

    from liveloc.viewer.window.panels.help_sheet import HelpSheet

    parent = QWidget()
    text = HelpSheet(parent).text()
    entries = [(shortcut.shown, shortcut.does) for shortcut in SHORTCUTS] + list(MOUSE)
    assert text.count("<b>") == len(entries) + 1  # and the heading
    for keys, does in entries:
        assert f"<b>{escape(keys)}</b>" in text
        assert f">{escape(does)}</td>" in text
    parent.deleteLater()
