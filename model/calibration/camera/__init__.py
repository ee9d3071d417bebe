"""From dark and illuminated stacks to a camera file (photon transfer)."""
