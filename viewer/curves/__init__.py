"""Curves over time: density, photons, precision, on-time.

traces > series > on_time > bins.
"""
