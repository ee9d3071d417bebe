"""Localizations on their way from an engine to any number of viewers.

``publisher`` and ``subscriber`` are the two ends. They share ``previews``, the
``messages`` and the ``sockets``; ``status`` is read on its own.
"""
