"""From stacks to files: cameras by photon transfer, PSFs from beads."""
