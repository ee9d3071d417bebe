"""How the picture is made: what a localization looks like, colour, contrast."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from PySide6.QtCore import QSize, Qt, Signal
from PySide6.QtGui import QIcon, QImage, QPixmap
from PySide6.QtWidgets import (
    QCheckBox,
    QComboBox,
    QDoubleSpinBox,
    QFrame,
    QGridLayout,
    QHBoxLayout,
    QLabel,
    QPushButton,
    QScrollArea,
    QSizePolicy,
    QVBoxLayout,
    QWidget,
)

from ...image.colouring import DisplaySettings, colour_table, depth_table
from ..widgets.slider import Amount
from ..widgets.throttle import Throttle

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

# What people choose, and what that is in `DisplaySettings`.
MODES = {
    "sigma": "Gaussian by precision",
    "fixed": "Gaussian, fixed width",
    "histogram": "Histogram",
    "density": "Local density",
}
COLOURS = {"auto": "z, if available", "intensity": "Intensity", "z": "z"}
INTENSITY_MAPS = (
    "inferno",
    "magma",
    "viridis",
    "cividis",
    "batlow",
    "lajolla",
    "lapaz",
    "hot",
    "gray",
)
DEPTH_MAPS = ("turbo", "hawaii", "batlow", "roma", "romaO", "colorcet:cet_c6")
SWATCH = QSize(56, 12)
USUAL = DisplaySettings()


class PicturePanel(QWidget):
    """Every setting of `DisplaySettings` that is worth a control.

    Attributes
    ----------
    changed : Signal(object)
        The new `DisplaySettings`: ten times a second at most while a slider moves, and
        once when it is released.
    """

    changed = Signal(object)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setProperty("role", "panel")
        self.setAttribute(Qt.WidgetAttribute.WA_StyledBackground)
        self._look = self._emitted = USUAL
        self._limit = 1.0  # what the picture uses now
        self._ends_nm: tuple[float, float] | None = None
        self._throttle = Throttle(self._emit, self)
        self._make_controls()
        self._lay_out()
        self._show()

    @property
    def look(self) -> DisplaySettings:
        """What is set."""
        return self._look

    def set_look(self, look: DisplaySettings) -> None:
        """Show a look; nothing is emitted."""
        self._throttle.forget()
        self._look = self._emitted = look
        self._show()

    def show_limits(
        self, limit: float, depth_range_nm: tuple[float, float] | None
    ) -> None:
        """Show the limits in use where they are automatic.

        Parameters
        ----------
        limit : float
            As in `DisplaySettings`.
        depth_range_nm : tuple[float, float] or None
            z at the ends of the colours; None where colour is intensity.
        """
        if (limit, depth_range_nm) != (self._limit, self._ends_nm):
            self._limit, self._ends_nm = limit, depth_range_nm
            self._show()

    def reset(self) -> None:
        """Go back to the look that a new window has."""
        self._change(**{name: getattr(USUAL, name) for name in _SETTINGS})

    # Making it

    def _make_controls(self) -> None:
        self.mode = _choice("Draw as", MODES)
        self.mode.setToolTip(
            "By precision: each localization as wide as its predicted sigma.\n"
            "Local density: localizations per \u00b5m\u00b2, averaged over the width."
        )
        self.mode.activated.connect(lambda _: self._set_mode())
        self.width_nm = self._amount("Width", 1.0, 500.0, USUAL.width_nm, "nm")
        self.colour = _choice("Colour by", COLOURS)
        self.colour.activated.connect(
            lambda _: self._change(colour=_chosen(self.colour))
        )
        self.intensity_map = self._map_choice("intensity_map", INTENSITY_MAPS)
        self.depth_map = self._map_choice("depth_map", DEPTH_MAPS)
        self.automatic = QCheckBox("Automatic")
        self.automatic.setAccessibleName("Automatic contrast")
        self.automatic.clicked.connect(self._hold_limit)
        self.percentile = self._amount("Percentile", 80.0, 100.0, USUAL.percentile, "%")
        self.limit = self._amount("Limit", 1e-3, 1e4, 1.0)
        self.gamma = self._amount("Gamma", 0.1, 2.0, USUAL.gamma)
        self.automatic_z = QCheckBox("Automatic")
        self.automatic_z.setAccessibleName("Automatic z range")
        self.automatic_z.clicked.connect(self._hold_depths)
        self.lowest, self.highest = _depth("Lowest z"), _depth("Highest z")
        for box in (self.lowest, self.highest):
            box.valueChanged.connect(lambda _: self._take_depths())
        self.back = QPushButton("Reset picture")
        self.back.setProperty("role", "link")
        self.back.clicked.connect(self.reset)

    def _amount(
        self, name: str, low: float, high: float, usual: float, unit: str = ""
    ) -> Amount:
        """Make a slider for the field of the look that has this name."""
        logarithmic = name in ("Width", "Limit", "Gamma")
        amount = Amount(name, low, high, usual, unit, logarithmic=logarithmic)
        field = "width_nm" if name == "Width" else name.lower()
        amount.changed.connect(lambda value: self._change(last=False, **{field: value}))
        amount.released.connect(self._throttle.now)
        return amount

    def _map_choice(self, field: str, names: tuple[str, ...]) -> QComboBox:
        title = "Colour map of z" if field == "depth_map" else "Colours"
        box = _choice(title, {name: _plain(name) for name in names})
        box.setIconSize(SWATCH)
        for place, name in enumerate(names):
            box.setItemIcon(place, _swatch(name, depth=field == "depth_map"))
        box.activated.connect(lambda _: self._set_map(field, _chosen(box)))
        return box

    def _set_map(self, field: str, name: str) -> None:
        settings: dict[str, Any] = {field: name}
        self._change(**settings)

    def _lay_out(self) -> None:
        inside = QWidget()
        column = QVBoxLayout(inside)
        column.setContentsMargins(14, 8, 14, 8)
        column.setSpacing(6)
        z_ends = QWidget()
        row = QHBoxLayout(z_ends)
        row.setContentsMargins(0, 0, 0, 0)
        row.addWidget(self.lowest)
        row.addWidget(self.highest)
        self._rows: dict[str, tuple[QWidget, QWidget]] = {}
        sections: tuple[tuple[str, dict[str, QWidget]], ...] = (
            ("LOCALIZATIONS", {"Draw as": self.mode, "Width": self.width_nm}),
            (
                "COLOUR",
                {
                    "Colour by": self.colour,
                    "Colours": self.intensity_map,
                    "Colour map of z": self.depth_map,
                    "z range": self.automatic_z,
                    "z from, to": z_ends,
                },
            ),
            (
                "CONTRAST",
                {
                    "Limit": self.automatic,
                    "Percentile": self.percentile,
                    "Fixed at": self.limit,
                    "Gamma": self.gamma,
                },
            ),
        )
        for heading, rows in sections:
            self._add_section(column, heading, rows)
        column.addStretch(1)
        self._into_scroll(inside)

    def _add_section(
        self, column: QVBoxLayout, heading: str, rows: Mapping[str, QWidget]
    ) -> None:
        title = QLabel(heading)
        title.setProperty("role", "heading")
        title.setIndent(0)
        column.addWidget(title)
        grid = QGridLayout()
        grid.setHorizontalSpacing(10)
        grid.setVerticalSpacing(6)
        grid.setColumnMinimumWidth(0, 78)
        grid.setColumnStretch(1, 1)
        for place, (name, control) in enumerate(rows.items()):
            label = QLabel(name)
            label.setProperty("role", "dim")
            label.setBuddy(control)
            grid.addWidget(label, place, 0)
            grid.addWidget(control, place, 1)
            self._rows[name] = (label, control)
        column.addLayout(grid)

    def _into_scroll(self, inside: QWidget) -> None:
        scroll = QScrollArea()
        scroll.setFrameShape(QFrame.Shape.NoFrame)
        scroll.setWidgetResizable(True)
        scroll.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        scroll.setWidget(inside)
        foot = QHBoxLayout()
        foot.setContentsMargins(14, 0, 10, 8)
        foot.addStretch(1)
        foot.addWidget(self.back)
        whole = QVBoxLayout(self)
        whole.setContentsMargins(0, 0, 0, 0)
        whole.addWidget(scroll, 1)
        whole.addLayout(foot)

    # Showing and changing the look

    def _show(self) -> None:
        """Bring every control up to date, silently; hide what means nothing now."""
        look = self._look
        for box, key in (
            (self.mode, look.mode),
            (self.colour, look.colour),
            (self.intensity_map, look.intensity_map),
            (self.depth_map, look.depth_map),
        ):
            _choose(box, key)
        self.width_nm.set_value(look.width_nm)
        self.percentile.set_value(look.percentile)
        self.gamma.set_value(look.gamma)
        self.limit.set_value(self._limit if look.limit is None else look.limit)
        self.automatic.setChecked(look.limit is None)
        self.automatic_z.setChecked(look.depth_range_nm is None)
        self._show_depths(look.depth_range_nm or self._ends_nm)
        by_z = look.colour != "intensity"
        for name, wanted in (
            ("Width", look.mode in ("fixed", "density")),
            ("Colours", not by_z or self._ends_nm is None),
            ("Colour map of z", by_z),
            ("z range", by_z),
            ("z from, to", by_z),
            ("Percentile", look.limit is None),
            ("Fixed at", look.limit is not None),
        ):
            for widget in self._rows[name]:
                widget.setVisible(wanted)
        self.back.setEnabled(
            any(getattr(look, f) != getattr(USUAL, f) for f in _SETTINGS)
        )

    def _show_depths(self, ends_nm: tuple[float, float] | None) -> None:
        held = self._look.depth_range_nm is not None
        for box, place in ((self.lowest, 0), (self.highest, 1)):
            box.setEnabled(held)
            if ends_nm is not None and not box.hasFocus():
                box.blockSignals(True)
                box.setValue(ends_nm[place])
                box.blockSignals(False)

    def _hold_limit(self, automatic: bool) -> None:
        held = float(f"{self._limit:.3g}")
        self._change(limit=None if automatic else max(held, 1e-6))

    def _hold_depths(self, automatic: bool) -> None:
        held = self._ends_nm or (self.lowest.value(), self.highest.value())
        if held[0] >= held[1]:
            held = (-500.0, 500.0)
        self._change(depth_range_nm=None if automatic else held)

    def _take_depths(self) -> None:
        low, high = self.lowest.value(), self.highest.value()
        if self._look.depth_range_nm is not None and low < high:
            self._change(last=False, depth_range_nm=(low, high))

    def _set_mode(self) -> None:
        mode: Any = _chosen(self.mode)
        self._look = self._look.in_mode(mode)
        self._change()

    def _change(self, *, last: bool = True, **settings: Any) -> None:
        self._look = replace(self._look, **settings)
        self._show()
        say: Callable[[], None] = self._throttle.now if last else self._throttle.soon
        say()

    def _emit(self) -> None:
        if self._look != self._emitted:
            self._emitted = self._look
            self.changed.emit(self._look)


_SETTINGS = (
    "mode",
    "width_nm",
    "colour",
    "intensity_map",
    "depth_map",
    "gamma",
    "limit",
    "percentile",
    "depth_range_nm",
)


def _choice(name: str, entries: Mapping[str, str]) -> QComboBox:
    box = QComboBox()
    box.setAccessibleName(name)
    for key, text in entries.items():
        box.addItem(text, key)
    box.setSizeAdjustPolicy(
        QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon
    )
    box.setMinimumContentsLength(8)
    return box


def _chosen(box: QComboBox) -> str:
    return str(box.currentData())


def _choose(box: QComboBox, key: str) -> None:
    """Show an entry; what is not in the list, as from a file, is added to it."""
    place = box.findData(key)
    if place < 0:
        box.addItem(_plain(key), key)
        place = box.count() - 1
    box.setCurrentIndex(place)


def _plain(name: str) -> str:
    """Name a colour map without the name of its collection."""
    return name.rsplit(":", 1)[-1]


def _depth(name: str) -> QDoubleSpinBox:
    box = QDoubleSpinBox()
    box.setAccessibleName(name)
    box.setRange(-1e5, 1e5)
    box.setDecimals(0)
    box.setSingleStep(50.0)
    box.setSuffix(" nm")
    box.setKeyboardTracking(False)
    box.setMinimumWidth(60)
    box.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
    return box


def _swatch(name: str, *, depth: bool) -> QIcon:
    """Draw a colour map as it will look in the picture."""
    table = depth_table(name) if depth else colour_table(name)
    places = np.linspace(0, len(table) - 1, SWATCH.width()).astype(int)
    line = np.ascontiguousarray(table[places])
    pixels = np.ascontiguousarray(np.repeat(line[None], SWATCH.height(), axis=0))
    image = QImage(
        pixels.data,
        SWATCH.width(),
        SWATCH.height(),
        3 * SWATCH.width(),
        QImage.Format.Format_RGB888,
    )
    return QIcon(QPixmap.fromImage(image.copy()))  # a copy: the array goes
