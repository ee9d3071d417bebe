"""Hold the density of the simulated microscope through real processes.

python tests/benchmarks/closed_loop.py --seeds 1 2 --laws ratio htsmlm pi dead_band
python tests/benchmarks/closed_loop.py --hold 2000 --exposure 20 --reservoir 65
python tests/benchmarks/closed_loop.py --event background 2 --event on_time 3

Each run is a whole session: core, sockets, engine, laser. The target is held, doubled
halfway, and judged by the truth: true emitters per um2, means over 50 frames, the whole
field. ``--hold N`` keeps the one target until N frames after settling, ``--event``
keeps it and changes the sample on the way. ``--picture`` draws the runs, ``--keep``
keeps the sessions.
"""

import argparse
import itertools
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
SETTLING_FRAMES = 200  # at most, before what is held
BACK_FRAMES = 150  # successive means within 10 %: settled again
RUN = ("law", "ticks/s", "seed", "settled after")
HELD = ("bias %", "sd %", "within 10 %, %", "overshoot %")
STEP = ("step: settled after", "step: overshoot %", "bleached %")
HOLD = ("means", "furthest %", "bleached meanwhile %", "power first, last, highest")
EVENT = ("first 50 frames %", "furthest %", "frames beyond 10 %", "back after")
LOOP = ("frame to laser p50 / p99 ms", "later than 100 ms", "frames lost")


def columns(told):
    """Name the columns of the table."""
    if told.hold:
        return (*RUN, *HELD, *HOLD, *LOOP)
    if not told.event:
        return (*RUN, *HELD, *STEP, *LOOP)
    events = [f"{name} x{factor}: {column}" for name, factor in told.event
              for column in EVENT]  # fmt: skip
    return (*RUN, *HELD, *events, *LOOP)


def parts(told):
    """Give the frames at which something changes, and the end."""
    changes = 0 if told.hold else max(len(told.event), 1)
    return [told.frames * (k + 1) // (changes + 1) for k in range(changes + 1)]


def settings(told, law, ticks, seed):
    """Give a session's settings."""
    at = parts(told)
    step = [] if told.hold or told.event else [[at[0], 2 * told.target]]
    events = [
        [frame, name, float(factor)]
        for frame, (name, factor) in zip(at, told.event, strict=False)
    ]
    return {
        "camera": {"config": "simulated", "frames": told.frames,
                   "exposure_ms": told.exposure},
        "simulation": {"shape": [told.side, told.side], "seed": seed,
                       "fluorophores_per_um2": told.reservoir, "events": events},
        "engine": {"model": told.model},
        "laser": {"power": 5.0},
        "control": {
            "law": law,
            "target_per_um2": [[0, told.target], *step],
            "ticks_per_s": ticks,
            "block_frames": 2 if ticks < 1000 / told.exposure else 1,
        },
    }  # fmt: skip


def session(told, law, ticks, seed, folder):
    """Run one session; give its report, density per frame and power per frame."""
    folder.mkdir(parents=True, exist_ok=True)
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


def held(told, first, density, stop):
    """Give the means over 50 frames from settling on, relative to the target."""
    start = first.settled_after_frames or max(stop - BLOCK_FRAMES, 0)
    ratio = density[start:stop] / told.target
    ratio = ratio[: len(ratio) // BLOCK_FRAMES * BLOCK_FRAMES]
    return start, ratio.reshape(-1, BLOCK_FRAMES).mean(1)


def bleached(told, density):
    """Give how many fluorophores per um2 these frames cost."""
    return CHANCE * density.sum() / SEEN_FRAMES


def stepped(told, density):
    """Say how the doubled target was met."""
    half = told.frames // 2
    second = judge(density[half:], 2 * told.target)
    share = 100 * bleached(told, density) / told.reservoir
    return [
        second.settled_after_frames,
        f"{second.overshoot_percent:.0f}",
        f"{share:.0f}",
    ]


def kept(told, density, lines, start, means):
    """Say what it cost to hold the target, and how far it was left at worst."""
    left = told.reservoir - bleached(told, density[:start])
    cost = bleached(told, density[start : start + told.hold])
    powers = [
        line["power"]
        for line in lines
        if line["kind"] == "decision" and start <= line["frames"][0] < start + told.hold
    ]
    worst = means[np.argmax(abs(means - 1))] - 1
    return [
        len(means),
        f"{100 * worst:+.1f}",
        f"{100 * cost / left:.0f}",
        f"{powers[0]:.1f}, {powers[-1]:.1f}, {max(powers):.1f}",
    ]


def disturbed(told, density, start, stop):
    """Say how far and for how long an event took the density from its target."""
    ratio = density[start:stop] / told.target
    moving = np.convolve(ratio, np.ones(BLOCK_FRAMES) / BLOCK_FRAMES, "valid")
    near, back, run_of = abs(moving - 1) <= 0.1, None, 0
    for i, well in enumerate(near):
        run_of = run_of + 1 if well else 0
        if run_of == BACK_FRAMES:
            back = i - run_of + 1 + BLOCK_FRAMES
            break
    worst = moving[np.argmax(abs(moving - 1))] - 1
    return [
        f"{100 * (moving[0] - 1):+.0f}",
        f"{100 * worst:+.0f}",
        int((~near).sum()),
        back,
    ]


def row(told, law, ticks, seed, report, density, lines):
    """Judge one session."""
    at = parts(told)
    before = at[0]
    first = judge(density[:before], told.target)
    stop = (first.settled_after_frames or 0) + told.hold if told.hold else before
    start, means = held(told, first, density, stop)
    within = 100 * (abs(means - 1) <= 0.1).mean()
    cells = [law, f"{ticks:g}", seed, first.settled_after_frames]
    cells += [f"{100 * (means.mean() - 1):+.1f}", f"{100 * means.std():.1f}"]
    cells += [f"{within:.1f}", f"{first.overshoot_percent:.0f}"]
    if told.hold:
        cells += kept(told, density, lines, start, means)
    elif told.event:
        for start, end in itertools.pairwise(at):
            cells += disturbed(told, density, start, end)
    else:
        cells += stepped(told, density)
    feedback, lost = report["feedback"], sum(report["frames"]["lost"].values())
    took = feedback["frame_to_laser_ms"]
    cells += [f"{took['p50']:.0f} / {took['p99']:.0f}", feedback["later_than_100_ms"]]
    return f"| {' | '.join(map(str, [*cells, lost]))} |"


def draw(path, told, runs):
    """Draw density and power of each run."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 1.8 * len(runs) + 0.6), layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.subplots(len(runs), 1, sharex=True, squeeze=False)[:, 0]
    kernel = np.ones(BLOCK_FRAMES) / BLOCK_FRAMES
    half = told.frames if told.hold or told.event else told.frames // 2
    for axes, (name, density, lines) in zip(grid, runs, strict=True):
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
    parser.add_argument("--hold", type=int, default=0, metavar="FRAMES")
    parser.add_argument(
        "--event", nargs=2, metavar=("NAME", "FACTOR"), action="append", default=[]
    )
    parser.add_argument("--picture", type=Path)
    parser.add_argument("--keep", type=Path)
    told = parser.parse_args()
    if told.hold:
        told.frames = told.hold + SETTLING_FRAMES
    names = columns(told)
    print(f"| {' | '.join(names)} |\n" + "|---" * len(names) + "|")
    runs = []
    for law in told.laws:
        for ticks in told.ticks:
            for seed in told.seeds:
                with tempfile.TemporaryDirectory() as spare:
                    folder = (
                        told.keep / f"{law}-{ticks:g}-{seed}" if told.keep else spare
                    )
                    report, density, lines = session(
                        told, law, ticks, seed, Path(folder)
                    )
                print(row(told, law, ticks, seed, report, density, lines), flush=True)
                runs.append((f"{law}, {ticks:g} ticks/s, seed {seed}", density, lines))
    if told.picture:
        draw(told.picture, told, runs)


if __name__ == "__main__":
    main()
