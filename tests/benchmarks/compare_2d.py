"""liveloc beside SMAPpy (PyPI: smappy-smlm) on the same simulated 2D movies.

python tests/benchmarks/compare_2d.py --smappy PATH/TO/smappy-fit

128x128 pixels of 100 nm, Gaussian spots of sigma 1.3 px, 2,000 photons, background
20, new emitters in every frame, so that the three-frame context of liveloc does not
help. Both get offset and gain.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

import h5py
import numpy as np
import tifffile

from liveloc.model.evaluation.metrics import Field, evaluate
from liveloc.model.physics.camera import NumpyNoise, expose
from liveloc.model.physics.psf import GaussianPSF
from liveloc.stream.calibration import CameraCalibration
from liveloc.stream.localizations import empty
from liveloc.stream.tables.opening import read_table

SIDE, PIXEL_NM, BORDER_NM = 128, 100.0, 450.0
CALIBRATION = CameraCalibration(offset_adu=100, e_per_adu=0.5, read_noise_e=1.6)


def simulate(density_per_um2, frames, path):
    """Write a movie; give its truth."""
    rng = np.random.default_rng(1)
    noise, psf = NumpyNoise(rng), GaussianPSF(sigma_px=1.3)
    mean_number = density_per_um2 * (SIDE * PIXEL_NM / 1000) ** 2
    movie, truth = [], []
    for frame in range(frames):
        n = max(1, rng.poisson(mean_number))
        x, y = rng.uniform(-0.5, SIDE - 0.5, (2, n)).astype(np.float32)
        photons = np.full(n, 2000, np.float32)
        mean = psf.render(x, y, np.zeros_like(x), photons, (SIDE, SIDE)) + 20
        movie.append(expose(mean, CALIBRATION, noise).astype(np.uint16))
        rows = empty(n)
        rows["frame"], rows["x_nm"], rows["y_nm"] = frame, x * PIXEL_NM, y * PIXEL_NM
        truth.append(rows)
    tifffile.imwrite(path, np.stack(movie), photometric="minisblack")
    return np.concatenate(truth)


def run_liveloc(movie, out):
    command = [sys.executable, "-m", "liveloc", "fit", str(movie), "--out", str(out)]
    command += ["--pixel-size", str(PIXEL_NM), "--offset", "100", "--gain", "0.5"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return read_table(out / "localizations.arrow")[0]


def run_smappy(program, movie, out):
    command = [program, str(movie), str(out), "--pixelsize", str(PIXEL_NM / 1000)]
    command += ["--offset", "100", "--conversion", "0.5", "--emgain", "1", "--no-em"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    with h5py.File(out) as file:
        columns = {name: file["locs"][name][:] for name in ("frame", "x_nm", "y_nm")}
    rows = empty(len(columns["frame"]))
    for name, column in columns.items():
        rows[name] = column
    return rows


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frames", type=int, default=500)
    parser.add_argument("--smappy", help="The program smappy-fit.")
    args = parser.parse_args()
    edge = (SIDE - 0.5) * PIXEL_NM
    field = Field(-0.5 * PIXEL_NM, -0.5 * PIXEL_NM, edge, edge)
    print("| per um2 | program | Jaccard % | RMSE nm | s |\n|---|---|---|---|---|")
    for density in (0.06, 0.2, 0.5):
        with tempfile.TemporaryDirectory() as folder:
            movie = Path(folder) / "movie.tif"
            truth = simulate(density, args.frames, movie)
            runs = {"liveloc": partial(run_liveloc, movie, Path(folder) / "out")}
            if args.smappy:
                out = Path(folder) / "smappy.hdf5"
                runs["SMAPpy"] = partial(run_smappy, args.smappy, movie, out)
            for name, run in runs.items():
                began = time.monotonic()
                table = run()
                seconds = time.monotonic() - began
                score = evaluate(
                    table, truth, field=field, border_nm=BORDER_NM, axial_nm=None
                )
                print(
                    f"| {density} | {name} | {score.jaccard:.1f} | "
                    f"{score.rmse_lateral_nm:.1f} | {seconds:.1f} |",
                    flush=True,
                )


if __name__ == "__main__":
    main()
