"""What others rely on stays: flags, keys of files, bytes on the wire.

``frozen.json`` beside this file holds them. What is new may be added to it
(``python tests/test_frozen.py`` writes it anew); what is in it stays as it is.
"""

import json
from pathlib import Path

import msgpack
import numpy as np
import pytest
import typer
from pydantic import BaseModel

from liveloc.__main__ import app
from liveloc.bridge.control.laws.registry import _KINDS as LAWS
from liveloc.model.bundle import ModelSpec
from liveloc.model.physics.pupil import Optics
from liveloc.model.training_config import TrainingConfig
from liveloc.stream.broadcast.messages import pack, pack_preview, pack_rows
from liveloc.stream.calibration import CameraCalibration
from liveloc.stream.camera_file import CameraFile
from liveloc.stream.density import BlockDensity
from liveloc.stream.frames import FrameHeader, StreamEnd, StreamStart
from liveloc.stream.laser_state import LaserState
from liveloc.stream.localizations import LOCALIZATION
from liveloc.stream.preview import Preview
from liveloc.stream.session.settings import SessionSettings
from liveloc.stream.transport import wire

STORED = Path(__file__).with_name("frozen.json")
FILES = {
    "session.yaml": SessionSettings,
    "training.yaml": TrainingConfig,
    "camera.yaml": CameraFile,
    "optics.yaml": Optics,
    "model.json": ModelSpec,
}


def flags():
    """Return the options and arguments of every command."""
    found = {}

    def walk(command, name):
        for sub, child in getattr(command, "commands", {}).items():
            walk(child, f"{name} {sub}")
        if not hasattr(command, "commands"):
            found[name] = sorted(
                "/".join((*parameter.opts, *parameter.secondary_opts))
                for parameter in command.params
            )

    walk(typer.main.get_command(app), "liveloc")
    return found


def keys(model, prefix=""):
    """Return the dotted keys of a settings model, with type and default."""
    found = {}
    for name, field in model.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            found |= keys(kind, f"{prefix}{name}.")
            continue
        default = (
            "required"
            if field.is_required()
            else field.get_default(call_default_factory=True)
        )
        found[f"{prefix}{field.alias or name}"] = repr(default)
    return found


def messages():
    """Return one example of each message, packed."""
    stream, peer = bytes(range(16)), bytes(range(16, 32))
    start = StreamStart(
        stream_id=stream,
        shape=(48, 64),
        dtype="u2",
        pixel_size_nm=108.0,
        calibration=CameraCalibration(offset_adu=100.0, e_per_adu=0.5),
        exposure_ms=10.0,
        interval_ms=10.5,
        roi_origin=(8, 16),
        expected_frames=500,
        policy="drop_block",
        t0_ns=5,
        t0_utc="2026-01-02T03:04:05Z",
        producer="liveloc",
        camera_label="Camera",
        camera_serial="7",
        metadata={"objective": "100x"},
    )
    mark = wire.Mark(next_seq=9, sent=7, dropped_total=1, missing_total=1)
    header = FrameHeader(seq=8, camera_frame=8, t_ns=123, missing_total=1, laser_seq=2)
    density = BlockDensity(
        stream_id=stream,
        first_seq=0,
        last_seq=7,
        frames=8,
        t_ns=99,
        per_um2=0.5,
        sigma_per_um2=0.1,
        area_um2=40.0,
        precision_nm=11.0,
    )
    end = StreamEnd(stream_id=stream, last_seq=8, sent=7, dropped=1, missing=1)
    of, credit = {"stream_id": stream}, {"credit_seq": 70, "credit_bytes": 1 << 21}
    frame = {"shape": (48, 64), "dtype": "u2", "nbytes": 6144, "crc32c": 17}
    up = {
        "start": wire.Start(start=start, sender=peer, mark=mark, proof=peer),
        "frame": wire.FrameUp(**of, header=header, dropped_total=1, **frame),
        "end": wire.End(end),
        "heartbeat": wire.Heartbeat(**of, mark=mark),
        "hello_ok": wire.HelloOk(**of, next_seq=3, **credit, proof=peer),
        "credit": wire.Credit(**of, **credit),
        "ack": wire.Ack(**of, seq=8, end=True),
        "localized": wire.Localized(**of, seq=8),
        "density": wire.Density(density),
        "laser": wire.Laser(LaserState(**of, power=5.0, unit="mW", law="ratio")),
        "alarm": wire.Alarm(**of, text="frames 3 to 9 were not localized"),
        "reject": wire.Reject(reason="busy", detail="another stream", proof=peer),
    }
    packed = {name: wire.encode(message).hex() for name, message in up.items()}
    rows = np.zeros(2, LOCALIZATION)
    pixels = np.arange(12, dtype=np.uint16).reshape(3, 4)
    down = {
        "rows": pack_rows(stream, 5, rows, sent_ns=1),
        "preview": pack_preview(
            stream, Preview(seq=8, pixels=pixels, binning=1, localizations=rows[:1])
        ),
        "status": pack("status", stream, b"{}"),
    }
    for name, parts in down.items():
        packed[name] = sorted(msgpack.unpackb(parts[0]))
    return packed


def now():
    return {
        "flags": flags(),
        "keys": {name: keys(model) for name, model in FILES.items()},
        "laws": {name: keys(kind.options) for name, kind in LAWS.items()},
        "messages": messages(),
    }


@pytest.mark.parametrize("what", ["flags", "keys", "laws", "messages"])
def test_what_others_rely_on_stays(what):
    stored, found = json.loads(STORED.read_text(encoding="utf-8"))[what], now()[what]
    for name, value in stored.items():
        if isinstance(value, dict):
            assert {key: found.get(name, {}).get(key) for key in value} == value, name
        elif isinstance(value, list):
            assert set(value) <= set(found.get(name, [])), name
        else:
            assert found.get(name) == value, name
    assert found == stored, "it has grown: run this file to note what is new"


if __name__ == "__main__":
    STORED.write_text(json.dumps(now(), indent=1) + "\n", encoding="utf-8")
