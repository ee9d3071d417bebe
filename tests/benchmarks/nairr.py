"""Networks on 3D astigmatic movies with blinking, beside SMAPpy, and without context.

python tests/benchmarks/nairr.py --model nairr.liveloc --single nairr-1frame.liveloc \
    --smappy FOLDER/OF/smappy-fit

Movies: `nairr_3das_train` of the data folder, validation sets LD and MD, simulated by
Yi Sun, CCNY (NAIRR-SMLM), 500 frames of 32x32 pixels of 100 nm. Nothing is left out:
no border, no dim emitters. Matching is greedy, 250 nm lateral, 500 nm axial.
"isolated" is simulated here with the same model, one emitter a frame.

"shuffled": the same frames in random order, so that the frames before and after a
frame do not help, evaluated on the same frames.
"""

import argparse
import os
import tempfile
from pathlib import Path

import numpy as np
import peer_smappy
import tifffile

from liveloc.model.backend import OnnxBackend
from liveloc.model.bundle import load_bundle
from liveloc.model.evaluation.metrics import evaluate
from liveloc.model.localizer import Localizer
from liveloc.model.physics.camera import NumpyNoise, expose
from liveloc.model.physics.psf import AstigmaticPSF, Defocus
from liveloc.stream.calibration import CameraCalibration
from liveloc.stream.localizations import empty

PIXEL_NM = 100.0
CAMERA = CameraCalibration(offset_adu=500, e_per_adu=1.0, read_noise_e=20**0.5)
# The model that the data's authors state; fits their frames to chi2 = 1.00.
PSF = AstigmaticPSF(
    x=Defocus(sigma_px=1.40, focus_nm=-205, depth_nm=290, cubic=0.05, quartic=0.03),
    y=Defocus(sigma_px=1.35, focus_nm=205, depth_nm=290, cubic=-0.01, quartic=0.02),
)
COLUMNS = (
    "| movie | network | Jaccard % | RMSE lat nm | RMSE ax nm "
    "| E_lat | E_ax | E_3D |\n|---|---|---|---|---|---|---|---|"
)


def read_movie(folder, density):
    """Return frames and truth; the truth's (0, 0) is the corner of the first pixel."""
    frames = tifffile.imread(folder / f"3DAS_{density}_Validate_frames.tif")
    path = folder / f"3DAS_{density}_Validate_truth.csv"
    values = np.loadtxt(path, delimiter=",", skiprows=1, usecols=(1, 3, 4, 5, 8))
    truth = empty(len(values))
    truth["frame"] = values[:, 0] - 1
    truth["x_nm"], truth["y_nm"] = (values[:, 1:3] - PIXEL_NM / 2).T
    truth["z_nm"], truth["photons"] = values[:, 3:].T
    return frames, truth


def isolated_movie(frames=400):
    """Simulate one such emitter a frame away from the rim: what each does at best."""
    rng = np.random.default_rng(3)
    truth = empty(frames)
    truth["frame"], truth["photons"] = np.arange(frames), 2400
    truth["x_nm"], truth["y_nm"] = rng.uniform(1200, 1900, (2, frames))
    truth["z_nm"] = rng.uniform(-400, 400, frames)
    x, y, z = (truth[name].astype(float)[:, None] for name in ("x_nm", "y_nm", "z_nm"))
    mean = PSF.render(x / PIXEL_NM, y / PIXEL_NM, z, np.full_like(x, 2400.0), (32, 32))
    return expose(mean + 30, CAMERA, NumpyNoise(rng)).astype(np.uint16), truth


def read_models(models, *, refine):
    """Return names and bundles; with `refine` each a second time, refined."""
    for model in models:
        name = Path(model).stem
        yield name, load_bundle(model)
        if refine:
            yield f"{name}, refined", load_bundle(model, refine=True)


def localize(bundle, frames, order=None):
    """Localize the frames in the order given; frame numbers stay the movie's."""
    localizer = Localizer.of(
        bundle,
        OnnxBackend(bundle, threads=1),
        CAMERA,
        shape=frames.shape[1:],
        pixel_size_nm=PIXEL_NM,
    )
    order = np.arange(len(frames)) if order is None else order
    parts = [
        localizer.feed([seq], [frames[original]]) for seq, original in enumerate(order)
    ]
    table = np.concatenate([p.localizations for p in [*parts, localizer.finish()]])
    table["frame"] = order[table["frame"]]
    return table


def show(movie, name, score):
    """Print one row of the table."""
    print(
        f"| {movie} | {name} | {score.jaccard:.1f} | {score.rmse_lateral_nm:.1f} "
        f"| {score.rmse_axial_nm:.1f} | {score.efficiency_lateral:.1f} "
        f"| {score.efficiency_axial:.1f} | {score.efficiency_3d:.1f} |",
        flush=True,
    )


def calibrate_smappy(programs, folder):
    """Show SMAPpy beads with the movies' PSF; give its calibration."""
    beads, spline = folder / "beads.tif", folder / "beads.h5"
    peer_smappy.render_beads(PSF, beads, z_nm=np.arange(-700, 701, 20.0))
    peer_smappy.calibrate(programs, beads, spline, dz_nm=20)
    return spline


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", nargs="*", default=[], help="three-frame bundles")
    parser.add_argument("--single", nargs="*", default=[], help="one-frame bundles")
    parser.add_argument("--refine", action="store_true", help="refined, too")
    parser.add_argument("--smappy", help="folder of the programs of SMAPpy")
    parser.add_argument("--movies", nargs="*", default=["isolated", "LD", "MD"])
    args = parser.parse_args()
    here = Path(__file__).resolve().parents[2]
    data = Path(os.environ.get("LIVELOC_DATA", here.parent / "shared" / "data"))
    print(COLUMNS)
    for movie in args.movies:
        if movie == "isolated":
            frames, truth = isolated_movie()
        else:
            frames, truth = read_movie(data / "nairr_3das_train", movie)
        shuffled = np.random.default_rng(1).permutation(len(frames))
        for name, bundle in read_models(args.model, refine=args.refine):
            show(movie, name, evaluate(localize(bundle, frames), truth))
            table = localize(bundle, frames, shuffled)
            show(movie, f"{name}, shuffled", evaluate(table, truth))
        for name, bundle in read_models(args.single, refine=args.refine):
            table = localize(bundle, frames)
            show(movie, f"{name} (one frame)", evaluate(table, truth))
        if args.smappy:
            with tempfile.TemporaryDirectory() as folder:
                found, _ = peer_smappy.best(
                    args.smappy,
                    frames,
                    truth,
                    calibrate_smappy(args.smappy, Path(folder)),
                    CAMERA,
                    pixel_nm=PIXEL_NM,
                    z_range_nm=500,
                    score=lambda rows, truth=truth: evaluate(rows, truth),
                )
            show(movie, f"SMAPpy, best of its settings ({found})", found.score)


if __name__ == "__main__":
    main()
