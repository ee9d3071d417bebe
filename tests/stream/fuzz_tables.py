"""Mutates every file but movies: tables, cameras, PSFs, bundles, settings, sessions.

    python tests/stream/fuzz_tables.py --count 10000 [--seed 0] [--only NAME]

Adds to the readers of `fuzz_readers`, which says what a mutation is.
"""

import hashlib
import json
import sys
import zipfile
from pathlib import Path

import h5py
import numpy as np

sys.path.append(str(Path(__file__).resolve().parent))
import fuzz_readers
from fuzz_readers import Reader

from liveloc.model.bundle import load_bundle
from liveloc.model.calibration.psf.bead_stack import read_positions
from liveloc.model.evaluation.wobble import read_wobble
from liveloc.model.physics.psf import SplinePSF
from liveloc.model.physics.psf_file import save_psf
from liveloc.model.physics.pupil import Optics
from liveloc.model.physics.smap import open_psf
from liveloc.model.training_config import TrainingConfig
from liveloc.stream.calibration import CameraCalibration
from liveloc.stream.camera_file import Camera, CameraFile, load_camera, save_camera
from liveloc.stream.frames import Frame, FrameHeader, StreamEnd, StreamStart
from liveloc.stream.localizations import empty
from liveloc.stream.movies.replay import ReplaySource
from liveloc.stream.recording.segments import SegmentWriter
from liveloc.stream.session.control_file import ControlFile
from liveloc.stream.session.settings import SessionSettings
from liveloc.stream.session.target_file import read_target
from liveloc.stream.tables.arrow import TableWriter
from liveloc.stream.tables.coordinates import stream_metadata
from liveloc.stream.tables.ledger import ProcessedLog, ResumePoint
from liveloc.stream.tables.opening import open_pieces, read_table
from liveloc.stream.tables.text import write_csv
from liveloc.viewer.view_file import View

STREAM = bytes(range(16))
START = StreamStart(
    stream_id=STREAM,
    shape=(8, 10),
    dtype="u2",
    pixel_size_nm=100.0,
    calibration=CameraCalibration(),
    exposure_ms=10,
    interval_ms=10,
    roi_origin=(3, 4),
    t0_utc="2026-01-01T00:00:00Z",
)
METADATA = stream_metadata(START)


def rows(count=12):
    made = empty(count)
    made["frame"] = np.arange(count) // 2
    made["x_nm"], made["y_nm"] = 350 + 20 * np.arange(count), 450.5
    made["probability"] = 1
    return made


def read_both_ways(path):
    """As `evaluate` and as the viewer read a table."""
    whole, _ = read_table(path, 100.0)
    pieces = sum(len(piece) for piece in open_pieces(path, 100.0).read())
    assert pieces >= len(whole)
    assert np.isfinite(whole["x_nm"]).all() and np.isfinite(whole["y_nm"]).all()


def _arrow(folder):
    with TableWriter(folder / "t.arrow", METADATA) as table:
        table.append(rows())
        table.append(rows())


def _text(dialect, encoding="utf-8", separator=",", point="."):
    def write(folder):
        write_csv(folder / "t.csv", rows(), METADATA, dialect)
        text = (folder / "t.csv").read_text("utf-8")
        if point != ".":
            text = text.replace(",", ";").replace(".", point)
        text = text.replace(",", separator) if point == "." else text
        (folder / "t.csv").write_bytes(text.encode(encoding))

    return write


def _rapidstorm(folder):
    field = '<field identifier="{}" unit="{}" />'
    names = ("Position-0-0", "Position-1-0", "ImageNumber-0-0")
    units = ("nanometer", "nanometer", "frame")
    fields = "".join(field.format(*pair) for pair in zip(names, units, strict=True))
    lines = "".join(f"{100 + k} {200 + k} {k}\n" for k in range(9))
    (folder / "t.csv").write_text(f"# <localizations>{fields}</localizations>\n{lines}")


def _picasso(folder):
    kinds = [("frame", "u4"), *((n, "f4") for n in ("x", "y", "photons", "lpx", "lpy"))]
    with h5py.File(folder / "t.hdf5", "w") as file:
        file["locs"] = np.ones(30, kinds)
    (folder / "t.yaml").write_text("Width: 32\nHeight: 16\n---\nPixelsize: 130\n")


def _camera(folder):
    maps = {
        name: np.full((8, 10), value, np.float32)
        for name, value in (("offset_adu", 100), ("e_per_adu", 2), ("read_noise_e", 1))
    }
    calibration = CameraCalibration(**maps)
    file = CameraFile.of(calibration, name="one", pixel_size_nm=100.0)
    save_camera(folder / "c.yaml", Camera(file, calibration))


def _psf(folder):
    z, y, x = np.mgrid[-3:4, -4:5, -4:5]
    psf = SplinePSF(
        coefficients=np.exp(-(x**2 + y**2 + z**2) / 4).astype(np.float32),
        z_first_nm=-300.0,
        z_step_nm=100.0,
        centre_px=(4.0, 4.0),
        z_low_nm=-200.0,
        z_high_nm=200.0,
        pixel_size_nm=100.0,
    )
    wobble = {"dx_nm": [0, 1], "dy_nm": [0, 1], "z_nm": [-100, 100]}
    save_psf(folder / "p.psf.npz", psf, {"wobble": wobble})


def _smap(folder):
    coeff = np.zeros((64, 3, 4, 4), np.float32)
    coeff[0] = 1.0
    with h5py.File(folder / "p.mat", "w") as file:
        file["SXY/cspline/coeff"] = coeff
        for name in ("x0", "z0", "dz"):
            file[f"SXY/cspline/{name}"] = np.array([[2.0]])
        file["parameters/cam_pixelsize_um"] = np.array([[0.1]])


def _smap_5(folder):
    from scipy.io import savemat

    coeff = np.zeros((4, 4, 3, 64), np.float32)
    coeff[..., 0] = 1.0
    spline = {"coeff": coeff, "x0": 2.0, "z0": 2.0, "dz": 2.0}
    content = {"SXY": {"cspline": spline}, "parameters": {"cam_pixelsize_um": 0.1}}
    savemat(folder / "p.mat", content, do_compression=False)


def _bundle(folder):
    shipped = Path(load_bundle.__code__.co_filename).parent / "bundles"
    with (
        zipfile.ZipFile(shipped / "gaussian-2d.liveloc") as whole,
        zipfile.ZipFile(folder / "b.liveloc", "w") as small,
    ):
        described = json.loads(whole.read("model.json"))
        for name in described["parts"]:
            content = b"" if name.endswith(".onnx") else b"0123456789"
            described["parts"][name] = {
                "nbytes": len(content),
                "sha256": hashlib.sha256(content).hexdigest(),
            }
            small.writestr(name, content)
        small.writestr("model.json", json.dumps(described))


def _settings(folder):
    SessionSettings().save(folder)


def _control(folder):
    decision = {
        "kind": "decision", "t_ns": 7, "exposed_ns": 6, "frames": [0, 7],
        "per_um2": 0.5, "sigma_per_um2": 0.1, "wanted": 2.0, "given": 2.0, "reason": "",
    }  # fmt: skip
    laser = {"kind": "laser", "t_ns": 8, "power": 2.0, "unit": "mW", "reason": ""}
    lines = [json.dumps(line) for line in (decision, laser, decision, laser)]
    (folder / "control.jsonl").write_text("\n".join(lines) + "\n")


def read_control(path):
    found = ControlFile.read(path)
    assert isinstance(found.problem, str) and isinstance(found.unit, str)


def _processed(folder):
    with ProcessedLog(folder / "processed.jsonl") as log:
        for k in range(4):
            point = ResumePoint(next_seq=8 * k + 8, localized=8 * k + 8, lost={})
            log.append(STREAM, 8 * k, 8 * k + 7, point)


def read_processed(path):
    log = ProcessedLog(path)
    log.resume(START)
    log.localized_frames()


def _recording(folder):
    with SegmentWriter(folder, START) as writer:
        for seq in range(4):
            header = FrameHeader(
                seq=seq,
                camera_frame=seq,
                t_ns=seq,
            )
            writer.append(Frame(header, np.full(START.shape, seq, np.uint16)))
        writer.close(
            StreamEnd(
                stream_id=STREAM, status="ok", last_seq=3, sent=4, dropped=0, missing=0
            )
        )


def read_recording(path):
    with ReplaySource(path, speed=None) as source:
        for frame in source.frames():
            assert frame.pixels.shape == source.start.shape


MINE = {
    "arrow": Reader(_arrow, read_both_ways, "t.arrow"),
    "csv": Reader(_text("liveloc"), read_both_ways, "t.csv"),
    "thunderstorm": Reader(_text("thunderstorm"), read_both_ways, "t.csv"),
    "semicolons": Reader(
        _text("thunderstorm", separator=";", point=","), read_both_ways, "t.csv"
    ),
    "utf-16": Reader(
        _text("thunderstorm", encoding="utf-16", separator="\t"),
        read_both_ways,
        "t.csv",
    ),
    "rapidstorm": Reader(_rapidstorm, read_both_ways, "t.csv"),
    "picasso": Reader(_picasso, read_both_ways, "t.hdf5"),
    "camera": Reader(_camera, load_camera, "c.yaml"),
    "psf": Reader(_psf, open_psf, "p.psf.npz"),
    "wobble": Reader(_psf, read_wobble, "p.psf.npz"),
    "smap 7.3": Reader(_smap, open_psf, "p.mat"),
    "smap 5": Reader(_smap_5, open_psf, "p.mat"),
    "bundle": Reader(_bundle, load_bundle, "b.liveloc"),
    "settings": Reader(_settings, SessionSettings.load, "session.yaml"),
    "target": Reader(
        lambda folder: (folder / "target.json").write_text(
            '{"target_per_um2": 0.5, "origin": "me", "written": 7.5}'
        ),
        lambda path: read_target(path.parent),
        "target.json",
    ),
    "control": Reader(_control, read_control, "control.jsonl"),
    "processed": Reader(_processed, read_processed, "processed.jsonl"),
    "recording": Reader(_recording, read_recording, "."),
    "view": Reader(
        lambda folder: (folder / "v.yaml").write_text(
            "source: t.csv\npixel_size_nm: 100\n"
        ),
        View.load,
        "v.yaml",
    ),
    "optics": Reader(
        lambda folder: (folder / "o.yaml").write_text(
            "pixel_size_nm: 100\nna: 1.4\nwavelength_nm: 670\n"
            "immersion_index: 1.518\nsample_index: 1.33\nz_range_nm: [-500, 500]\n"
        ),
        Optics.load,
        "o.yaml",
    ),
    "training": Reader(
        lambda folder: (folder / "c.yaml").write_bytes(
            (
                Path(fuzz_readers.__file__).parents[2]
                / "model/bundles/gaussian-2d.yaml"
            ).read_bytes()
        ),
        TrainingConfig.load,
        "c.yaml",
    ),
    "bead positions": Reader(
        lambda folder: (folder / "b.csv").write_text("x_nm,y_nm\n1,2\n3,4\n"),
        lambda path: read_positions(path, 100.0),
        "b.csv",
    ),
}
SLOW = ("smap 5",)  # a process for each
fuzz_readers.READERS.update(MINE)

if __name__ == "__main__":
    fuzz_readers.main()
