import numpy as np
import pytest

from liveloc.model.backend import OnnxBackend
from liveloc.model.bundle import load_bundle
from liveloc.model.density import ExpectedEmitters, cells_within
from liveloc.model.density_blocks import DensityBlocks
from liveloc.model.emitters import Geometry
from liveloc.model.localizer import Localized, Localizer
from liveloc.model.physics.camera import NumpyNoise, expose
from liveloc.model.physics.psf import AstigmaticPSF
from liveloc.stream.calibration import CameraCalibration
from liveloc.stream.errors import SettingsError
from liveloc.stream.localizations import empty

GEOMETRY = Geometry(shape=(30, 37), pixel_size_nm=100, roi_origin=(100, 50))
STREAM = b"0123456789abcdef"
PSF = AstigmaticPSF.symmetric(sigma0_px=1.15, separation_nm=200, depth_nm=350)
CAMERA = CameraCalibration(offset_adu=100, e_per_adu=0.5)


def blank(frames=1, geometry=GEOMETRY):
    rows, columns = geometry.grid.cells(geometry.shape)
    return np.zeros((frames, rows, columns), np.float32)


def test_padding_counts_for_nothing():
    inside = cells_within(GEOMETRY, None)
    assert inside.shape == (16, 20)
    assert inside[:15, :18].all()
    assert not inside[15:].any() and not inside[:, 19:].any()


def test_a_region_is_cut_out_on_the_chip():
    inside = cells_within(GEOMETRY, (110, 60, 8, 4))
    assert np.argwhere(inside).tolist() == [
        [row, column] for row in (5, 6) for column in (5, 6, 7, 8)
    ]
    area = ExpectedEmitters(GEOMETRY, (110, 60, 8, 4)).area_um2
    assert area == pytest.approx(0.8 * 0.4)


def test_a_region_beside_the_frame_is_refused():
    with pytest.raises(SettingsError, match=r"region.*outside the frame"):
        ExpectedEmitters(GEOMETRY, (0, 0, 20, 20))


def test_probabilities_are_summed_with_their_variance():
    p = blank(2)
    p[0, 3, 4], p[0, 7, 7], p[1, 0, 0] = 0.5, 0.9, 1.0
    p[0, 15, 19] = 1.0  # in the padding
    answer = ExpectedEmitters(GEOMETRY).of(p)
    assert answer[:, 0] == pytest.approx([1.4, 1.0])
    assert answer[:, 1] == pytest.approx([0.25 + 0.09, 0.0], abs=1e-6)


def test_what_never_blinks_is_left_out_with_its_area():
    p = blank(300)
    p[:, 5, 5] = 0.99
    meter = ExpectedEmitters(GEOMETRY)
    answer = meter.of(p)
    assert answer[0, 0] == pytest.approx(0.99)
    assert answer[60:, 0].max() == 0.0
    assert answer[-1, 2] == pytest.approx(answer[0, 2] - 9 * 0.04)
    gone = meter.of(blank(100))  # it went away: its place counts again
    assert gone[-1, 2] == pytest.approx(answer[0, 2])


def test_emitters_that_blink_are_never_left_out():
    rng = np.random.default_rng(1)
    p = blank(2000)
    for cell in np.ndindex(10, 10):  # 20 frames on, 20 off, on average
        at, lit = 0, False
        while at < len(p):
            lasts = 1 + int(rng.exponential(20))
            p[(slice(at, at + lasts), *cell)] = 0.95 * lit
            at, lit = at + lasts, not lit
    answer = ExpectedEmitters(GEOMETRY).of(p)
    assert answer[:, 0].sum() == pytest.approx(p.sum(), rel=0.01)


def localized(frames, per_frame, sigma=0.0):
    table = empty(2 * len(frames))
    table["x_sigma_nm"], table["y_sigma_nm"] = 3.0, 4.0
    expected = np.tile([per_frame, sigma**2, 10.0], (len(frames), 1))
    return Localized(np.array(frames), table, expected)


def test_blocks_close_when_enough_frames_are_there():
    blocks = DensityBlocks(STREAM, block_frames=5)
    assert blocks.add(localized([0, 1, 2], 5.0), lambda seq: 10 * seq) is None
    block = blocks.add(localized([3, 6, 7], 8.0, sigma=2.0), lambda seq: 10 * seq)
    assert (block.first_seq, block.last_seq, block.frames) == (0, 7, 6)
    assert block.t_ns == 70
    assert block.per_um2 == pytest.approx(0.65)
    assert block.sigma_per_um2 == pytest.approx(12**0.5 / 60)
    assert block.area_um2 == pytest.approx(10.0)
    assert block.precision_nm == pytest.approx(12.5**0.5)
    assert blocks.add(localized([8], 5.0), lambda seq: seq) is None
    assert blocks.mean_per_um2 == pytest.approx(0.65)


def test_the_response_of_the_network_is_taken_back():
    response = ((0.5, 0.6), (1.0, 1.4))
    blocks = DensityBlocks(STREAM, response, block_frames=1)
    for expected, true in ((2.5, 0.3), (5.0, 0.6), (7.5, 1.0), (20.0, 3.0)):
        block = blocks.add(localized([1], expected, sigma=1.0), lambda seq: seq)
        assert block.per_um2 == pytest.approx(true)
    assert block.sigma_per_um2 == pytest.approx(1.6 / 10)


def movie(rng, density, frames, shape=(48, 48), fiducial=None):
    """Take frames of emitters that are on for one to a few frames, and their truth."""
    born = density * shape[0] * shape[1] * 0.01 / 4
    x, y, z, light = (np.empty(0) for _ in range(4))
    pictures, truth = [], []
    for _ in range(frames):
        stays = rng.random(len(x)) < 0.75
        n = rng.poisson(born)
        x, y, z, light = (
            np.append(values[stays], fresh)
            for values, fresh in (
                (x, rng.uniform(-0.5, shape[1] - 0.5, n)),
                (y, rng.uniform(-0.5, shape[0] - 0.5, n)),
                (z, rng.uniform(-350, 350, n)),
                (light, rng.normal(2500, 400, n)),
            )
        )
        spots = [values.astype(np.float32) for values in (x, y, z, light)]
        if fiducial:
            spots = [
                np.append(v, np.float32(f))
                for v, f in zip(spots, fiducial, strict=True)
            ]
        mean = PSF.render(*spots, shape) + 10
        pictures.append(expose(mean, CAMERA, NumpyNoise(rng)).astype(np.uint16))
        truth.append(len(x))
    return pictures, np.array(truth[20:])


@pytest.fixture(scope="module")
def network():
    bundle = load_bundle("simulated-microscope")
    return bundle, OnnxBackend(bundle, threads=1)


def density_of(network, pictures):
    bundle, backend = network
    shape = pictures[0].shape
    stream = Localizer.of(bundle, backend, CAMERA, shape=shape, pixel_size_nm=100)
    blocks = DensityBlocks(STREAM, bundle.spec.density_response, block_frames=1)
    given = []
    for seq, picture in enumerate(pictures):
        block = blocks.add(stream.feed([seq], [picture]), lambda seq: seq)
        given += [block] if block else []
    return given[20:]


@pytest.mark.parametrize("density", [0.2, 1.0])
def test_the_density_is_that_of_the_sample(network, density):
    pictures, truth = movie(np.random.default_rng(3), density, 80)
    given = [block.per_um2 for block in density_of(network, pictures)]
    true = truth[: len(given)].mean() / 4.8**2
    assert np.mean(given) == pytest.approx(true, rel=0.08)


@pytest.mark.parametrize("photons", [2500, 40_000])
def test_a_fiducial_is_less_than_one_emitter(network, photons):
    fiducial = (24.2, 20.7, 50.0, photons)
    pictures, truth = movie(np.random.default_rng(3), 0.3, 180, fiducial=fiducial)
    given = density_of(network, pictures)
    numbers = np.array([block.per_um2 * block.area_um2 for block in given])
    assert abs((numbers - truth[: len(numbers)])[60:].mean()) < 1
