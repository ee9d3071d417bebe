"""High density with the challenge's truth, its measured PSF and its EMCCD camera.

python tests/benchmarks/challenge_beads.py --out FOLDER --images --model as.liveloc \
    --smappy FOLDER/OF/smappy-fit

The frames of MT0.N1.HD of the SMLM 2016 challenge (Sage et al., Nature Methods 16, 387
(2019)) are not in the data folder, their truth is: it is rendered here, with the
intensities it states, on a background of 100 photons. Two independent ways:

--psf FILE.psf.npz   with a PSF file, such as the one that the network learned from
--images             from the raw images of beads themselves: each is shifted by the
                     Fourier shift theorem and interpolated linearly between its planes
                     of 10 nm. Nothing of liveloc's PSF code takes part. `--beads 0 1 2`
                     chooses which.

Scores leave out a border of 450 nm; matching is greedy, 250 nm lateral, 500 nm axial.
SMAPpy is calibrated on the bead stack itself.
"""

import argparse
import json
import os
import tempfile
from pathlib import Path

import numpy as np
import peer_smappy
import tifffile
from nairr import COLUMNS, read_models, show
from scipy import ndimage

from liveloc.model.backend import OnnxBackend
from liveloc.model.evaluation.metrics import Field, evaluate
from liveloc.model.localizer import Localizer
from liveloc.model.physics.camera import NumpyNoise, expose
from liveloc.model.physics.psf_file import load_psf
from liveloc.stream.calibration import CameraCalibration
from liveloc.stream.localizations import empty
from liveloc.stream.tables.arrow import TableWriter

PIXEL_NM, SIDE, BORDER_NM, BACKGROUND = 100.0, 64, 450.0, 100.0
CAMERA = CameraCalibration(
    offset_adu=100, e_per_adu=45, em_gain=300, qe=0.9, read_noise_e=74.4
)
ADU_PER_PHOTON = 180_000.0  # of a bead's image above 100 ADU: 30,000 x 6, see SOURCE.md
FIRST_FRAME = 1001  # of the truth that is at hand


class BeadImages:
    """Frames from raw images of beads, of which only the positions are known.

    Parameters
    ----------
    folder : Path
        `smlm2016_beads` of the data folder.
    beads : list[int]
        Which of the six.
    """

    half, margin = 23, 9  # the images end 20 px from a bead; px around for the shift

    def __init__(self, folder, beads):
        stack = tifffile.imread(folder / "beads_AS.tif").astype(float)
        path = folder / "beads_positions.csv"
        table = np.genfromtxt(path, delimiter=",", names=True)
        first = table[table["frame"] == 1]
        wide = self.half + self.margin
        stack = np.pad(stack - 100, ((0, 0), (wide, wide), (wide, wide)))
        images = []
        for bead in beads:
            x, y = first["x_nm"][bead] / 100 - 0.5, first["y_nm"][bead] / 100 - 0.5
            column, row = round(x), round(y)
            cut = stack[:, row : row + 2 * wide + 1, column : column + 2 * wide + 1]
            images.append(_shifted(cut, row - y, column - x))
        mean = np.mean(images, axis=0) / ADU_PER_PHOTON
        distance = np.hypot(*np.mgrid[-wide : wide + 1, -wide : wide + 1])
        self.planes = np.where(distance <= self.half, mean, 0.0)  # (151, rows, columns)

    def render(self, x_px, y_px, z_nm, photons, shape):
        """Add the images of emitters, one by one."""
        wide = self.half + self.margin
        frame = np.zeros((shape[0] + 2 * wide, shape[1] + 2 * wide))
        for x, y, z, n in zip(x_px, y_px, z_nm, photons, strict=True):
            depth = np.clip((z + 750) / 10, 0, len(self.planes) - 1.000001)
            plane, part = int(depth), depth % 1
            image = (1 - part) * self.planes[plane] + part * self.planes[plane + 1]
            column, row = round(float(x)), round(float(y))
            image = _shifted(image[None], y - row, x - column)[0]
            if 0 <= row < shape[0] and 0 <= column < shape[1]:
                rows = slice(row, row + 2 * wide + 1)
                frame[rows, column : column + 2 * wide + 1] += n * image
        return frame[wide:-wide, wide:-wide]


def _shifted(images, rows, columns):
    """Shift images by a fraction of a pixel (Fourier shift theorem)."""
    spectrum = np.fft.fft2(images)
    return np.fft.ifft2(ndimage.fourier_shift(spectrum, (0, rows, columns))).real


def read_truth(folder, frames):
    """Return the first frames of the truth in our coordinates."""
    path = next(folder.glob("MT0.N1.HD_activations_*.csv"))
    values = np.loadtxt(path, delimiter=",", skiprows=1)
    values = values[values[:, 1] < FIRST_FRAME + frames]
    truth = empty(len(values))
    truth["frame"] = values[:, 1] - FIRST_FRAME
    truth["x_nm"], truth["y_nm"] = (values[:, 2:4] - PIXEL_NM / 2).T
    truth["z_nm"], truth["photons"] = values[:, 4:6].T
    truth["background"], truth["probability"] = BACKGROUND, 1
    return truth[np.argsort(truth["frame"], kind="stable")]


def render(psf, truth, frames):
    """Take the frames of the truth."""
    noise, movie = NumpyNoise(np.random.default_rng(1)), []
    for frame in range(frames):
        rows = truth[truth["frame"] == frame]
        x, y, z = (rows[name].astype(float) for name in ("x_nm", "y_nm", "z_nm"))
        n = rows["photons"].astype(float)
        mean = psf.render(x / PIXEL_NM, y / PIXEL_NM, z, n, (SIDE, SIDE)) + BACKGROUND
        movie.append(expose(np.clip(mean, 0, None), CAMERA, noise))
    return np.stack(movie).astype(np.uint16)


def write(folder, movie, truth):
    """Keep the movie and its truth for other programs."""
    folder.mkdir(parents=True, exist_ok=True)
    tifffile.imwrite(folder / "movie.tif", movie, photometric="minisblack")
    facts = {
        "pixel_size_nm": repr(PIXEL_NM),
        "roi_origin": "[0, 0]",
        "shape": json.dumps([SIDE, SIDE]),
    }
    (folder / "truth.arrow").unlink(missing_ok=True)
    with TableWriter(folder / "truth.arrow", facts) as table:
        table.append(truth)


def localize(bundle, movie):
    """Run a network over the movie."""
    backend = OnnxBackend(bundle, threads=1)
    localizer = Localizer.of(
        bundle, backend, CAMERA, shape=(SIDE, SIDE), pixel_size_nm=PIXEL_NM
    )
    parts = [localizer.feed([seq], [frame]) for seq, frame in enumerate(movie)]
    parts.append(localizer.finish())
    return np.concatenate([part.localizations for part in parts])


def calibrate_smappy(programs, data, folder):
    """Return SMAPpy's calibration of the bead stack, with z reversed."""
    beads, spline = folder / "beads.tif", folder / "beads.h5"
    stack = tifffile.imread(data / "beads_AS.tif")
    tifffile.imwrite(beads, stack[::-1], photometric="minisblack")
    print("SMAPpy:", peer_smappy.calibrate(programs, beads, spline, dz_nm=10))
    return spline


def options():
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    how = parser.add_mutually_exclusive_group(required=True)
    how.add_argument("--psf", type=Path, help="PSF file to render with")
    how.add_argument("--images", action="store_true", help="render from bead images")
    parser.add_argument("--beads", type=int, nargs="*", default=list(range(6)))
    parser.add_argument("--frames", type=int, default=500)
    parser.add_argument(
        "--isolated", action="store_true", help="only the first emitter of each frame"
    )
    parser.add_argument("--out", type=Path, help="folder for movie.tif and truth.arrow")
    parser.add_argument("--model", nargs="*", default=[], help="bundles to score")
    parser.add_argument("--refine", action="store_true", help="refined, too")
    parser.add_argument("--smappy", help="folder of the programs of SMAPpy")
    return parser.parse_args()


def main():
    args = options()
    here = Path(__file__).resolve().parents[2]
    data = Path(os.environ.get("LIVELOC_DATA", here.parent / "shared" / "data"))
    data = data / "smlm2016_beads"
    truth = read_truth(data, args.frames)
    if args.isolated:
        truth = truth[np.unique(truth["frame"], return_index=True)[1]]
    psf = BeadImages(data, args.beads) if args.images else load_psf(args.psf)[0]
    movie = render(psf, truth, args.frames)
    if args.out:
        write(args.out, movie, truth)
    edge = (SIDE - 0.5) * PIXEL_NM
    field = Field(-PIXEL_NM / 2, -PIXEL_NM / 2, edge, edge)
    way = f"beads {args.beads}" if args.images else args.psf.name

    def score(table):
        return evaluate(table, truth, field=field, border_nm=BORDER_NM)

    print(COLUMNS)
    for name, bundle in read_models(args.model, refine=args.refine):
        show(way, name, score(localize(bundle, movie)))
    if args.smappy:
        with tempfile.TemporaryDirectory() as folder:
            spline = calibrate_smappy(args.smappy, data, Path(folder))
            found, _ = peer_smappy.best(
                args.smappy,
                movie,
                truth,
                spline,
                CAMERA,
                pixel_nm=PIXEL_NM,
                z_range_nm=750,
                score=score,
            )
        show(way, f"SMAPpy, best of its settings ({found})", found.score)


if __name__ == "__main__":
    main()
