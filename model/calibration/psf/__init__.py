"""From bead stacks to a cubic B-spline PSF: ``beads`` finds, ``calibration`` fits."""
