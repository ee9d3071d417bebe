"""The one line under the image: state, frames, rate, losses, latency, laser."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from PySide6.QtCore import QSize, Qt
from PySide6.QtWidgets import QFrame, QHBoxLayout, QLabel, QWidget

if TYPE_CHECKING:
    from collections.abc import Sequence

    from PySide6.QtGui import QPaintEvent

    from liveloc.stream.broadcast.status import Activation, EngineStatus

    from ...sessions.live import State

_COLOURS = {
    "waiting": "#8b93a1",
    "live": "#3ddc84",
    "silent": "#ffb347",
    "ended": "#6fb1ff",
}
_WORDS = {
    "waiting": "Waiting",
    "live": "Live",
    "silent": "Engine silent",
    "ended": "Ended",
}
_GOOD, _BAD = "#e8eaee", "#ff6b6b"
_KEYS = "? keys"
_UNKNOWN = "\u2013"  # a dash
_THIN = "\u2009"  # between groups of three digits
_PER_UM2 = "/\u00b5m\u00b2"
_LATE_MS = 100  # from frame to laser: what is promised


class StatusLine(QFrame):
    """Shows figures as they come; repaints only what changed."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName("status")
        self._layout = QHBoxLayout(self)
        self._layout.setContentsMargins(16, 7, 16, 7)
        self._layout.setSpacing(22)
        self._state = self._label("")
        self._values = {
            name: self._label(name)
            for name in ("frames", "fps", "localizations", "lost", "latency")
        }
        self._alarms = self._label("alarms")
        self._activation = {name: self._label(name) for name in ("density", "laser")}
        self._show_activation(None)
        self._layout.addStretch(1)
        self._cursor = QLabel()
        self._cursor.setObjectName("cursor")
        self._cursor.setTextFormat(Qt.TextFormat.PlainText)
        self._cursor.setStyleSheet("color: #aab1bd; font-size: 12px;")
        self._layout.addWidget(self._cursor)
        keys = _Hint(_KEYS)
        keys.setStyleSheet("color: #666d7a; font-size: 12px;")
        self._layout.addWidget(keys)

    def show_figures(
        self, state: State, figures: EngineStatus, end_status: str
    ) -> None:
        """Bring the line up to date; what a silent engine sent last is out of date."""
        stale = state == "silent"
        word = _WORDS[state]
        if state == "ended" and end_status != "ok":
            word = f"Ended: {end_status}"
        _set(self._state, f"<span style='color:{_COLOURS[state]}'>●</span>  {word}")
        values = self._values
        _set(values["frames"], _pair(_grouped(figures.frames), "frames"))
        rate = _UNKNOWN if stale or figures.fps is None else f"{figures.fps:.0f}"
        _set(values["fps"], _pair(rate, "fps"))
        _set(
            values["localizations"],
            _pair(_grouped(figures.localizations), "localizations"),
        )
        lost = sum(figures.lost.values())
        _set(values["lost"], _pair(_grouped(lost), "lost", _BAD if lost else _GOOD))
        causes = "\n".join(f"{name}: {n}" for name, n in sorted(figures.lost.items()))
        values["lost"].setToolTip(causes or "no frame lost")
        latency = figures.latency_ms
        shown = _UNKNOWN if stale or latency is None else f"{latency:.0f} ms"
        _set(values["latency"], _pair(shown, "latency"))
        self._show_alarms(figures.alarms)
        self._show_activation(figures.activation, stale=stale)

    def show_cursor(self, text: str) -> None:
        """Show the cursor position."""
        self._cursor.setText(text)

    def _show_alarms(self, alarms: tuple[str, ...]) -> None:
        """Show how many there are; nothing where there is none."""
        number = f"{len(alarms)}"
        name = "alarm" if len(alarms) == 1 else "alarms"
        _set(self._alarms, _pair(number, name, _BAD) if alarms else "")
        self._alarms.setToolTip(_lines(alarms))
        self._alarms.setVisible(bool(alarms))

    def _show_activation(self, now: Activation | None, *, stale: bool = False) -> None:
        """Show density and laser, as far as they are known; nothing without a laser."""
        density, power = (now.density_text, now.power_text) if now else ("", "")
        if stale:
            density, power = density and _UNKNOWN, power and _UNKNOWN
        shown = {
            "density": density and _pair(density, _PER_UM2),
            "laser": power and _pair(escape(power), "laser"),
        }
        for name, label in self._activation.items():
            _set(label, shown[name])
            label.setToolTip(_explained(now) if now else "")
            label.setVisible(bool(shown[name]))

    def text(self) -> str:
        """Return the line as plain words (for tests and screen readers)."""
        maybe = [self._alarms, *self._activation.values()]
        seen = [label for label in maybe if label.text()]
        labels = [self._state, *self._values.values(), *seen]
        return " · ".join(str(label.property("plain")) for label in labels)

    def _label(self, name: str) -> QLabel:
        label = QLabel()
        label.setObjectName(name)
        self._layout.addWidget(label)
        return label


class _Hint(QLabel):
    """Words that show only where there is room for all of them; no window grows."""

    def minimumSizeHint(self) -> QSize:
        return QSize(0, super().minimumSizeHint().height())

    def paintEvent(self, event: QPaintEvent) -> None:
        if self.width() >= self.sizeHint().width():
            super().paintEvent(event)


def _set(label: QLabel, rich: str) -> None:
    if label.text() != rich:
        label.setText(rich)
        label.setProperty("plain", _plain(rich))


def _plain(rich: str) -> str:
    words, inside = [], False
    for letter in rich:
        if letter in "<>":
            inside = letter == "<"
        elif not inside:
            words.append(letter)
    return " ".join("".join(words).replace("&nbsp;", " ").split())


def _pair(value: str, name: str, colour: str = _GOOD) -> str:
    return (
        f"<span style='color:{colour}'>{value}</span>"
        f"<span style='color:#8b93a1'>&nbsp;{name}</span>"
    )


def _explained(now: Activation) -> str:
    """Return the reason for the laser power and its delay, as rich text."""
    p99_ms, late = now.frame_to_laser_p99_ms, now.late or 0
    lines = [now.reason] if now.reason else []
    if p99_ms is not None:
        lines.append(f"frame to laser: 99 % within {p99_ms:.0f} ms")
        lines.append(f"{_grouped(late)} later than {_LATE_MS} ms")
    return _lines(lines)


def _lines(lines: Sequence[str]) -> str:
    """Return plain lines as rich text: Qt guesses otherwise, from what is in them."""
    return f"<qt>{'<br>'.join(map(escape, lines))}</qt>" if lines else ""


def _grouped(number: int | None) -> str:
    return _UNKNOWN if number is None else f"{number:,}".replace(",", _THIN)
