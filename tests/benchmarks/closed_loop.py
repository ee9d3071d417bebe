"""Hold the density of the simulated microscope through real processes.

python tests/benchmarks/closed_loop.py --seeds 1 2 --laws ratio htsmlm pi dead_band

Each run is a whole session: core, sockets, engine, laser. The target is held, doubled
halfway, and judged by the truth: true emitters per um2, means over 50 frames, the whole
field. ``--picture`` draws the runs.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import yaml

from liveloc.bridge.control.settling import BLOCK_FRAMES, judge, true_density

CHANCE = 0.25  # that an emission is the last one
SEEN_FRAMES = 7.0  # in which an emission of 6 frames is seen, on average
COLUMNS = (
    "law",
    "ticks/s",
    "seed",
    "settled after",
    "bias %",
    "sd %",
    "within 10 %, %",
    "overshoot %",
    "step: settled after",
    "step: overshoot %",
    "bleached %",
    "frame to laser p50 / p99 ms",
    "later than 100 ms",
    "frames lost",
)


def settings(told, law, ticks, seed):
    """Give a session's settings."""
    blocks = max(1, round(1000 / told.exposure / ticks / 2))
    return {
        "camera": {"config": "simulated", "frames": told.frames,
                   "exposure_ms": told.exposure},
        "simulation": {"shape": [told.side, told.side], "seed": seed,
                       "fluorophores_per_um2": told.reservoir},
        "engine": {"model": told.model},
        "laser": {"power": 5.0},
        "control": {
            "law": law,
            "target_per_um2": [[0, told.target], [told.frames // 2, 2 * told.target]],
            "ticks_per_s": ticks,
            "block_frames": min(blocks, 2 if ticks >= 10 else blocks),
        },
    }  # fmt: skip


def session(told, law, ticks, seed, folder):
    """Run one session; give its report, density per frame and power per frame."""
    file = folder / "settings.yaml"
    file.write_text(yaml.safe_dump(settings(told, law, ticks, seed)))
    out = folder / "session"
    command = (sys.executable, "-m", "liveloc", "run", file, "--headless")
    subprocess.run(
        [*map(str, command), "--session", str(out)],
        check=True,
        capture_output=True,
    )
    report = json.loads((out / "report.json").read_text())
    density = true_density(out / "truth.arrow")
    lines = [json.loads(x) for x in (out / "control.jsonl").read_text().splitlines()]
    return report, density, lines


def row(told, law, ticks, seed, report, density):
    """Judge one session."""
    half = told.frames // 2
    first = judge(density[:half], told.target)
    second = judge(density[half:], 2 * told.target)
    start = first.settled_after_frames or half - BLOCK_FRAMES
    held = density[start:half] / told.target
    held = held[: len(held) // BLOCK_FRAMES * BLOCK_FRAMES]
    means = held.reshape(-1, BLOCK_FRAMES).mean(1)
    feedback, lost = report["feedback"], sum(report["frames"]["lost"].values())
    took = feedback["frame_to_laser_ms"]
    bleached = 100 * CHANCE * density.sum() / SEEN_FRAMES / told.reservoir
    within = 100 * first.within_10_percent_fraction
    return (
        f"| {law} | {ticks:g} | {seed} | {first.settled_after_frames} | "
        f"{100 * (means.mean() - 1):+.1f} | {100 * means.std():.1f} | "
        f"{within:.0f} | {first.overshoot_percent:.0f} | "
        f"{second.settled_after_frames} | {second.overshoot_percent:.0f} | "
        f"{bleached:.0f} | {took['p50']:.0f} / {took['p99']:.0f} | "
        f"{feedback['later_than_100_ms']} | {lost} |"
    )


def draw(path, told, runs):
    """Draw density and power of each run."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 1.8 * len(runs) + 0.6), layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.subplots(len(runs), 1, sharex=True, squeeze=False)[:, 0]
    kernel = np.ones(BLOCK_FRAMES) / BLOCK_FRAMES
    for axes, (name, density, lines) in zip(grid, runs, strict=True):
        half = told.frames // 2
        axes.plot(density, color="0.8", lw=0.4)
        axes.plot(np.convolve(density, kernel, "same"), color="C0", lw=1.2)
        for start, stop, level in (
            (0, half, told.target),
            (half, told.frames, 2 * told.target),
        ):
            axes.fill_between(
                [start, stop], 0.9 * level, 1.1 * level, color="C2", alpha=0.25, lw=0
            )
        axes.set_ylim(0, 3.2 * told.target)
        axes.set_title(name, loc="left", fontsize=9)
        axes.set_ylabel("per µm²")
        power = axes.twinx()
        decided = [line for line in lines if line["kind"] == "decision"]
        power.plot(
            [line["frames"][1] for line in decided],
            [line["power"] for line in decided],
            color="C3",
            lw=0.8,
        )
        power.set_ylabel("mW", color="C3")
        power.set_ylim(bottom=0)
    grid[-1].set_xlabel("frame")
    figure.savefig(path, dpi=130)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--laws", nargs="*", default=["ratio"])
    parser.add_argument("--ticks", nargs="*", type=float, default=[50.0])
    parser.add_argument("--seeds", nargs="*", type=int, default=[1])
    parser.add_argument("--frames", type=int, default=6000)
    parser.add_argument("--side", type=int, default=128)
    parser.add_argument("--exposure", type=float, default=10.0)
    parser.add_argument("--target", type=float, default=0.5)
    parser.add_argument("--reservoir", type=float, default=250.0)
    parser.add_argument("--model", default="simulated-microscope")
    parser.add_argument("--picture", type=Path)
    told = parser.parse_args()
    print(f"| {' | '.join(COLUMNS)} |\n" + "|---" * len(COLUMNS) + "|")
    runs = []
    for law in told.laws:
        for ticks in told.ticks:
            for seed in told.seeds:
                with tempfile.TemporaryDirectory() as folder:
                    report, density, lines = session(
                        told, law, ticks, seed, Path(folder)
                    )
                print(row(told, law, ticks, seed, report, density), flush=True)
                runs.append((f"{law}, {ticks:g} ticks/s, seed {seed}", density, lines))
    if told.picture:
        draw(told.picture, told, runs)


if __name__ == "__main__":
    main()
