"""From stacks to files: cameras by photon transfer, PSFs from beads.

`camera` and `psf` do not import each other.
"""
