"""A slider with two handles over the histogram of what it selects."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from PySide6.QtCore import QRect, QRectF, QSize, Qt, Signal
from PySide6.QtGui import QColor, QPainter, QPen
from PySide6.QtWidgets import QLineEdit, QSizePolicy, QWidget

from .style import ACCENT, DASH, DIM, EDGE, PANEL, TEXT, font
from .style import figure as figure_text

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray
    from PySide6.QtGui import QKeyEvent, QMouseEvent, QPaintEvent, QResizeEvent

    from ...data.selection import Range

SIDE = 8  # left and right of the track: half a handle
TITLE_H, BARS_H, TRACK_H = 20, 30, 16
BAR_PX = 3  # of which one is the gap
RARE = 5e-4  # share of the rows at either end that the track may leave out
STEP, LEAP = 0.01, 0.1  # of the track, by keys
UNLIT = "#39414e"


class RangeSlider(QWidget):
    """Selects a range; an end of the track means no end of the range.

    Drag a handle, or press next to it; arrow keys, Page and Home/End move the
    handle that has the focus; a double click on the bars opens both ends, one on a
    number lets it be typed.

    Parameters
    ----------
    name : str
        What is selected, for people.
    unit : str
        Shown behind the numbers.
    logarithmic : bool
        Whether the bins widen by factors.
    whole : bool
        Whether there are whole numbers only.

    Attributes
    ----------
    changed : Signal(object)
        The new `Range`, while it changes.
    released : Signal(object)
        The new `Range`, when a handle was released, a number typed, a key pressed.
    """

    changed = Signal(object)
    released = Signal(object)

    def __init__(
        self,
        name: str,
        unit: str = "",
        *,
        logarithmic: bool = False,
        whole: bool = False,
        parent: QWidget | None = None,
    ) -> None:
        super().__init__(parent)
        self.name, self.unit = name, unit
        self._logarithmic, self._whole = logarithmic, whole
        first = [1.0, 10.0] if logarithmic else [0.0, 1.0]
        self._edges: NDArray[np.floating] = np.array(first)
        self._counts: NDArray[np.integer] = np.zeros(1, np.int64)
        self._range: Range = (None, None)
        self._editor: _Editor | None = None
        self._dragged: _Handle | None = None
        self._grip = 0.0  # from the handle's middle to where it was taken
        self._moved = False
        self.low = _Handle(self, 0)
        self.high = _Handle(self, 1)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.setAccessibleName(name)
        self.setToolTip("Drag the handles. Double click: numbers to type, bars to open")
        self._place()

    # What is selected

    @property
    def range(self) -> Range:
        """The selected range; None where an end is open."""
        return self._range

    def set_range(self, ends: Range) -> None:
        """Show a range; nothing is emitted."""
        if ends != self._range:
            self._range = ends
            self._place()

    def set_histogram(
        self, edges: NDArray[np.floating], counts: NDArray[np.integer]
    ) -> None:
        """Show how often values occur.

        Parameters
        ----------
        edges, counts : NDArray, shapes (n + 1,), (n,)
            Bins of one width (of one factor where logarithmic). The track shows
            those that hold nearly all, and reaches the selected range.
        """
        if self._dragged is not None:
            return  # the track must not move under the hand
        first, last = self._occupied(edges, counts)
        self._edges, self._counts = edges[first : last + 1], counts[first:last]
        self._place()

    def _occupied(
        self, edges: NDArray[np.floating], counts: NDArray[np.integer]
    ) -> tuple[int, int]:
        """Find the bins to be shown: nearly all values, whole bars, all ends."""
        bins = len(counts)
        if not counts.any():
            return 0, bins
        below = np.cumsum(counts) / counts.sum()
        first = int(np.searchsorted(below, RARE, side="right"))
        last = int(np.searchsorted(below, 1.0 - RARE)) + 1
        for end in self._range:
            if end is not None:
                place = int(np.searchsorted(edges, end))
                first, last = min(first, place - 1), max(last, place)
        first, last = max(0, min(first, bins - 1)), min(max(last, 1), bins)
        each = self._bins_per_bar(last - first)
        last = min(bins, first + -(-(last - first) // each) * each)
        return max(0, last - -(-(last - first) // each) * each), last

    def _bins_per_bar(self, bins: int) -> int:
        return max(1, math.ceil(bins * BAR_PX / max(1, self._track().width())))

    # From values to pixels and back

    def _track(self) -> QRectF:
        return QRectF(SIDE, TITLE_H, max(1, self.width() - 2 * SIDE), BARS_H)

    def _warped(self, values: NDArray[np.floating]) -> NDArray[np.floating]:
        return np.log(np.maximum(values, 1e-30)) if self._logarithmic else values

    def share_of(self, value: float) -> float:
        """Return the place of a value on the track: 0 left, 1 right."""
        ends = self._warped(self._edges[[0, -1]])
        place = self._warped(np.array([value]))[0] - ends[0]
        return float(min(max(place / (ends[1] - ends[0]), 0.0), 1.0))

    def value_at(self, share: float) -> float:
        """Return the value at a place of the track, in as few digits as make sense."""
        ends = self._warped(self._edges[[0, -1]])
        place = float(ends[0] + share * (ends[1] - ends[0]))
        value = math.exp(place) if self._logarithmic else place
        if self._whole:
            return float(round(value))
        span = value if self._logarithmic else float(ends[1] - ends[0])
        digits = 2 - math.floor(math.log10(max(abs(span), 1e-12)))
        return round(value, digits)

    def _move(self, which: int, share: float, *, last: bool) -> None:
        """Put an end somewhere on the track; the other end is in its way."""
        other = self._range[1 - which]
        if other is not None:
            stop = self.share_of(other)
            share = min(share, stop) if which == 0 else max(share, stop)
        opened = share <= 0.0 if which == 0 else share >= 1.0
        value = None if opened else self.value_at(share)
        if value is not None and other is not None:
            value = min(value, other) if which == 0 else max(value, other)
        self._set_end(which, value, last=last)

    def _set_end(self, which: int, value: float | None, *, last: bool) -> None:
        ends = (value, self._range[1]) if which == 0 else (self._range[0], value)
        self._emit(ends, last=last)

    def _emit(self, ends: Range, *, last: bool) -> None:
        moved = ends != self._range
        self._range = ends
        self._place()
        if moved:
            self.changed.emit(ends)
        if last:
            self.released.emit(ends)

    def open_ends(self) -> None:
        """Select everything."""
        self._emit((None, None), last=True)

    # Showing it

    def sizeHint(self) -> QSize:
        """Return the preferred size (called by Qt)."""
        return QSize(220, TITLE_H + BARS_H + TRACK_H)

    def minimumSizeHint(self) -> QSize:
        """Return the smallest size (called by Qt)."""
        return QSize(120, TITLE_H + BARS_H + TRACK_H)

    def text(self, which: int) -> str:
        """Return the number at an end as it is shown."""
        value = self._range[which]
        shown = float(self._edges[-which]) if value is None else value
        return figure_text(round(shown) if self._whole else shown)

    def _place(self) -> None:
        """Put the handles where the range is."""
        track = self._track()
        for handle, opened in ((self.low, 0.0), (self.high, 1.0)):
            end = self._range[handle.which]
            share = opened if end is None else self.share_of(end)
            x = track.left() + share * track.width()
            handle.move(round(x) - SIDE, round(track.bottom()))
            side = "from" if handle.which == 0 else "to"
            handle.setAccessibleName(f"{self.name} {side}")
            value = "open" if end is None else f"{self.text(handle.which)} {self.unit}"
            handle.setAccessibleDescription(value.strip())
        self.update()

    def resizeEvent(self, event: QResizeEvent) -> None:
        """Keep the handles on the track (called by Qt)."""
        self._place()

    def paintEvent(self, event: QPaintEvent) -> None:
        """Draw name, numbers, bars and track (called by Qt)."""
        painter = QPainter(self)
        painter.setFont(font(12))
        painter.setPen(QColor(TEXT))
        left = Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter
        painter.drawText(QRectF(SIDE, 0, self.width(), TITLE_H), left, self.name)
        for which, box in enumerate(self._labels()):
            painter.setPen(QColor(DIM if self._range[which] is None else ACCENT))
            painter.drawText(box, Qt.AlignmentFlag.AlignCenter, self.text(which))
        painter.setPen(QColor(DIM))
        low, high = self._labels()
        between = QRectF(low.right(), 0, high.left() - low.right(), TITLE_H)
        painter.drawText(between, Qt.AlignmentFlag.AlignCenter, DASH)
        unit = QRectF(high.right() + 2, 0, self.width(), TITLE_H)
        painter.drawText(unit, left, self.unit)
        self._paint_bars(painter)
        painter.end()

    def _labels(self) -> tuple[QRectF, QRectF]:
        """Return the boxes of the two numbers, right-aligned before the unit."""
        metrics = self.fontMetrics()
        right = self.width() - SIDE
        if self.unit:
            right -= metrics.horizontalAdvance(self.unit) + 4
        boxes = []
        for which in (1, 0):
            width = metrics.horizontalAdvance(self.text(which)) + 6
            boxes.append(QRectF(right - width, 0, width, TITLE_H))
            right -= width + 8
        return boxes[1], boxes[0]

    def _paint_bars(self, painter: QPainter) -> None:
        """Draw the logarithm of the counts, lit where they are selected."""
        track, counts = self._track(), self._counts
        each = self._bins_per_bar(len(counts))
        summed = np.add.reduceat(counts, np.arange(0, len(counts), each))
        heights = np.log1p(summed) / max(np.log1p(summed.max()), 1e-9) * BARS_H
        step = track.width() * each / len(counts)
        gap = 1.0 if step > 2 else 0.0
        bars = []
        for number, height in enumerate(heights.tolist()):
            x = track.left() + number * step
            width = min(step, track.right() - x) - gap
            if height > 0 and width > 0:
                tall = max(height, 1.5)
                bars.append(QRectF(x, track.bottom() - tall, width, tall))
        painter.setPen(Qt.PenStyle.NoPen)
        painter.setBrush(QColor(UNLIT))
        painter.drawRects(bars)
        ends = [self.low.x_middle, self.high.x_middle]
        lit = QRectF(ends[0], track.top(), ends[1] - ends[0], track.height())
        painter.setBrush(QColor(ACCENT))
        painter.save()
        painter.setClipRect(lit)
        painter.drawRects(bars)
        painter.restore()
        line = track.bottom() + TRACK_H / 2 - 1
        painter.fillRect(QRectF(track.left(), line, track.width(), 2), QColor(EDGE))
        painter.fillRect(QRectF(ends[0], line, ends[1] - ends[0], 2), QColor(ACCENT))

    # The mouse

    def mousePressEvent(self, event: QMouseEvent) -> None:
        """Bring the nearer handle there (called by Qt)."""
        x = event.position().x()
        if event.position().y() < TITLE_H:
            return
        low, high = self.low.x_middle, self.high.x_middle
        middle = (low + high) / 2
        handle = self.high if x > middle else self.low
        handle.setFocus()
        self.take(handle, handle.x_middle)
        self.drag(x)

    def mouseMoveEvent(self, event: QMouseEvent) -> None:
        """Drag that handle (called by Qt)."""
        self.drag(event.position().x())

    def mouseReleaseEvent(self, event: QMouseEvent) -> None:
        """End the drag (called by Qt)."""
        self.let_go()

    def take(self, handle: _Handle, x: float) -> None:
        """Begin to drag a handle, held at `x`."""
        self._dragged, self._grip, self._moved = handle, x - handle.x_middle, False

    def drag(self, x: float) -> None:
        """Move the handle that was taken."""
        if self._dragged is not None:
            track = self._track()
            share = (x - self._grip - track.left()) / track.width()
            self._moved = True
            self._move(self._dragged.which, share, last=False)

    def let_go(self) -> None:
        """End dragging."""
        if self._dragged is not None and self._moved:
            self.released.emit(self._range)
        self._dragged = None

    def nudge(self, which: int, shares: float) -> None:
        """Move an end by a part of the track."""
        end = self._range[which]
        share = float(which) if end is None else self.share_of(end)
        self._move(which, share + shares, last=True)

    def mouseDoubleClickEvent(self, event: QMouseEvent) -> None:
        """Open both ends, or a number for typing (called by Qt)."""
        self.let_go()
        for which, box in enumerate(self._labels()):
            if box.contains(event.position()):
                self.edit(which)
                return
        if event.position().y() >= TITLE_H:
            self.open_ends()

    # Typing

    def edit(self, which: int) -> None:
        """Let a number be typed: Enter takes it, Escape does not, empty opens."""
        if self._editor is not None:
            self._editor.give_up()
        box = self._labels()[which].toRect()
        box = QRect(box.center().x() - 36, 0, 72, TITLE_H)
        box.moveRight(min(box.right(), self.width() - 1))
        value = self._range[which]
        text = "" if value is None else f"{value:g}"
        self._editor = _Editor(self, text, lambda typed: self._typed(which, typed))
        self._editor.setAccessibleName(f"{self.name}, number")
        self._editor.setGeometry(box)
        self._editor.show()
        self._editor.setFocus()

    def _typed(self, which: int, text: str | None) -> None:
        self._editor = None
        if text is None:
            return
        plain = "".join(text.split()).replace(",", ".").replace("\u2212", "-")
        try:
            value = float(plain) if plain else None
        except ValueError:
            return
        if value is not None and not math.isfinite(value):
            return
        if value is not None and self._whole:
            value = float(round(value))
        other = self._range[1 - which]
        if value is not None and other is not None:
            value = min(value, other) if which == 0 else max(value, other)
        self._set_end(which, value, last=True)


class _Handle(QWidget):
    """One end of a range, with a focus of its own."""

    def __init__(self, slider: RangeSlider, which: int) -> None:
        super().__init__(slider)
        self.which = which
        self._slider = slider
        self.resize(2 * SIDE, TRACK_H)
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.setCursor(Qt.CursorShape.SizeHorCursor)

    def paintEvent(self, event: QPaintEvent) -> None:
        """Draw a knob (called by Qt)."""
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        held = self.hasFocus() or self.underMouse()
        painter.setPen(QPen(QColor(PANEL), 2.0))
        painter.setBrush(QColor(ACCENT if held else TEXT))
        painter.drawEllipse(QRectF(self.rect()).center(), 6.0, 6.0)
        painter.end()

    @property
    def x_middle(self) -> float:
        """Where it is on the slider."""
        return float(self.x() + SIDE)

    def mousePressEvent(self, event: QMouseEvent) -> None:
        """Begin to drag (called by Qt)."""
        self._slider.take(self, self._x(event))

    def mouseMoveEvent(self, event: QMouseEvent) -> None:
        """Follow the mouse (called by Qt)."""
        self._slider.drag(self._x(event))

    def mouseReleaseEvent(self, event: QMouseEvent) -> None:
        """Stay there (called by Qt)."""
        self._slider.let_go()

    def _x(self, event: QMouseEvent) -> float:
        return float(self.mapTo(self._slider, event.position()).x())

    def mouseDoubleClickEvent(self, event: QMouseEvent) -> None:
        """Let the number be typed (called by Qt)."""
        self._slider.let_go()
        self._slider.edit(self.which)

    def keyPressEvent(self, event: QKeyEvent) -> None:
        """Arrows, Page, Home, End, Enter; anything else is Qt's."""
        key = Qt.Key
        steps = {
            key.Key_Left: -STEP,
            key.Key_Down: -STEP,
            key.Key_Right: STEP,
            key.Key_Up: STEP,
            key.Key_PageDown: -LEAP,
            key.Key_PageUp: LEAP,
            key.Key_Home: -2.0,
            key.Key_End: 2.0,
        }
        step = steps.get(Qt.Key(event.key()))
        if step is not None:
            self._slider.nudge(self.which, step)
        elif event.key() in (key.Key_Return, key.Key_Enter, key.Key_F2):
            self._slider.edit(self.which)
        else:
            super().keyPressEvent(event)


class _Editor(QLineEdit):
    """A number being typed; says once what became of it, then goes."""

    def __init__(
        self, parent: QWidget, text: str, done: Callable[[str | None], None]
    ) -> None:
        super().__init__(text, parent)
        self._done: Callable[[str | None], None] | None = done
        self.selectAll()
        self.setAlignment(Qt.AlignmentFlag.AlignCenter)
        self.setStyleSheet("padding: 0px; font-size: 12px;")
        self.editingFinished.connect(lambda: self._finish(self.text()))

    def give_up(self) -> None:
        """Leave the number as it was."""
        self._finish(None)

    def keyPressEvent(self, event: QKeyEvent) -> None:
        """Cancel on Escape (called by Qt)."""
        if event.key() == Qt.Key.Key_Escape:
            self.give_up()
        else:
            super().keyPressEvent(event)

    def _finish(self, text: str | None) -> None:
        done, self._done = self._done, None
        if done is not None:
            self.hide()
            self.deleteLater()
            done(text)
