"""Frames on disk: segments with checksums that a killed process leaves whole.

Imported in this order: ``recorder``, ``segments``, ``start_file``.
"""
