"""Mutates valid files and reads them: only errors meant for the user may come out.

    python tests/stream/fuzz_readers.py --count 10000 [--seed 0] [--only NAME]

Each entry of `READERS` has files that are read without an error, and what reads them
whole. A mutation changes, cuts, repeats or removes bytes of one file.
"""

import argparse
import random
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import tifffile

sys.path.append(str(Path(__file__).resolve().parent / "movies"))
import movie_files

from liveloc.stream.errors import LivelocError
from liveloc.stream.movies import open_movie

LONGEST_S = 20.0  # for one file of a few KB, on a machine that is busy
MOST_BYTES = 256 << 20  # beyond what the process had before
INTERESTING = (b"\0", b"\xff", b"\xff\xff\xff\xff", b"\0\0\0\0", b"\x7f", b"\x80")
TEXTS = (
    b"nan",
    b"-1",
    b"1e999",
    b"99999999999",
    b"inf",
    b"\x00",
    b"[",
    b"{",
    b"<",
    b'"',
)


@dataclass(frozen=True)
class Reader:
    """How a kind of file is written, and read whole.

    Attributes
    ----------
    write : callable
        Writes valid files into an empty folder.
    read : callable
        Reads the path that it is given, as far as a program would.
    given : str
        Name of what is read, in that folder.
    """

    write: Callable[[Path], None]
    read: Callable[[Path], object]
    given: str


def read_movie(path):
    """Read every frame, damaged ones included."""
    with open_movie(path) as movie:
        for index in range(len(movie)):
            try:
                frame = movie.read(index)
            except LivelocError:
                continue
            assert frame.shape == movie.shape


FRAMES = movie_files.spots(frames=4)[0][:, :10, :12]


def _tiff(**options):
    return lambda folder: tifffile.imwrite(
        folder / "m.tif", FRAMES, photometric="minisblack", metadata=None, **options
    )


def _ome(folder):
    planes = [(t, t, 1, "m.ome.tif") for t in range(4)]
    size = 'PhysicalSizeX="0.1" PhysicalSizeXUnit="&#181;m" TimeIncrement="20"'
    text = movie_files.ome_text(4, planes, (10, 12), size)
    movie_files.write_ome(folder / "m.ome.tif", FRAMES, text)


def _ome_set(folder):
    planes = [(0, 0, 2, "a.ome.tif"), (2, 0, 2, "b.ome.tif")]
    text = movie_files.ome_text(4, planes, (10, 12))
    movie_files.write_ome(folder / "a.ome.tif", FRAMES[:2], text)
    movie_files.write_ome(folder / "b.ome.tif", FRAMES[2:], text)


def _micromanager(folder):
    name = "ds_MMStack_Pos0{}.ome.tif"
    movie_files.write_micromanager(folder / name.format(""), FRAMES[:2], planned=4)
    movie_files.write_micromanager(
        folder / name.format("_1"), FRAMES[2:], planned=4, first=2
    )


def _picasso(folder):
    (folder / "m.raw").write_bytes(FRAMES.astype("<u2").tobytes())
    (folder / "m.yaml").write_text(
        "Byte Order: <\nData Type: uint16\nFrames: 4\nHeight: 10\nWidth: 12\n"
    )


def _images(folder):
    for number, frame in enumerate(FRAMES):
        tifffile.imwrite(folder / f"img_{number:03d}.tif", frame)


READERS = {
    "tiff": Reader(_tiff(), read_movie, "m.tif"),
    "bigtiff": Reader(_tiff(bigtiff=True), read_movie, "m.tif"),
    "lzw": Reader(_tiff(compression="lzw"), read_movie, "m.tif"),
    "deflate tiles": Reader(
        _tiff(compression="zlib", tile=(16, 16), predictor=True), read_movie, "m.tif"
    ),
    "imagej": Reader(
        lambda folder: movie_files.write_imagej(
            folder / "m.tif", FRAMES, unit="um", per_unit=(10, 10)
        ),
        read_movie,
        "m.tif",
    ),
    "imagej large": Reader(
        lambda folder: movie_files.write_imagej(
            folder / "m.tif", FRAMES, unit="um", per_unit=(10, 10), truncate=True
        ),
        read_movie,
        "m.tif",
    ),
    "shaped": Reader(
        lambda folder: tifffile.imwrite(
            folder / "m.tif", FRAMES, photometric="minisblack"
        ),
        read_movie,
        "m.tif",
    ),
    "ome": Reader(_ome, read_movie, "m.ome.tif"),
    "ome set": Reader(_ome_set, read_movie, "a.ome.tif"),
    "micro-manager": Reader(_micromanager, read_movie, "ds_MMStack_Pos0.ome.tif"),
    "ndtiff": Reader(
        lambda folder: movie_files.write_ndtiff(folder, (FRAMES[:2], FRAMES[2:])),
        read_movie,
        "ds_NDTiffStack.tif",
    ),
    "dax": Reader(
        lambda folder: movie_files.write_dax(folder / "m.dax", FRAMES),
        read_movie,
        "m.dax",
    ),
    "picasso raw": Reader(_picasso, read_movie, "m.raw"),
    "folder of images": Reader(_images, read_movie, "."),
}


def mutated(content, choose):
    """Change a few places of a file's bytes."""
    data = bytearray(content)
    for _ in range(choose.choice((1, 1, 1, 2, 5, 20))):
        if not data:
            break
        at = choose.randrange(len(data))
        kind = choose.randrange(8)
        if kind == 0:
            data[at] = choose.randrange(256)
        elif kind == 1:
            data[at] ^= 1 << choose.randrange(8)
        elif kind == 2:
            piece = choose.choice(INTERESTING)
            data[at : at + len(piece)] = piece
        elif kind == 3:
            del data[at : at + choose.choice((1, 2, 4, 100))]
        elif kind == 4:
            data[at:at] = data[at : at + choose.choice((1, 4, 50))]
        elif kind == 5:
            data[at : at + choose.choice((0, 1, 4))] = choose.choice(TEXTS)
        elif kind == 6:
            number = choose.choice((0, 1, 2, 7, len(data), 2**16 - 1, 2**31, 2**32 - 1))
            data[at : at + 4] = number.to_bytes(4, choose.choice(("little", "big")))
        elif choose.random() < 0.2:
            del data[at:]
    return bytes(data)


def fuzz(name, folder, count, seed):
    """Read `count` mutations; return how each ended.

    Raises
    ------
    AssertionError
        An error that is not for the user, a wait, or too much memory. It names the
        seed of the mutation.
    """
    reader = READERS[name]
    reader.write(folder)
    files = {
        each: each.read_bytes() for each in sorted(folder.rglob("*")) if each.is_file()
    }
    reader.read(folder / reader.given)  # valid as written
    before, ends = peak_bytes(), Counter()
    for number in range(seed, seed + count):
        choose = random.Random(f"{name} {number}")
        path = choose.choice(list(files))
        path.write_bytes(mutated(files[path], choose))
        began = time.monotonic()
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                reader.read(folder / reader.given)
            ends["read"] += 1
        except LivelocError as error:
            assert "\n" not in str(error), f"{name} {number}: {str(error)!r}"
            ends["refused"] += 1
        except Exception as error:
            raise AssertionError(f"{name} {number} ({path.name}): {error!r}") from error
        took = time.monotonic() - began
        assert took < LONGEST_S, f"{name} {number}: {took:.1f} s"
        path.write_bytes(files[path])
    more = peak_bytes() - before
    assert more < MOST_BYTES, f"{name}: {more >> 20} MiB more than before"
    return ends


def peak_bytes():
    """Return the most memory that this process ever had; 0 where that is not known."""
    try:
        import resource
    except ImportError:  # Windows
        return 0
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10


def main():
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", choices=READERS)
    options = parser.parse_args()
    for name in [options.only] if options.only else READERS:
        with tempfile.TemporaryDirectory() as folder:
            ends = fuzz(name, Path(folder), options.count, options.seed)
        print(f"{name:20} {dict(ends)}", flush=True)


if __name__ == "__main__":
    main()
