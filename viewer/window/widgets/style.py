"""One palette and one style sheet for the whole window: dark, as microscope rooms."""

from __future__ import annotations

from typing import TYPE_CHECKING

from PySide6.QtGui import QColor, QFont, QPalette

if TYPE_CHECKING:
    from PySide6.QtWidgets import QApplication

BACKGROUND = "#0b0d11"
PANEL = "#15181e"
RAISED = "#1d2129"  # what can be pressed or typed into
LINE = "#262b34"
EDGE = "#3a414d"  # of what can be pressed, and grid lines that must be seen
TEXT = "#e8eaee"
DIM = "#8b93a1"
FAINT = "#5c6472"
ACCENT = "#6fb1ff"
GOOD = "#3ddc84"
WARN = "#ffb347"
BAD = "#ff6b6b"

SMALL_PX, NORMAL_PX, LARGE_PX = 11, 12, 18  # logical pixels: they scale with screens

THIN = "\u2009"  # between groups of three digits
DASH = "\u2013"

SHEET = f"""
QMainWindow, QDialog {{ background: {BACKGROUND}; color: {TEXT}; }}
QWidget {{ color: {TEXT}; font-size: {NORMAL_PX}px; }}
QLabel {{ background: transparent; }}
QLabel[role="dim"] {{ color: {DIM}; }}
QLabel[role="heading"] {{ color: {DIM}; font-size: {SMALL_PX}px; font-weight: 600;
    padding-top: 4px; }}
QWidget[role="panel"] {{ background: {PANEL}; }}
QFrame#status {{ background: {PANEL}; border-top: 1px solid {LINE}; }}
QFrame#status QLabel {{ background: transparent; font-size: 14px; }}

QScrollArea, QScrollArea > QWidget > QWidget {{ background: {PANEL}; border: none; }}
QScrollBar:vertical {{ background: transparent; width: 8px; margin: 0; }}
QScrollBar:horizontal {{ background: transparent; height: 8px; margin: 0; }}
QScrollBar::handle {{ background: {EDGE}; border-radius: 4px; min-height: 24px;
    min-width: 24px; }}
QScrollBar::handle:hover {{ background: {FAINT}; }}
QScrollBar::add-line, QScrollBar::sub-line {{ width: 0; height: 0; }}
QScrollBar::add-page, QScrollBar::sub-page {{ background: transparent; }}

QDockWidget {{ color: {DIM}; font-size: {NORMAL_PX}px; }}
QDockWidget::title {{ background: {PANEL}; padding: 6px 10px; text-align: left;
    border-bottom: 1px solid {LINE}; }}
QMainWindow::separator {{ background: {BACKGROUND}; width: 4px; height: 4px; }}
QMainWindow::separator:hover {{ background: {ACCENT}; }}
QTabBar {{ background: {BACKGROUND}; }}
QTabBar::tab {{ background: {BACKGROUND}; color: {DIM}; padding: 6px 12px;
    border: none; border-bottom: 2px solid transparent; }}
QTabBar::tab:hover {{ color: {TEXT}; }}
QTabBar::tab:selected {{ background: {PANEL}; color: {TEXT};
    border-bottom: 2px solid {ACCENT}; }}
QTabWidget::pane {{ border: none; background: {PANEL}; }}

QPushButton, QToolButton {{ background: {RAISED}; color: {TEXT};
    border: 1px solid {EDGE}; border-radius: 5px; padding: 5px 9px; }}
QPushButton:hover, QToolButton:hover {{ border-color: {ACCENT}; }}
QPushButton:pressed, QToolButton:pressed {{ background: {LINE}; }}
QPushButton:focus, QToolButton:focus {{ border-color: {ACCENT}; }}
QPushButton:checked, QToolButton:checked {{ background: #24405f;
    border-color: {ACCENT}; }}
QPushButton:disabled, QToolButton:disabled {{ color: {FAINT}; border-color: {LINE}; }}
QPushButton[role="link"] {{ background: transparent; border: none; color: {ACCENT};
    padding: 2px 4px; }}
QPushButton[role="link"]:hover, QPushButton[role="link"]:focus {{ color: {TEXT}; }}
QPushButton[role="link"]:disabled {{ color: {FAINT}; }}

QLineEdit, QSpinBox, QDoubleSpinBox {{ background: {RAISED}; color: {TEXT};
    border: 1px solid {EDGE}; border-radius: 4px; padding: 3px 6px;
    selection-background-color: {ACCENT}; selection-color: {BACKGROUND}; }}
QLineEdit:focus, QSpinBox:focus, QDoubleSpinBox:focus {{ border-color: {ACCENT}; }}
QLineEdit:disabled, QSpinBox:disabled, QDoubleSpinBox:disabled {{ color: {FAINT};
    border-color: {LINE}; background: {PANEL}; }}
QSpinBox::up-button, QSpinBox::down-button, QDoubleSpinBox::up-button,
QDoubleSpinBox::down-button {{ width: 0; border: none; }}

QComboBox {{ background: {RAISED}; color: {TEXT}; border: 1px solid {EDGE};
    border-radius: 4px; padding: 3px 8px; min-height: 18px; }}
QComboBox:hover, QComboBox:focus {{ border-color: {ACCENT}; }}
QComboBox:disabled {{ color: {FAINT}; border-color: {LINE}; background: {PANEL}; }}
QComboBox::drop-down {{ border: none; width: 18px; }}
QComboBox::down-arrow {{ image: none; width: 0; height: 0; margin-right: 8px;
    border-left: 4px solid {RAISED}; border-right: 4px solid {RAISED};
    border-top: 5px solid {DIM}; }}
QComboBox QAbstractItemView {{ background: {RAISED}; color: {TEXT};
    border: 1px solid {EDGE}; selection-background-color: #24405f;
    selection-color: {TEXT}; outline: none; }}

QCheckBox {{ spacing: 7px; background: transparent; }}
QCheckBox::indicator {{ width: 13px; height: 13px; border: 1px solid {EDGE};
    border-radius: 4px; background: {RAISED}; }}
QCheckBox::indicator:hover, QCheckBox::indicator:focus {{ border-color: {ACCENT}; }}
QCheckBox::indicator:checked {{ border-color: {ACCENT};
    background: qradialgradient(cx:0.5, cy:0.5, radius:0.5, fx:0.5, fy:0.5,
    stop:0 {ACCENT}, stop:0.62 {ACCENT}, stop:0.7 {RAISED}, stop:1 {RAISED}); }}
QCheckBox::indicator:checked:disabled {{ border-color: {EDGE}; background: {EDGE}; }}

QSlider {{ background: transparent; min-height: 18px; }}
QSlider::groove:horizontal {{ height: 4px; border-radius: 2px; background: {EDGE}; }}
QSlider::sub-page:horizontal {{ height: 4px; border-radius: 2px;
    background: {ACCENT}; }}
QSlider::handle:horizontal {{ width: 12px; height: 12px; margin: -4px 0;
    border-radius: 6px; background: {TEXT}; }}
QSlider::handle:horizontal:hover, QSlider::handle:horizontal:focus {{
    background: {ACCENT}; }}
QSlider::sub-page:horizontal:disabled {{ background: {EDGE}; }}
QSlider::handle:horizontal:disabled {{ background: {FAINT}; }}

QMenu, QMenuBar {{ background: {PANEL}; color: {TEXT}; }}
QMenu {{ border: 1px solid {EDGE}; padding: 4px; }}
QMenu::item {{ padding: 5px 22px; border-radius: 4px; }}
QMenu::item:selected, QMenuBar::item:selected {{ background: #24405f; }}
QMenu::separator {{ height: 1px; background: {LINE}; margin: 4px 8px; }}
QToolTip {{ background: {LINE}; color: {TEXT}; border: none; padding: 4px; }}
"""


def dress(application: QApplication) -> None:
    """Style the whole application, the same on every system."""
    application.setStyle("Fusion")
    application.setPalette(_palette())
    application.setStyleSheet(SHEET)


def font(size_px: int, *, bold: bool = False) -> QFont:
    """Return a font for painting, in logical pixels."""
    made = QFont()
    made.setPixelSize(size_px)
    if bold:
        made.setWeight(QFont.Weight.DemiBold)
    return made


def grouped(number: int) -> str:
    """Write a whole number in groups of three digits."""
    return f"{number:,}".replace(",", THIN)


def figure(value: float) -> str:
    """Write a number in about three digits, without an exponent below a million."""
    if abs(value) >= 1e6:
        for limit, letter in ((1e9, "G"), (1e6, "M")):
            if abs(value) >= limit:
                return f"{value / limit:.3g}{THIN}{letter}"
    if abs(value) >= 100:
        return grouped(round(value)).replace("-", "\u2212")
    return f"{value:.3g}".replace("-", "\u2212")


def _palette() -> QPalette:
    """Colour what no rule of the sheet names."""
    role = QPalette.ColorRole
    palette = QPalette()
    for which, colour in (
        (role.Window, PANEL),
        (role.Base, RAISED),
        (role.AlternateBase, PANEL),
        (role.Button, RAISED),
        (role.WindowText, TEXT),
        (role.Text, TEXT),
        (role.ButtonText, TEXT),
        (role.ToolTipBase, LINE),
        (role.ToolTipText, TEXT),
        (role.PlaceholderText, DIM),
        (role.Highlight, ACCENT),
        (role.HighlightedText, BACKGROUND),
        (role.Link, ACCENT),
    ):
        palette.setColor(which, QColor(colour))
    for which in (role.WindowText, role.Text, role.ButtonText):
        palette.setColor(QPalette.ColorGroup.Disabled, which, QColor(FAINT))
    return palette
