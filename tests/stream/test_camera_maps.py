"""Maps of a camera: as plain data, over the wire, in a recording."""

import json
import uuid
from dataclasses import replace

import numpy as np
import pytest
import zmq
from crc32c import crc32c
from hypothesis import given, settings
from hypothesis import strategies as st

from liveloc.stream.calibration import CameraCalibration
from liveloc.stream.camera_maps import (
    check_map,
    from_plain,
    pack_maps,
    read_maps,
    to_plain,
    with_maps,
    write_maps,
)
from liveloc.stream.errors import MessageError, SettingsError
from liveloc.stream.frames import Frame, FrameHeader, StreamEnd, StreamStart
from liveloc.stream.recording.segments import SegmentReader, SegmentWriter
from liveloc.stream.recording.start_file import read_start, write_start
from liveloc.stream.sockets.limits import Limits
from liveloc.stream.tables.coordinates import stream_metadata
from liveloc.stream.transport import wire
from liveloc.stream.transport.receiver import FrameReceiver, Opened
from liveloc.stream.transport.sender import FrameSender

SHAPE = (6, 9)
ORIGIN = (40, 30)
MARK = wire.Mark(next_seq=0, sent=0, dropped_total=0, missing_total=0)
SENDER = bytes(16)


def chip(shape=SHAPE, origin=ORIGIN, **changes):
    rng = np.random.default_rng(1)
    return CameraCalibration(
        offset_adu=rng.normal(100, 3, shape),
        read_noise_e=rng.lognormal(0.4, 0.4, shape),
        e_per_adu=0.46,
        qe=0.82,
        saturation_adu=4095,
        origin=origin,
        **changes,
    )


def start_of(calibration, shape=SHAPE, origin=ORIGIN):
    return StreamStart(
        stream_id=uuid.UUID(int=5).bytes,
        shape=shape,
        dtype="u2",
        pixel_size_nm=100.0,
        calibration=calibration,
        exposure_ms=10.0,
        interval_ms=10.0,
        roi_origin=origin,
        policy="block",
    )


# The calibration itself


def test_calibrations_are_equal_when_every_pixel_is():
    one, other = chip(), chip()
    assert one == other and hash(one) == hash(other)
    assert one != replace(one, offset_adu=one.offset_adu + 1)
    assert one != one.typical and one.typical != one
    assert one != "a camera"


def test_maps_are_copied_once_and_cannot_be_changed():
    mine = np.full(SHAPE, 100.0)
    camera = CameraCalibration(offset_adu=mine)
    mine[:] = 7
    assert camera.offset_adu.dtype == np.float32
    assert (camera.offset_adu == 100).all()
    with pytest.raises(ValueError, match="read-only"):
        camera.offset_adu[0, 0] = 1
    assert camera.maps.keys() == {"offset_adu"}
    assert camera.has_maps and camera.shape == SHAPE


def test_maps_of_two_shapes_are_refused():
    with pytest.raises(ValueError, match=r"shapes \[\(2, 3\), \(3, 2\)\]"):
        CameraCalibration(offset_adu=np.ones((2, 3)), e_per_adu=np.ones((3, 2)))
    with pytest.raises(ValueError, match="need one"):
        CameraCalibration(offset_adu=np.ones(4))


def test_each_pixel_is_converted_with_its_own_numbers():
    camera = chip()
    counts = np.random.default_rng(2).integers(90, 300, (5, *SHAPE)).astype(np.uint16)
    expected = (counts - camera.offset_adu) * (0.46 / 0.82)
    assert camera.photons(counts).dtype == np.float32
    assert np.allclose(camera.photons(counts), expected, rtol=1e-5)
    assert np.allclose(camera.photons(counts[0]), expected[0], rtol=1e-5)


def test_the_variance_of_a_dark_pixel_is_in_photons():
    camera = CameraCalibration(read_noise_e=np.full(SHAPE, 60.0), em_gain=300, qe=0.5)
    assert camera.read_variance_photons.shape == SHAPE
    assert np.allclose(camera.read_variance_photons, 0.16)
    assert camera.excess == 2 and chip().excess == 1
    assert CameraCalibration(read_noise_e=2.0).read_variance_photons == 4


@given(
    x=st.integers(36, 52),
    y=st.integers(27, 40),
    w=st.integers(1, 12),
    h=st.integers(1, 9),
)
def test_a_region_of_the_chip_takes_its_own_pixels_along(x, y, w, h):
    camera = chip()
    inside = 40 <= x and 30 <= y and x + w <= 49 and y + h <= 36
    if not inside:
        with pytest.raises(ValueError, match=r"cover 9x6 pixels .* from \(40, 30\)"):
            camera.cropped(x, y, w, h)
        return
    part = camera.cropped(x, y, w, h)
    assert part.shape == (h, w) and part.origin == (x, y)
    wanted = camera.read_noise_e[y - 30 : y - 30 + h, x - 40 : x - 40 + w]
    assert np.array_equal(part.read_noise_e, wanted)
    assert part.e_per_adu == camera.e_per_adu


def test_without_maps_a_region_is_like_the_whole():
    camera = CameraCalibration(e_per_adu=0.5, origin=(3, 4))
    assert camera.cropped(1000, 1000, 9, 9) is camera
    assert camera.origin == (0, 0)


# Plain data


def test_plain_data_is_json_and_comes_back():
    camera = chip()
    plain = json.loads(json.dumps(to_plain(camera)))
    assert plain["offset_adu"] == pytest.approx(100, abs=2)
    numbers, sums = from_plain(plain)
    assert numbers == camera.typical
    assert with_maps(numbers, sums, camera.maps, SHAPE, ORIGIN) == camera


def test_records_from_before_maps_are_read():
    plain = to_plain(CameraCalibration(e_per_adu=0.5))
    del plain["maps"], plain["saturation_adu"]
    assert from_plain(plain) == (CameraCalibration(e_per_adu=0.5), {})


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (np.full(SHAPE, np.nan), "goes from nan to nan, needs a finite number"),
        (np.full(SHAPE, -1.0), "goes from -1 to -1"),
        (np.zeros(SHAPE), "above 0"),
        (np.ones((9, 6)), r"has shape \(9, 6\), needs \(6, 9\)"),
        (np.ones(SHAPE, bool), "holds bool"),
        (np.ones(SHAPE, complex), "holds complex128"),
        (np.ones((0, 9)), "has shape"),
        (np.ones(54), "has shape"),
    ],
)
def test_impossible_maps_are_named(values, words):
    with pytest.raises(ValueError, match=f"the map e_per_adu .*{words}"):
        check_map("e_per_adu", values, SHAPE)


# Files


def test_maps_survive_a_file(tmp_path):
    camera = chip()
    write_maps(tmp_path / "camera.npz", camera)
    found = read_maps(tmp_path / "camera.npz")
    assert found.keys() == camera.maps.keys()
    assert all(np.array_equal(found[k], v) for k, v in camera.maps.items())
    assert [p.name for p in tmp_path.iterdir()] == ["camera.npz"]


def test_an_array_of_objects_is_never_unpickled(tmp_path):
    path = tmp_path / "camera.npz"
    np.savez(path, offset_adu=np.array([[print]], object))
    with pytest.raises(SettingsError, match=r"camera\.npz: no camera maps: .*pickle"):
        read_maps(path)


def test_files_that_hold_no_maps_are_named(tmp_path):
    path = tmp_path / "camera.npz"
    with pytest.raises(SettingsError, match="no such file"):
        read_maps(path)
    np.savez(path, gain=np.ones(SHAPE))
    with pytest.raises(SettingsError, match=r"holds \['gain'\]; known are offset_adu"):
        read_maps(path)
    np.savez(path)
    with pytest.raises(SettingsError, match=r"holds \[\]"):
        read_maps(path)
    np.savez(path, offset_adu=np.ones(SHAPE), e_per_adu=np.ones((2, 2)))
    with pytest.raises(SettingsError, match="e_per_adu has shape"):
        read_maps(path)


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_a_damaged_file_of_maps_is_refused_or_read(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("maps") / "camera.npz"
    write_maps(path, chip())
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(
            st.integers(0, 255)
        )
    path.write_bytes(content[: data.draw(st.integers(0, len(content)))])
    try:
        found = read_maps(path)
    except SettingsError as error:
        assert "\n" not in str(error)
    else:
        assert {v.shape for v in found.values()} == {SHAPE}


# Recordings


def frames(count):
    for seq in range(count):
        header = FrameHeader(seq=seq, camera_frame=seq, t_ns=seq)
        yield Frame(header, np.full(SHAPE, seq, np.uint16))


def test_a_recording_keeps_the_maps(tmp_path):
    start = start_of(chip())
    with SegmentWriter(tmp_path, start) as writer:
        for frame in frames(2):
            writer.append(frame)
    with SegmentReader(tmp_path) as reader:
        assert reader.start == start
        assert len(list(reader)) == 2
    assert (tmp_path / "camera.npz").exists()


def test_other_maps_than_the_recorded_ones_are_refused(tmp_path):
    start = start_of(chip())
    write_start(tmp_path, start, 10)
    other = replace(start.calibration, offset_adu=start.calibration.offset_adu + 1)
    write_maps(tmp_path / "camera.npz", other)
    with pytest.raises(SettingsError, match=r"camera\.npz: is not what was recorded"):
        read_start(tmp_path)
    (tmp_path / "camera.npz").unlink()
    with pytest.raises(SettingsError, match="no such file"):
        read_start(tmp_path)


def test_recordings_from_before_maps_are_read(tmp_path):
    start = start_of(CameraCalibration(offset_adu=99.5))
    write_start(tmp_path, start, 10)
    path = tmp_path / "stream.json"
    content = json.loads(path.read_text())
    for name in ("maps", "saturation_adu"):
        del content["start"]["calibration"][name]
    content["version"] = 1
    del content["crc32c"]
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    path.write_text(json.dumps(content | {"crc32c": crc32c(text.encode())}))
    assert read_start(tmp_path) == (start, 10)


def test_a_table_says_what_its_maps_were():
    said = json.loads(stream_metadata(start_of(chip()))["calibration"])
    assert said["maps"].keys() == {"offset_adu", "read_noise_e"}
    assert said["offset_adu"] == pytest.approx(100, abs=2)


# The wire


def test_an_engine_gets_the_maps_of_the_senders_camera():
    start = start_of(chip())
    with (
        FrameReceiver("tcp://127.0.0.1:0") as receiver,
        FrameSender(receiver.endpoint, start) as sender,
    ):
        opened = receiver.next(1, 5.0)
        assert isinstance(opened, Opened)
        assert opened.start == start
        for frame in frames(3):
            assert sender.offer(frame)
        taken = 0
        while taken < 3:
            event = receiver.next(4, 5.0)
            receiver.localized(len(event.headers))
            receiver.settle(event.headers[-1].seq)
            taken += len(event.headers)
        assert not receiver.rejected


def test_maps_larger_than_a_message_are_refused_by_the_sender():
    start = start_of(chip((64, 64)), (64, 64))
    limits = Limits(payload_bytes=10_000)
    with pytest.raises(MessageError, match=r"maps of 16384 bytes.*smaller ROI"):
        FrameSender("tcp://127.0.0.1:5", start, limits=limits)


def test_maps_of_another_shape_than_the_frames_are_refused_by_the_sender():
    with pytest.raises(MessageError, match=r"maps: .*offset_adu has shape \(6, 9\)"):
        FrameSender("tcp://127.0.0.1:5", start_of(chip(), (9, 6)))


@pytest.fixture(scope="module")
def engine():
    limits = Limits(rejects_per_s=1_000_000)
    with FrameReceiver("tcp://127.0.0.1:0", limits=limits) as receiver:
        context = zmq.Context()
        socket = context.socket(zmq.DEALER)
        socket.setsockopt(zmq.LINGER, 0)
        socket.connect(receiver.endpoint)
        yield receiver, socket
        socket.close()
        context.term()


def answer(socket):
    assert socket.poll(5000), "the engine said nothing"
    return wire.decode(socket.recv_multipart()[-1], Limits())


def parts_of(calibration):
    message = wire.Start(start_of(calibration), SENDER, MARK)
    return [wire.encode(message), *map(bytes, pack_maps(calibration))]


GOOD = parts_of(chip())
BREAKS = {
    "no maps": (lambda parts: parts[:1], "parts"),
    "a map is missing": (lambda parts: parts[:-1], "parts"),
    "a part too many": (lambda parts: [*parts, b""], "parts"),
    "a short map": (lambda parts: [*parts[:-1], parts[-1][:-4]], "nbytes"),
    "a long map": (lambda parts: [*parts[:-1], parts[-1] * 2], "nbytes"),
    "an empty map": (lambda parts: [*parts[:-1], b""], "nbytes"),
    "changed bytes": (lambda parts: [*parts[:-1], parts[-1][:-1] + b"\x41"], "maps"),
    "maps exchanged": (lambda parts: [parts[0], parts[2], parts[1]], "maps"),
}


@pytest.mark.parametrize("name", BREAKS)
def test_a_start_with_broken_maps_is_refused_by_name(engine, name):
    receiver, socket = engine
    change, reason = BREAKS[name]
    before = receiver.rejected[reason]
    socket.send_multipart(change(list(GOOD)))
    assert answer(socket).reason == reason
    assert receiver.rejected[reason] == before + 1
    assert receiver.next(1, 0.0) is None


def test_numbers_that_no_camera_has_are_refused_though_the_checksum_is_right(engine):
    _, socket = engine
    parts = list(GOOD)
    bad = np.full(SHAPE, np.nan, "<f4").tobytes()
    message = wire.Start(
        start_of(chip().typical),
        SENDER,
        MARK,
        {"offset_adu": crc32c(bad), "read_noise_e": crc32c(parts[2])},
    )
    socket.send_multipart([wire.encode(message), bad, parts[2]])
    refusal = answer(socket)
    assert refusal.reason == "maps"
    assert "the map offset_adu goes from nan" in refusal.detail


@settings(max_examples=200, deadline=None)
@given(
    sums=st.dictionaries(
        st.sampled_from(["offset_adu", "e_per_adu", "read_noise_e"]),
        st.integers(0, 2**32 - 1),
        min_size=1,
    ),
    parts=st.lists(
        st.binary(max_size=300)
        | st.binary(min_size=216, max_size=216)
        | st.sampled_from(GOOD[1:]),
        max_size=5,
    ),
)
def test_no_parts_of_a_start_stop_the_engine(engine, sums, parts):
    receiver, socket = engine
    message = wire.Start(start_of(chip().typical), SENDER, MARK, sums)
    socket.send_multipart([wire.encode(message), *parts])
    assert answer(socket).reason in ("parts", "nbytes", "maps")
    assert receiver.next(1, 0.0) is None


def test_after_all_that_a_good_start_is_welcome(engine):
    receiver, socket = engine
    socket.send_multipart(GOOD)
    assert isinstance(answer(socket), wire.HelloOk)
    opened = receiver.next(1, 5.0)
    assert opened.start.calibration == chip()
    receiver.close_lost("the test is over")
    event = receiver.next(1, 5.0)
    assert event.end == StreamEnd(
        stream_id=opened.start.stream_id,
        last_seq=-1,
        sent=0,
        dropped=0,
        missing=0,
        status="lost",
        reason="the test is over",
    )
