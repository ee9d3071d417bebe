"""Micro-Manager through pymmcore-plus, and the simulated microscope."""
