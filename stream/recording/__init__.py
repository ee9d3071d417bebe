"""Frames on disk: segments with checksums that a killed process leaves whole."""
