"""The density that the engine reports, against the truth.

python tests/benchmarks/density_bias.py [MODEL]

Even fields and microtubules of the simulated microscope at 0.1 to 3 emitters per um2,
and what a fiducial marker changes. An emitter counts in each frame in which it gave
light. "Sum" is the network's sum of probabilities as it is, "reported" after correction
for the response that was measured at the end of its training, "localized" the number of
rows in the table.
"""

import argparse

import numpy as np

from liveloc.bridge.simulated import SimulatedSettings
from liveloc.bridge.simulated.sample import Sample
from liveloc.model.backend import OnnxBackend
from liveloc.model.bundle import load_bundle
from liveloc.model.density_blocks import DensityBlocks
from liveloc.model.localizer import Localizer
from liveloc.model.physics.camera import NumpyNoise, expose

SIDE, FRAMES, SETTLE, ON_TIME = 64, 120, 60, 6.0
AREA_UM2 = (SIDE / 10) ** 2
MARGIN_PX = 6
FIDUCIALS = (2500, 10_000, 40_000)  # photons per frame


def even_field(density, rng, frames=FRAMES, fiducial=0.0):
    """Take frames of emitters anywhere; give them and the number in each frame."""
    settings = SimulatedSettings()
    side = SIDE + 2 * MARGIN_PX
    born = density * (side / 10) ** 2 / (ON_TIME + 1)
    events = []
    for frame in range(-SETTLE, frames):
        n = rng.poisson(born)
        start = frame + rng.random(n)
        where = rng.uniform(-0.5 - MARGIN_PX, SIDE - 0.5 + MARGIN_PX, (n, 2))
        depth = rng.uniform(-350, 350, n)
        light = 2500 * rng.gamma(44.4, 1 / 44.4, n)
        stop = start + rng.exponential(ON_TIME, n)
        events.append(np.column_stack([start, stop, where, depth, light]))
    start, stop, x, y, z, light = np.concatenate(events).T
    inside = (np.abs(x - (SIDE - 1) / 2) < SIDE / 2) & (
        np.abs(y - (SIDE - 1) / 2) < SIDE / 2
    )
    pictures, truth = [], []
    for frame in range(frames):
        share = np.minimum(stop, frame + 1) - np.maximum(start, frame)
        on = share > 0
        spots = [x[on], y[on], z[on], light[on] * share[on]]
        if fiducial:
            bead = (SIDE / 2 + 0.3, SIDE / 3, 50.0, fiducial)
            spots = [np.append(v, b) for v, b in zip(spots, bead, strict=True)]
        spots = [values.astype(np.float32) for values in spots]
        mean = settings.psf.render(*spots, (SIDE, SIDE)) + settings.background
        counts = expose(mean, settings.calibration, NumpyNoise(rng))
        pictures.append(counts.astype(np.uint16))
        truth.append(int((on & inside).sum()))
    return pictures, np.array(truth)


def microtubules(density, rng):
    """Take frames of the simulated microscope's own sample."""
    moment = density * ON_TIME / (ON_TIME + 1)
    settings = SimulatedSettings(
        shape=(SIDE, SIDE), density_per_um2=moment, seed=int(rng.integers(1000))
    )
    sample, pictures = Sample(settings), []
    for frame in range(SETTLE + FRAMES):
        out = np.zeros((SIDE, SIDE), np.uint16)
        sample.expose(frame, settings.power_mw, (0, 0, SIDE, SIDE), out)
        pictures.append(out)
    truth = np.bincount(sample.truth()["frame"], minlength=SETTLE + FRAMES)
    return pictures[SETTLE:], truth[SETTLE:]


def measure(bundle, backend, pictures):
    """Return (sum, reported, localized) emitters per frame, and those of each frame."""
    settings = SimulatedSettings()
    localizer = Localizer.of(
        bundle,
        backend,
        settings.calibration,
        shape=(SIDE, SIDE),
        pixel_size_nm=settings.pixel_size_nm,
    )
    blocks = DensityBlocks(b"x" * 16, bundle.spec.density_response, block_frames=1)
    summed = rows = 0.0
    reported = []
    for seq in range(len(pictures) + 1):
        last = seq == len(pictures)
        found = localizer.finish() if last else localizer.feed([seq], [pictures[seq]])
        summed += found.expected[:, 0].sum()
        rows += len(found.localizations)
        if block := blocks.add(found, lambda seq: seq):
            reported.append(block.per_um2 * block.area_um2)
    n = len(pictures)
    return summed / n, float(np.mean(reported)), rows / n, np.array(reported)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", nargs="?", default="simulated-microscope")
    args = parser.parse_args()
    bundle = load_bundle(args.model)
    backend = OnnxBackend(bundle, threads=1)
    print(
        "| sample | true per um2 | sum % | reported % | localized % |\n"
        + "|---" * 5
        + "|"
    )
    for name, sample in (("even", even_field), ("microtubules", microtubules)):
        for density in (0.1, 0.3, 0.5, 1.0, 1.5, 2.0, 3.0):
            rng = np.random.default_rng([7, round(10 * density)])
            pictures, truth = sample(density, rng)
            bias = [
                100 * (n / truth.mean() - 1)
                for n in measure(bundle, backend, pictures)[:3]
            ]
            row = " | ".join(f"{value:+.1f}" for value in bias)
            print(f"| {name} | {truth.mean() / AREA_UM2:.3f} | {row} |", flush=True)
    for photons in FIDUCIALS:
        change = []
        for bead in (0.0, float(photons)):
            rng = np.random.default_rng(11)
            pictures, _ = even_field(0.3, rng, 400, bead)
            change.append(measure(bundle, backend, pictures)[3])
        differs = change[1] - change[0]
        print(
            f"a fiducial of {photons} photons: {differs[:50].mean():+.2f} emitters in "
            f"the first 50 frames, {differs[50:].mean():+.2f} after"
        )


if __name__ == "__main__":
    main()
