"""The sheet under `?`: every key, from the same table that the window obeys."""

from __future__ import annotations

from html import escape

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QFrame, QLabel, QVBoxLayout, QWidget

from .shortcuts import MOUSE, SHORTCUTS

_STYLE = """
QFrame#help { background: #171b22; border: 1px solid #333b48; border-radius: 12px; }
QFrame#help QLabel { background: transparent; border: none; color: #e8eaee; }
"""
_KEY = (
    "<td align='right' style='color:#5cc8ff; padding:2px 12px 2px 4px'>"
    "<b>{}</b></td><td style='padding:2px 26px 2px 0px'>{}</td>"
)


class HelpSheet(QFrame):
    """Lies over the canvas; a click takes it away."""

    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent)
        self.setObjectName("help")
        self.setStyleSheet(_STYLE)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(26, 20, 26, 20)
        self._label = QLabel(_table())
        self._label.setTextFormat(Qt.TextFormat.RichText)
        layout.addWidget(self._label)
        self.setAttribute(Qt.WidgetAttribute.WA_TransparentForMouseEvents, on=False)
        self.hide()

    def text(self) -> str:
        """Return the text as HTML."""
        return self._label.text()

    def toggle(self) -> None:
        """Show it in the middle of its parent, or hide it."""
        if self.isVisible():
            self.hide()
            return
        self.adjustSize()
        parent = self.parentWidget()
        if parent is not None:
            middle = parent.rect().center() - self.rect().center()
            self.move(max(0, middle.x()), max(0, middle.y()))
        self.show()
        self.raise_()

    def mousePressEvent(self, event: object) -> None:
        """Hide it."""
        self.hide()


def _table() -> str:
    entries = [(shortcut.shown, shortcut.does) for shortcut in SHORTCUTS]
    entries += MOUSE
    half = -(-len(entries) // 2)
    lines = []
    for place in range(half):
        pair = entries[place::half]
        cells = "".join(_KEY.format(escape(key), escape(does)) for key, does in pair)
        lines.append(f"<tr>{cells}</tr>")
    return (
        "<p style='font-size:16px'><b>Keys and mouse</b></p>"
        f"<table style='font-size:13px'>{''.join(lines)}</table>"
    )
