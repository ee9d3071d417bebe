"""Localizations on their way from an engine to any number of viewers."""
