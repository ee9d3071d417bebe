"""Curves over time: density, photons, precision, on-time."""
