"""The viewer's window: Qt and vispy live here, and only here."""
