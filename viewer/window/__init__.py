"""The viewer's window: Qt and vispy live here, and only here."""

from .keep_none import keep_none

keep_none()  # before the first of many calls of Qt
