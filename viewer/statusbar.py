"""The one line under the image: state, frames, rate, localizations, losses, latency."""

from __future__ import annotations

from typing import TYPE_CHECKING

from PySide6.QtWidgets import QFrame, QHBoxLayout, QLabel, QWidget

if TYPE_CHECKING:
    from .live import Figures, State

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
_KEYS = "R view   A contrast   C colour   S save"
_UNKNOWN = "\u2013"  # a dash
_THIN = "\u2009"  # between groups of three digits


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
        self._layout.addStretch(1)
        keys = QLabel(_KEYS)
        keys.setStyleSheet("color: #666d7a; font-size: 12px;")
        self._layout.addWidget(keys)

    def show_figures(self, state: State, figures: Figures, end_status: str) -> None:
        """Bring the line up to date."""
        word = _WORDS[state]
        if state == "ended" and end_status != "ok":
            word = f"Ended: {end_status}"
        _set(self._state, f"<span style='color:{_COLOURS[state]}'>●</span>  {word}")
        values = self._values
        _set(values["frames"], _pair(_grouped(figures.frames), "frames"))
        rate = _UNKNOWN if figures.fps is None else f"{figures.fps:.0f}"
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
        shown = _UNKNOWN if latency is None else f"{latency:.0f} ms"
        _set(values["latency"], _pair(shown, "latency"))

    def text(self) -> str:
        """Give the line as plain words (for tests and screen readers)."""
        labels = [self._state, *self._values.values()]
        return " · ".join(str(label.property("plain")) for label in labels)

    def _label(self, name: str) -> QLabel:
        label = QLabel()
        label.setObjectName(name)
        self._layout.addWidget(label)
        return label


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


def _grouped(number: int | None) -> str:
    return _UNKNOWN if number is None else f"{number:,}".replace(",", _THIN)
