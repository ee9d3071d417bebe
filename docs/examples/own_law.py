"""Steer the density with a Python function of your own.

Run a session on the simulated microscope whose settings name this file:

    liveloc run docs/examples/own_law.yaml --headless --session results

`control` gets what the engine measured and returns the power that it wants, in the
laser's unit. It runs in a process of its own; whatever it returns, limits, slew and
safe level of the laser hold. Every decision is a line of `results/control.jsonl`, and
`results/report.html` draws density and power.
"""

SPEED = 0.3  # share of the error that one decision corrects


def control(stats):
    """Return the power for the next moments; None keeps the present one."""
    power = max(stats["power"], 0.02 * stats["highest"])  # a product never leaves 0
    error = stats["target_per_um2"] / max(stats["per_um2"], 0.01)
    return power * error**SPEED
