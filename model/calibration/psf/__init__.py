"""From bead stacks to a PSF file and its report.

Order of imports: from_disk > report > record > calibration > bead_fit, bead_run,
conventions > bead_model, beads, shape > bead_stack, spline_equations.
"""
