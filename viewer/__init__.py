"""Accumulating and showing the super-resolution image."""
