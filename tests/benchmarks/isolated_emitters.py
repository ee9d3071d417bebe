"""How close a network comes to the Cramér-Rao limit of isolated emitters.

python tests/benchmarks/isolated_emitters.py MODEL [--refine] [--photons 1000 2500 5000]
python tests/benchmarks/isolated_emitters.py MODEL --density 0.1 0.3 1.0 [--overlap]

Emitters lie anywhere within their pixels and the depths of the network, 16 pixels or
more from any other in their own and in the neighbouring frames, and each is on in one
frame only: the three-frame context does not help. "sigma / RMSE"
says whether the uncertainties are true. With densities, emitters lie anywhere, anew in
each frame; --overlap then takes the limits of emitters together with their neighbours.
"""

import argparse
import json
from itertools import product
from pathlib import Path

import numpy as np

from liveloc.model.backend import OnnxBackend
from liveloc.model.bundle import load_bundle
from liveloc.model.evaluation.imaging import Imaging
from liveloc.model.evaluation.matching import AXIAL_NM, Rule
from liveloc.model.evaluation.plots import write_plots
from liveloc.model.evaluation.report import assess
from liveloc.model.localizer import Localizer
from liveloc.model.physics.camera import NumpyNoise, expose
from liveloc.model.physics.psf import GaussianPSF
from liveloc.stream.calibration import CameraCalibration
from liveloc.stream.localizations import empty

SQUARE_PX, SQUARES = 24, 10  # a chessboard: white squares in even frames, black in odd
SIDE = SQUARE_PX * SQUARES
WANDER_PX = 4.0  # of an emitter around the middle of its square
GOAL_JACCARD, GOAL_RATIO, GOAL_SIGMA = 99.0, 1.15, 0.15


class NoNoise:
    """Every pixel counts what is expected of it."""

    def poisson(self, mean):
        return mean

    def gamma(self, shape):
        return shape

    def normal(self, like):
        return np.zeros_like(like)


def camera_of(bundle):
    trained = bundle.spec.training.camera
    if trained.file is not None:
        raise SystemExit("the network was trained on a camera file: not supported here")
    numbers = trained.model_dump(include={"read_noise_e", "em_gain", "qe", "e_per_adu"})
    if numbers["em_gain"] == 1:
        numbers["e_per_adu"] = 0.5
    return CameraCalibration(offset_adu=100.0, **numbers)


def positions(frame, density, rng, pixel_nm):
    """Columns and rows of the emitters of a frame."""
    if density:
        n = rng.poisson(density * (SIDE * pixel_nm / 1000) ** 2)
        return rng.uniform(-0.5, SIDE - 0.5, (2, n))
    black = np.add.outer(np.arange(SQUARES), np.arange(SQUARES)) % 2
    row, column = np.nonzero(black == frame % 2)
    middle = np.stack([column, row]) * SQUARE_PX + SQUARE_PX / 2
    return middle + rng.uniform(-WANDER_PX, WANDER_PX, middle.shape)


def simulate(bundle, psf, camera, photons, density, args):
    """Localize emitters of one brightness; give the table and the truth."""
    spec, rng = bundle.spec, np.random.default_rng(args.seed)
    pixel_nm, z_range = spec.training.pixel_size_nm, spec.training.z_range_nm or (0, 0)
    noise = NoNoise() if args.no_noise else NumpyNoise(rng)
    backend = OnnxBackend(bundle, threads=1)
    localizer = Localizer.of(
        bundle, backend, camera, shape=(SIDE, SIDE), pixel_size_nm=pixel_nm
    )
    found, truth, frame = [], [], 0
    while sum(map(len, truth)) < args.emitters:
        x, y = positions(frame, density, rng, pixel_nm)
        rows = empty(len(x))
        rows["frame"], rows["x_nm"], rows["y_nm"] = frame, x * pixel_nm, y * pixel_nm
        rows["z_nm"] = rng.uniform(*z_range, len(x))
        rows["photons"], rows["background"] = photons, args.background
        columns = x, y, rows["z_nm"].astype(float), rows["photons"].astype(float)
        mean = psf.render(*columns, (SIDE, SIDE)) + args.background
        counts = expose(mean, camera, noise).astype(np.uint16)
        found.append(localizer.feed([frame], [counts]).localizations)
        truth.append(rows)
        frame += 1
    found.append(localizer.finish().localizations)
    return np.concatenate(found), np.concatenate(truth)


def line(name, result):
    """One row of the table, and whether it reaches the goal."""
    cells, good = [], result.score.jaccard >= GOAL_JACCARD
    for axis in "xyz":
        one = result.precision.get(axis)
        if one is None:
            cells += ["-", "-", "-"]
            continue
        good &= one.rmse_over_limit <= GOAL_RATIO
        good &= abs(one.sigma_over_rmse - 1) <= GOAL_SIGMA
        cells += [
            f"{one.rmse:.1f} / {one.limit:.1f}",
            f"{one.rmse_over_limit:.3f}",
            f"{one.sigma_over_rmse:.2f}",
        ]
    columns = " | ".join(cells)
    print(f"| {name} | {result.score.jaccard:.2f} | {columns} |", flush=True)
    return bool(good)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("model", help="Shipped name, or path of a bundle.")
    parser.add_argument("--refine", action="store_true", help="Fit again with the PSF.")
    parser.add_argument("--photons", type=float, nargs="+", default=[1000, 2500, 5000])
    parser.add_argument("--background", type=float, default=20.0)
    parser.add_argument(
        "--emitters", type=int, default=3000, help="Of each brightness."
    )
    parser.add_argument("--density", type=float, nargs="+", default=[0.0])
    parser.add_argument("--overlap", action="store_true")
    parser.add_argument("--sigma-px", type=float, help="Of a 2D network's spots.")
    parser.add_argument("--no-noise", action="store_true", help="Its own error.")
    parser.add_argument("--plots", type=Path, help="Folder for figures.")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    bundle = load_bundle(args.model, refine=args.refine)
    camera = camera_of(bundle)
    psf = GaussianPSF(sigma_px=args.sigma_px) if args.sigma_px else bundle.psf()
    imaging = Imaging(psf=psf, camera=camera, overlap=args.overlap)
    pixel_nm = bundle.spec.training.pixel_size_nm
    metadata = {"pixel_size_nm": str(pixel_nm), "shape": f"[{SIDE}, {SIDE}]"}
    rule = Rule(
        axial_nm=AXIAL_NM if bundle.spec.is_3d else None,
        border_nm=450.0 if any(args.density) else 0.0,
    )
    heads = "".join(
        f" {axis} RMSE / CRLB nm | ratio | sigma / RMSE |" for axis in "xyz"
    )
    print(f"| photons | Jaccard % |{heads}\n|" + "---|" * 11)
    tables, truths, report, good = [], [], {}, True
    for k, (density, photons) in enumerate(product(args.density, args.photons)):
        table, truth = simulate(bundle, psf, camera, photons, density, args)
        result = assess(table, truth, rule, metadata, imaging=imaging)
        name = f"{photons:g}" + (f" at {density:g} per um2" if density else "")
        good &= line(name, result)
        report[name] = result.as_dict()
        for rows in (table, truth):
            rows["frame"] += k << 32  # other frames than those of the next brightness
        tables.append(table)
        truths.append(truth)
    both = np.concatenate(tables), np.concatenate(truths)
    result = assess(*both, rule, metadata, imaging=imaging)
    line("all", result)
    report["all"] = result.as_dict()
    for name, bias in result.bias.items():
        print(f"{name}: pull {bias.pull_nm:+.2f} ± {bias.pull_error_nm:.2f} nm")
    print(result.rule_in_words)
    if not any(args.density):
        print(
            f"goal {'reached' if good else 'MISSED'}: Jaccard >= {GOAL_JACCARD:g} %, "
            f"RMSE <= {GOAL_RATIO:g} CRLB, sigma within {100 * GOAL_SIGMA:g} %"
        )
    if args.plots:
        write_plots(result, args.plots)
    if args.json:
        args.json.write_text(json.dumps(report, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
