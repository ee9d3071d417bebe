import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from liveloc.model.backend import OnnxBackend
from liveloc.model.bundle import load_bundle
from liveloc.model.localizer import Localizer
from liveloc.model.physics.camera import NumpyNoise, expose
from liveloc.model.physics.psf import AstigmaticPSF
from liveloc.stream.calibration import CameraCalibration
from liveloc.stream.localizations import Flag

SHAPE = (30, 37)  # not a multiple of anything: frames are padded
CALIBRATION = CameraCalibration(offset_adu=100, e_per_adu=0.5)
PSF = AstigmaticPSF.symmetric(sigma0_px=1.15, separation_nm=200, depth_nm=350)


@pytest.fixture(scope="module")
def backend():
    return OnnxBackend(load_bundle("simulated-microscope"), threads=1)


@pytest.fixture(scope="module")
def movie():
    """Twenty frames of emitters that stay on for a few frames each."""
    rng = np.random.default_rng(7)
    frames = []
    x, y, z = rng.uniform(3, 27, (3, 6)).astype(np.float32)
    for k in range(20):
        if k % 4 == 0:
            x, y = rng.uniform(3, 27, (2, 6)).astype(np.float32)
            z = rng.uniform(-300, 300, 6).astype(np.float32)
        photons = np.full(6, 2500, np.float32)
        mean = 10 + PSF.render(x, y, z, photons, SHAPE)
        frames.append(expose(mean, CALIBRATION, NumpyNoise(rng)).astype(np.uint16))
    return frames


def localizer(backend, *, refine=False):
    bundle = load_bundle("simulated-microscope", refine=refine)
    return Localizer.of(bundle, backend, CALIBRATION, shape=SHAPE, pixel_size_nm=100)


def run(backend, movie, seqs, chunks, *, refine=False):
    """Localize frames `seqs` of the movie in chunks of the given sizes."""
    stream, parts, frames, at = localizer(backend, refine=refine), [], [], 0
    for size in [*chunks, len(seqs)]:
        chunk = seqs[at : at + size]
        at += size
        parts.append(
            stream.feed(chunk, [movie[seq] for seq in chunk]) if chunk else None
        )
    parts.append(stream.finish())
    done = [part for part in parts if part is not None]
    for part in done:
        frames += part.frames.tolist()
    return frames, np.concatenate([part.localizations for part in done])


@settings(max_examples=12, deadline=None)
@given(
    seqs=st.lists(st.integers(0, 19), unique=True, min_size=1).map(sorted),
    chunks=st.lists(st.integers(0, 6), max_size=8),
)
def test_streaming_equals_batch_for_any_chunking_and_gaps(backend, movie, seqs, chunks):
    for refine in (False, True):
        frames, batch = run(backend, movie, seqs, [len(seqs)], refine=refine)
        again, streamed = run(backend, movie, seqs, chunks, refine=refine)
        assert frames == again == seqs
        assert batch.tobytes() == streamed.tobytes()


def test_every_frame_appears_once_and_the_newest_waits(backend, movie):
    stream = localizer(backend)
    assert stream.feed([0], movie[:1]).frames.tolist() == []
    assert stream.feed([1, 2], movie[1:3]).frames.tolist() == [0, 1]
    assert stream.finish().frames.tolist() == [2]
    assert stream.finish().frames.tolist() == []


def test_flags_mark_edges_and_gaps(backend, movie):
    _, table = run(backend, movie, [3, 4, 6, 7], [4])
    flags = {
        frame: set(table["flags"][table["frame"] == frame]) for frame in (3, 4, 6, 7)
    }
    assert flags[3] == flags[6] == {Flag.NO_PREVIOUS}
    assert flags[4] == flags[7] == {Flag.NO_NEXT}


def test_a_lost_neighbour_is_replaced_by_the_centre_frame(backend, movie):
    _, gap = run(backend, movie, [3, 5], [2])
    stood_in = localizer(backend)
    copies = stood_in.feed([2, 3, 4], [movie[3]] * 3)
    centre = copies.localizations[copies.localizations["frame"] == 3]
    lone = gap[gap["frame"] == 3]
    assert np.array_equal(centre["x_nm"], lone["x_nm"])
    assert not np.array_equal(
        run(backend, movie, [3, 4], [2])[1]["x_nm"][: len(lone)], lone["x_nm"]
    )


def test_a_frame_without_a_finite_answer_is_named_and_left_out(backend, movie):
    class Broken:
        name = "broken"

        def features(self, photons, read_variance=None):
            return backend.features(photons, read_variance)

        def maps(self, windows):
            maps = backend.maps(windows)
            maps[1] = np.nan
            return maps

    result = localizer(Broken()).feed([0, 1, 2, 3], movie[:4])
    assert result.failed == (1,)
    assert result.frames.tolist() == [0, 2]
    assert np.isfinite(result.localizations["x_nm"]).all()


def test_the_number_of_threads_does_not_change_a_bit(movie):
    bundle = load_bundle("simulated-microscope")
    tables = [
        run(OnnxBackend(bundle, threads=threads), movie, list(range(8)), [8])[1]
        for threads in (1, 2)
    ]
    assert tables[0].tobytes() == tables[1].tobytes()


@pytest.mark.parametrize("frame", [0, 65535])
def test_constant_frames_give_finite_rows(backend, frame):
    pixels = [np.full(SHAPE, frame, np.uint16)] * 4
    result = localizer(backend).feed([0, 1, 2, 3], pixels)
    for name in result.localizations.dtype.names:
        assert np.isfinite(result.localizations[name]).all()
