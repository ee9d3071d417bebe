"""Precision on real movies, without a truth: emitters seen again in later frames.

python tests/benchmarks/repeatability.py MOVIE --model BUNDLE --pixel-size 110 \
    --offset 44 --gain 1 --alone
python tests/benchmarks/repeatability.py MOVIE --table TABLE.csv --pixel-size 110

An emitter that stays on is found in consecutive frames, each time with an error of its
own: localizations of frames t and t + lag that are each other's nearest, at most one
pixel apart, differ by sqrt(2) times the precision. Printed are robust standard
deviations (1.4826 times the median absolute deviation) over sqrt(2), beside what the
network predicts for the same pairs, and "pull", the robust standard deviation of
differences over their predicted errors: 1 where predictions are true.

Pairs by chance are found by linking with the same table moved by several pixels:
"linked" must be far above "by chance", and the differences far below the random ones,
or the figures mean nothing. A network that sees three frames uses t and t + 1 for both
of two neighbours, which makes neighbours agree better than they are right. Lag 3 is
free of that, and so is --alone, where each frame is localized as if it had none.

The camera is that of --camera, or --offset and --gain; without a gain it is estimated.
"""

import argparse
from pathlib import Path

import numpy as np
from nairr import read_models
from scipy.spatial import cKDTree

from liveloc.model.backend import OnnxBackend
from liveloc.model.localizer import Localizer
from liveloc.stream.calibration import CameraCalibration
from liveloc.stream.camera_estimate import estimate_calibration
from liveloc.stream.camera_file import load_camera
from liveloc.stream.localizations import empty
from liveloc.stream.movies import open_movie
from liveloc.stream.tables.opening import read_table

RADIUS_PX = 1.0
MOVED_PX = ((9, 4), (-4, 9), (-9, -4), (4, -9), (13, -6), (-6, -13))
ROBUST = 1.4826


def localize(bundle, movie, camera, pixel_nm, alone):
    """Run a network over a movie; alone: frame by frame, without neighbours."""
    backend, parts = OnnxBackend(bundle, threads=1), []

    def fresh():
        return Localizer.of(
            bundle, backend, camera, shape=movie.shape, pixel_size_nm=pixel_nm
        )

    localizer = fresh()
    for seq in range(len(movie)):
        parts.append(localizer.feed([seq], [movie.read(seq)]))
        if alone:
            parts.append(localizer.finish())
            localizer = fresh()
    parts.append(localizer.finish())
    return np.concatenate([part.localizations for part in parts])


def link(table, lag, pixel_nm, moved_px=(0, 0)):
    """Pair rows of frames t and t + lag that are each other's nearest."""
    first, second = [], []
    places = np.stack([table["x_nm"], table["y_nm"]], axis=1).astype(float)
    for frame in np.unique(table["frame"]):
        a = np.flatnonzero(table["frame"] == frame)
        b = np.flatnonzero(table["frame"] == frame + lag)
        if not len(a) or not len(b):
            continue
        there = places[b] + np.array(moved_px) * pixel_nm
        away, nearest = cKDTree(there).query(places[a])
        _, back = cKDTree(places[a]).query(there)
        mutual = (back[nearest] == np.arange(len(a))) & (away <= RADIUS_PX * pixel_nm)
        first.append(a[mutual])
        second.append(b[nearest[mutual]])
    none = np.empty(0, int)
    return np.concatenate([none, *first]), np.concatenate([none, *second])


def robust(values):
    """Return the standard deviation of a normal distribution as wide in the median."""
    if not len(values):
        return np.nan
    return ROBUST * float(np.median(np.abs(values - np.median(values))))


def compare(table, lag, pixel_nm):
    """Return one row: links, and (measured, predicted, by chance, pull) per axis."""
    begins = int(np.isin(table["frame"] + lag, table["frame"]).sum())
    first, second = link(table, lag, pixel_nm)
    by_chance = [(*link(table, lag, pixel_nm, moved), moved) for moved in MOVED_PX]
    row = {
        "lag": lag,
        "pairs": len(first),
        "linked": len(first) / max(begins, 1),
        "random": np.mean([len(a) for a, *_ in by_chance]) / max(begins, 1),
    }
    for number, axis in enumerate("xyz"):
        value, sigma = table[f"{axis}_nm"].astype(float), table[f"{axis}_sigma_nm"]
        difference = value[second] - value[first]
        spread = np.hypot(sigma[first], sigma[second])
        chance = np.concatenate(
            [
                value[b] + (*moved, 0)[number] * pixel_nm - value[a]
                for a, b, moved in by_chance
            ]
        )
        pull = difference[spread > 0] / spread[spread > 0]
        row[axis] = (
            robust(difference) / np.sqrt(2),
            float(np.median(spread)) / np.sqrt(2) if len(spread) else np.nan,
            robust(chance) / np.sqrt(2),
            robust(pull),
        )
    return row


def show(name, row):
    """Print one row of the table."""
    axes = [
        f"{measured:.1f} / {predicted:.1f} / {chance:.1f} / {pull:.2f}"
        for measured, predicted, chance, pull in (row[axis] for axis in "xyz")
    ]
    print(
        f"| {name} | {row['lag']} | {row['pairs']} | {row['linked']:.1%} | "
        f"{row['random']:.1%} | {' | '.join(axes)} |",
        flush=True,
    )


def options():
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("movie", type=Path)
    parser.add_argument("--model", nargs="*", default=[])
    parser.add_argument("--refine", action="store_true", help="refined, too")
    parser.add_argument("--table", type=Path, nargs="*", default=[])
    parser.add_argument("--pixel-size", type=float, required=True, help="nm")
    parser.add_argument("--camera", type=Path, help="camera file")
    parser.add_argument("--offset", type=float, default=100.0, help="ADU")
    parser.add_argument("--gain", type=float, help="electrons per ADU")
    parser.add_argument("--alone", action="store_true", help="frames one by one, too")
    parser.add_argument("--lag", type=int, nargs="*", default=[1, 3])
    parser.add_argument("--keep", type=float, default=1.0, help="best part by sigma")
    return parser.parse_args()


def read(path, pixel_nm):
    """Read a table; also the data folder's references, in px from the first centre."""
    with path.open("rb") as file:
        header = file.readline()
    if b"x_px" not in header:
        return read_table(path, pixel_nm)[0]
    columns = np.genfromtxt(path, delimiter=",", names=True)
    table = empty(len(columns))
    table["frame"] = columns["frame"]
    for axis in "xy":
        table[f"{axis}_nm"] = columns[f"{axis}_px"] * pixel_nm
        if "x_err_px" in columns.dtype.names:
            table[f"{axis}_sigma_nm"] = columns["x_err_px"] * pixel_nm
    return table


def camera_of(movie, args):
    """Return the camera as given, or estimate its gain."""
    if args.camera:
        return load_camera(args.camera).calibration
    if args.gain:
        return CameraCalibration(offset_adu=args.offset, e_per_adu=args.gain)
    frames = np.stack([movie.read(seq) for seq in range(min(len(movie), 20))])
    camera = estimate_calibration(frames, args.offset)
    print(f"estimated: offset {camera.offset_adu:g}, gain {camera.e_per_adu:.3g}")
    return camera


def main():
    args = options()
    pixel_nm = args.pixel_size
    tables = {path.stem: read(path, pixel_nm) for path in args.table}
    with open_movie(args.movie) as movie:
        camera = camera_of(movie, args)
        for name, bundle in read_models(args.model, refine=args.refine):
            tables[name] = localize(bundle, movie, camera, pixel_nm, alone=False)
            if args.alone:
                table = localize(bundle, movie, camera, pixel_nm, alone=True)
                tables[f"{name}, frames alone"] = table
        frames = len(movie)
    print(f"{args.movie.name}: {frames} frames; nm: measured/predicted/random/pull")
    print("| table | lag | pairs | linked | by chance | x | y | z |")
    print("|---|---|---|---|---|---|---|---|")
    for name, table in tables.items():
        if args.keep < 1:
            worst = np.quantile(table["x_sigma_nm"], args.keep)
            table = table[table["x_sigma_nm"] <= worst]
        for lag in args.lag:
            if lag < frames:
                show(name, compare(table, lag, pixel_nm))


if __name__ == "__main__":
    main()
