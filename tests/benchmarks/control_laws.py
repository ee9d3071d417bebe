"""Control laws side by side on the same fields of blinking emitters.

python tests/benchmarks/control_laws.py --seeds 3

Every law meets the same seeds. Densities are true ones, in means over 50 frames,
relative to the target. "Hold" begins at a tenth of the power that is needed and goes on
until most of the reservoir is bleached; "step" doubles the target after 1,000 frames at
0.5 per um2; "on-time x3" triples the mean on-time there.
"""

import argparse
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "bridge" / "control"))
from plant import Field, run

from liveloc.bridge.control.guard import GuardedPower
from liveloc.bridge.control.laws.registry import open_law

LAWS = ("ratio", "htsmlm", "pi", "dead_band", "constant")
BLOCK = 50  # frames
HOLD, SETTLED = 3000, 1000  # frames
STEP_AT = 1000


def guarded(power):
    guard = GuardedPower(0.0, 50.0, power)
    return lambda law, reading, now_s: guard.step(law, reading, now_s).power


def moving(ratio):
    return np.convolve(ratio, np.ones(BLOCK) / BLOCK, "valid")


def first_settled(ratio, off=0.1, frames=200):
    """Give the first frame from which on four blocks in a row are within 10 %."""
    good = abs(moving(ratio) - 1) < off
    run_of = 0
    for i, well in enumerate(good):
        run_of = run_of + 1 if well else 0
        if run_of == frames - BLOCK:
            return i - run_of + 1 + BLOCK
    return None


def hold(name, ticks, seeds):
    """Hold 1 per um2 while it bleaches."""
    means, settled, left = [], [], []
    for seed in range(seeds):
        trace = run(
            open_law(name),
            HOLD,
            target=1.0,
            seed=seed,
            ticks_per_s=ticks,
            sample=Field(fluorophores=24_000),
            power=1.0,
            guard=guarded(1.0),
        )
        means.append(trace.means(SETTLED))
        settled.append(first_settled(trace.per_um2 / trace.target))
        left.append(trace.dark[-1] / 24_000)
    means = np.concatenate(means)
    reached = [frame for frame in settled if frame is not None]
    return (
        f"{100 * (means.mean() - 1):+.1f} | {100 * means.std():.1f} "
        f"| {100 * (abs(means - 1) < 0.1).mean():.0f} "
        f"| {np.median(reached) if len(reached) == seeds else 'never':>5} "
        f"| {100 * np.mean(left):.0f}"
    )


def disturbed(name, ticks, seeds, change):
    """Start on target, change something, see when the mean of the fields is back."""
    ratios = []
    for seed in range(seeds):
        trace = run(
            open_law(name),
            STEP_AT + 1500,
            seed=seed,
            ticks_per_s=ticks,
            sample=Field(fluorophores=100_000),
            power=5.0,
            guard=guarded(5.0),
            changes=[(STEP_AT, change)],
        )
        ratios.append((trace.per_um2 / trace.target)[STEP_AT:])
    # The mean of all fields: what the law does, with less of the noise.
    settled = first_settled(np.mean(ratios, axis=0))
    peak = np.mean([moving(ratio).max() for ratio in ratios])
    return f"{settled or 'never':>5} | {100 * (peak - 1):.0f}"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--ticks", type=float, nargs="+", default=[2, 10, 50])
    parser.add_argument("--laws", nargs="+", default=LAWS)
    told = parser.parse_args()
    print(
        "| law | ticks/s | hold: bias % | sd % | within 10 %, % | settled, frames "
        "| dark left % | step x2: settled | peak +% | on-time x3: settled | peak +% |"
    )
    print("|" + "---|" * 11)
    for name in told.laws:
        for ticks in told.ticks:
            print(
                f"| {name} | {ticks:g} | {hold(name, ticks, told.seeds)} "
                f"| {disturbed(name, ticks, told.seeds, {'target': 1.0})} "
                f"| {disturbed(name, ticks, told.seeds, {'on_time_frames': 18.0})} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
