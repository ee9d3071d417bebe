"""From dark and illuminated stacks to a camera file.

Order of imports: calibration > photon_transfer > stack_statistics.
"""
