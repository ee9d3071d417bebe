"""What rescaling offsets to an even distribution, as DECODE can, would gain or cost.

python tests/benchmarks/subpixel_rescaling.py MODEL [--density 0 0.3 1.0]

In bins of z or of the predicted sigma, positions within a cell are replaced by their
rank: even by construction. Emitters are those of isolated_emitters.py.
"""

import argparse

import numpy as np
from isolated_emitters import camera_of, simulate

from liveloc.model.bundle import load_bundle
from liveloc.model.evaluation.matching import AXIAL_NM, Rule, compare
from liveloc.model.evaluation.precision import rms
from liveloc.model.evaluation.subpixel import evenness, phase, phase_bias

BINS = 5


def rescaled(found_px, by, bins, period):
    """Positions whose places within a cell are even in each bin of `by`."""
    place = phase(found_px, period)
    shift = np.zeros(len(place))
    for rows in np.array_split(np.argsort(by, kind="stable"), bins):
        rank = np.argsort(np.argsort(place[rows]))
        even = ((rank + 0.5) / len(rows) - 0.5) * period
        shift[rows] = even - place[rows]
        shift[rows] -= shift[rows].mean()
    return found_px + shift


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("model")
    parser.add_argument("--photons", type=float, default=2500)
    parser.add_argument("--background", type=float, default=20.0)
    parser.add_argument("--density", type=float, nargs="+", default=[0.0, 0.3, 1.0])
    parser.add_argument("--emitters", type=int, default=12_000)
    parser.add_argument("--seed", type=int, default=3)
    args = parser.parse_args()
    args.no_noise = False
    bundle = load_bundle(args.model)
    spec, camera = bundle.spec, camera_of(bundle)
    pixel_nm, period = spec.training.pixel_size_nm, spec.grid.cell_px
    print(
        "| per um2 | axis | pull nm | contrast | RMSE nm | all | z bins | sigma bins |"
    )
    print("|---|---|---|---|---|---|---|---|")
    for density in args.density:
        one = bundle, bundle.psf(), camera, args.photons, density, args
        table, truth = simulate(*one)
        rule = Rule(axial_nm=AXIAL_NM if spec.is_3d else None)
        matched = compare(table, truth, rule)
        rows = table[matched.found]
        sigma = np.hypot(rows["x_sigma_nm"], rows["y_sigma_nm"])
        for axis in "xy":
            found = rows[f"{axis}_nm"].astype(float) / pixel_nm
            true = truth[f"{axis}_nm"][matched.real].astype(float) / pixel_nm
            bias = phase_bias(true, matched.error(f"{axis}_nm"), period)
            errors = [
                rms(rescaled(found, by, bins, period) - true) * pixel_nm
                for by, bins in ((sigma, 1), (rows["z_nm"], BINS), (sigma, BINS))
            ]
            print(
                f"| {density:g} | {axis} | {bias.pull_nm:+.2f} ± "
                f"{bias.pull_error_nm:.2f} | {evenness(found, period).contrast:+.3f} | "
                f"{rms(found - true) * pixel_nm:.2f} | "
                + " | ".join(f"{error:.2f}" for error in errors)
                + " |",
                flush=True,
            )


if __name__ == "__main__":
    main()
