import os
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tifffile

from liveloc.stream.calibration import CameraCalibration
from liveloc.stream.errors import SettingsError, SourceError
from liveloc.stream.frames import Frame, FrameHeader, StreamEnd, StreamStart
from liveloc.stream.movies.replay import ReplaySource
from liveloc.stream.recording.segments import HEADER_BYTES, SegmentWriter

MOVIE = np.random.default_rng(3).poisson(150, (12, 16, 20)).astype(np.uint16)
START = StreamStart(
    stream_id=bytes(range(16)),
    shape=(16, 20),
    dtype="u2",
    pixel_size_nm=123,
    calibration=CameraCalibration(e_per_adu=0.5),
    exposure_ms=9,
    interval_ms=10,
    roi_origin=(5, 6),
    policy="drop_block",
    metadata={"dye": "AF647"},
)
END = StreamEnd(
    stream_id=START.stream_id, last_seq=16, sent=12, dropped=0, missing=6, status="ok"
)


@pytest.fixture
def movie(tmp_path):
    path = tmp_path / "m.tif"
    tifffile.imwrite(path, MOVIE)
    return path


def test_a_folder_of_images_is_replayed_as_one_movie(tmp_path):
    for index, image in enumerate(MOVIE):
        tifffile.imwrite(tmp_path / f"img_{index:09d}.tif", image)
    with ReplaySource(tmp_path, pixel_size_nm=100) as source:
        frames = list(source.frames())
    assert np.array_equal([frame.pixels for frame in frames], MOVIE)


def lossy(index):
    """Frames 5, 6, 7 never came out of the camera."""
    missing = 3 * (index >= 5)
    header = FrameHeader(
        seq=index + missing,
        camera_frame=index + missing + 1,
        t_ns=10**9 + index * 5_000_000,
        missing_total=missing,
        laser_seq=index // 2,
    )
    return Frame(header, MOVIE[index])


def record(folder, end=END):
    with SegmentWriter(folder, START) as writer:
        for index in range(12):
            writer.append(lossy(index))
        writer.close(end)
    return folder


def test_a_movie_becomes_a_stream(movie):
    with ReplaySource(movie, speed=None, pixel_size_nm=100, interval_ms=20) as source:
        start = source.start
        frames = list(source.frames())
        assert source.missing == 0
    assert (start.shape, start.dtype, start.policy) == ((16, 20), "u2", "block")
    assert (start.pixel_size_nm, start.interval_ms) == (100, 20)
    assert start.expected_frames == 12
    assert start.calibration.estimated
    assert [f.header.seq for f in frames] == list(range(12))
    assert [f.header.t_ns for f in frames] == [n * 20_000_000 for n in range(12)]
    assert all((f.pixels == MOVIE[i]).all() for i, f in enumerate(frames))


def test_start_is_the_same_each_time_and_differs_for_another_movie(movie, tmp_path):
    def start_of(path, **options):
        with ReplaySource(path, pixel_size_nm=100, **options) as source:
            return source.start

    assert start_of(movie) == start_of(movie, speed=None)
    tifffile.imwrite(tmp_path / "copy.tif", MOVIE, compression="zlib")
    assert start_of(tmp_path / "copy.tif").stream_id == start_of(movie).stream_id
    changed = MOVIE.copy()
    changed[0, 3, 3] += 1
    others = {"changed": changed, "shorter": MOVIE[:-1], "bytes": MOVIE.astype("u1")}
    ids = {start_of(movie).stream_id, start_of(movie, count=5).stream_id}
    for name, frames in others.items():
        tifffile.imwrite(tmp_path / f"{name}.tif", frames)
        ids.add(start_of(tmp_path / f"{name}.tif").stream_id)
    assert len(ids) == 5


def test_an_unknown_interval_is_assumed_and_said(movie):
    with ReplaySource(movie, pixel_size_nm=100) as source:
        assert source.start.interval_ms == 10
        assert source.start.metadata["assumed"] == "interval_ms"


def test_a_given_calibration_is_taken(movie):
    mine = CameraCalibration(e_per_adu=3)
    with ReplaySource(movie, pixel_size_nm=100, calibration=mine) as source:
        assert source.start.calibration == mine


def test_a_movie_without_pixel_size_needs_one(movie):
    with pytest.raises(SettingsError, match=r"m\.tif: does not say its pixel size"):
        ReplaySource(movie)


@pytest.mark.parametrize(
    "options, complaint",
    [
        ({"speed": 0}, "speed is 0"),
        ({"speed": -1.0}, "speed is -1"),
        ({"interval_ms": float("inf")}, "interval_ms is inf"),
        ({"pixel_size_nm": float("nan")}, "pixel_size_nm is nan"),
        ({"first": 12}, "has 12 frames; frames 12 to 11"),
        ({"first": -1}, "frames -1 to 11"),
        ({"first": 3, "count": 10}, "frames 3 to 12"),
        ({"count": 0}, "frames 0 to -1"),
    ],
)
def test_settings_that_make_no_sense_are_refused(movie, options, complaint):
    with pytest.raises(SettingsError, match=complaint):
        ReplaySource(movie, **{"pixel_size_nm": 100} | options)


def test_a_part_of_a_movie_is_a_stream_from_zero(movie):
    with ReplaySource(movie, speed=None, pixel_size_nm=100, first=4, count=3) as source:
        frames = list(source.frames())
        assert source.start.expected_frames == 3
        assert source.start.metadata["part"] == "4:7"
    assert [f.header.seq for f in frames] == [0, 1, 2]
    assert [f.header.camera_frame for f in frames] == [4, 5, 6]
    assert all((f.pixels == MOVIE[i + 4]).all() for i, f in enumerate(frames))


def test_a_recording_keeps_numbers_times_losses_and_identity(tmp_path):
    folder = record(tmp_path / "stream")
    with ReplaySource(tmp_path, speed=None) as source:
        assert source.start == replace(START, policy="block")
        frames = list(source.frames())
        assert source.missing == 6  # three of them after the last frame
    assert [f.header for f in frames] == [lossy(i).header for i in range(12)]
    assert all((f.pixels == MOVIE[i]).all() for i, f in enumerate(frames))
    with ReplaySource(folder, pixel_size_nm=99, interval_ms=7) as source:
        assert (source.start.pixel_size_nm, source.start.interval_ms) == (99, 7)


def test_a_part_of_a_recording_balances_by_itself(tmp_path):
    record(tmp_path)
    with ReplaySource(tmp_path, speed=None, first=3, count=5) as source:
        assert source.start.stream_id != START.stream_id
        headers = [f.header for f in source.frames()]
        assert source.missing == 3
    assert [h.seq for h in headers] == [0, 1, 5, 6, 7]
    assert [h.missing_total for h in headers] == [0, 0, 3, 3, 3]
    assert headers[-1].seq + 1 == len(headers) + headers[-1].missing_total


def test_an_interrupted_recording_replays_what_is_there(tmp_path, caplog):
    record(tmp_path, end=None)
    cut_tail(tmp_path, 10)
    with ReplaySource(tmp_path, speed=None) as source:
        assert len(list(source.frames())) == 11
    assert "was interrupted: 11 good frames up to byte" in caplog.text


def test_a_damaged_recording_is_an_error_after_its_good_frames(tmp_path):
    record(tmp_path)
    cut_tail(tmp_path, 10)
    got = []
    with ReplaySource(tmp_path, speed=None) as source:
        with pytest.raises(
            SourceError, match=r"is damaged\. 11 good frames up to byte"
        ):
            got.extend(frame.header.seq for frame in source.frames())
    assert got == [lossy(i).header.seq for i in range(11)]


def test_damage_in_an_interrupted_recording_is_told_from_its_torn_end(tmp_path):
    record(tmp_path, end=None)
    path = tmp_path / "seg-000000.bin"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with ReplaySource(tmp_path, speed=None) as source:
        with pytest.raises(SourceError, match=r"is damaged\. 6 good frames up to byte"):
            list(source.frames())


def cut_tail(folder, nbytes):
    path = folder / "seg-000000.bin"
    assert path.stat().st_size == 12 * (HEADER_BYTES + START.frame_nbytes)
    path.write_bytes(path.read_bytes()[:-nbytes])


@pytest.mark.parametrize("speed", [1.0, 0.5, 4.0])
def test_no_frame_comes_before_its_recorded_time(tmp_path, speed):
    record(tmp_path)
    with ReplaySource(tmp_path, speed=speed) as source:
        began_ns = time.monotonic_ns()
        times = [(f.header.t_ns, time.monotonic_ns()) for f in source.frames()]
    assert len(times) == 12
    for t_ns, came_ns in times:
        assert came_ns - began_ns >= (t_ns - times[0][0]) / speed


class Clock:
    """Time that passes only while it is waited for, and with each frame taken."""

    def __init__(self):
        self.ns = 0

    def monotonic_ns(self):
        return self.ns

    def wait(self, seconds):
        self.ns += round(seconds * 1e9)

    def is_set(self):
        return False


@pytest.mark.parametrize("speed", [1.0, 0.5, 4.0])
@pytest.mark.parametrize("taking_ns", [0, 300_000])
def test_the_recorded_pace_is_kept(tmp_path, monkeypatch, speed, taking_ns):
    """Also when each frame takes a while: delays do not add up."""
    clock = Clock()
    monkeypatch.setattr("liveloc.stream.movies.replay.time", clock)
    record(tmp_path)
    with ReplaySource(tmp_path, speed=speed) as source:
        source._stop = clock
        recorded, came = [], []
        for frame in source.frames():
            recorded.append(frame.header.t_ns)
            came.append(clock.ns)
            clock.ns += taking_ns
    wanted = [round((t_ns - recorded[0]) / speed) for t_ns in recorded]
    assert came == pytest.approx(wanted, abs=1)  # nanosecond, from rounding


def test_stop_ends_a_slow_replay_at_once(movie):
    with ReplaySource(movie, pixel_size_nm=100, interval_ms=60_000) as source:
        threading.Timer(0.1, source.stop).start()
        began = time.monotonic()
        assert len(list(source.frames())) == 1
        assert time.monotonic() - began < 30  # the next one is due after 60
        source.close()
        source.close()


@pytest.mark.data
def test_real_data_replays_with_a_sensible_guess_of_the_camera():
    root = Path(__file__).resolve().parents[4] / "shared" / "data"
    path = Path(os.environ.get("LIVELOC_DATA", root)) / "smlm2013_tubulins_ld"
    if not path.exists():
        pytest.skip(f"{path} is missing; set LIVELOC_DATA")
    with ReplaySource(path / "frames.tif", speed=None, pixel_size_nm=150) as source:
        assert source.start.calibration.estimated
        assert np.isfinite(source.start.calibration.photons_per_adu)
        assert sum(1 for _ in source.frames()) == 41
