"""The keys and what they do: one table, for the window and for its help sheet."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PySide6.QtGui import QKeyEvent


@dataclass(frozen=True, slots=True)
class Shortcut:
    """One thing that keys do.

    Attributes
    ----------
    keys : tuple[str, ...]
        Names in `Qt.Key` without ``Key_``; any of them.
    shown : str
        The keys as written for people.
    does : str
        For the help sheet.
    action : str
        Method of `ViewerWindow`.
    """

    keys: tuple[str, ...]
    shown: str
    does: str
    action: str


SHORTCUTS = (
    Shortcut(("R", "Home"), "R", "whole field", "show_whole"),
    Shortcut(("Plus", "Equal"), "+", "zoom in", "zoom_in"),
    Shortcut(("Minus",), "\u2212", "zoom out", "zoom_out"),
    Shortcut(("Left",), "←", "move left", "move_left"),
    Shortcut(("Right",), "→", "move right", "move_right"),
    Shortcut(("Up",), "↑", "move up", "move_up"),
    Shortcut(("Down",), "↓", "move down", "move_down"),
    Shortcut(("A",), "A", "lock contrast, or automatic again", "toggle_contrast"),
    Shortcut(("C",), "C", "colour: z or intensity", "toggle_colour"),
    Shortcut(("M",), "M", "next drawing mode", "next_mode"),
    Shortcut(("D",), "D", "drift correction on or off", "toggle_drift"),
    Shortcut(("N",), "N", "hold the current density with the laser", "hold_density"),
    Shortcut(("X",), "X", "draw a region", "choose_region"),
    Shortcut(("S",), "S", "save the picture", "save_picture"),
    Shortcut(("E",), "E", "export the table as shown", "export_table"),
    Shortcut(("V",), "V", "save the view (YAML)", "save_view"),
    Shortcut(("G",), "G", "picture settings", "toggle_picture_panel"),
    Shortcut(("F",), "F", "filters", "toggle_filter_panel"),
    Shortcut(("T",), "T", "region statistics", "toggle_region_panel"),
    Shortcut(("I",), "I", "camera image", "toggle_camera_panel"),
    Shortcut(("P",), "P", "plots", "toggle_plots_panel"),
    Shortcut(("H", "Question", "F1"), "?", "this help", "toggle_help"),
    Shortcut(("Escape",), "Esc", "close this help or clear the region", "escape"),
)
MOUSE = (
    ("wheel", "zoom at the cursor"),
    ("drag", "pan"),
    ("shift + drag", "draw a region"),
    ("double click", "whole field"),
)


def action_of(key: str) -> str | None:
    """Return the method that a key calls, by its name in `Qt.Key`; None for none."""
    return next((s.action for s in SHORTCUTS if key in s.keys), None)


def action_for(event: QKeyEvent) -> str | None:
    """Return the method that a key press calls; None with Ctrl or Alt held."""
    from PySide6.QtCore import Qt  # here: the table itself needs no Qt

    held = Qt.KeyboardModifier.ControlModifier | Qt.KeyboardModifier.AltModifier
    try:
        name = Qt.Key(event.key()).name.removeprefix("Key_")
    except ValueError:
        return None
    return None if event.modifiers() & held else action_of(name)
