"""PSFs of every kind: the same image in NumPy and torch, photons and place kept."""

import dataclasses
import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from liveloc.model.physics.psf import Defocus, DoubleHelixPSF, SplinePSF, spline_kernel
from liveloc.model.physics.psf_file import load_psf, psf_bytes, read_psf, save_psf
from liveloc.stream.errors import SettingsError


def spline(seed=1):
    """A smooth PSF of no symmetry, in focus at -20 nm."""
    rng = np.random.default_rng(seed)
    depth, rows, columns = np.indices((14, 16, 18)).astype(float)
    width = 1.5 + ((depth - 6) / 4) ** 2
    image = np.exp(-((rows - 8) ** 2 + (columns - 9 + 0.2 * depth) ** 2) / 2 / width)
    image = image / image.sum((1, 2), keepdims=True)
    return SplinePSF(
        coefficients=(image * rng.uniform(0.9, 1.1, image.shape)).astype(np.float32),
        z_first_nm=-320.0,
        z_step_nm=50.0,
        centre_px=(8.25, 7.5),
        z_low_nm=-250.0,
        z_high_nm=250.0,
        pixel_size_nm=100.0,
    )


def test_the_widths_follow_the_defocus_curve():
    axis = Defocus(sigma_px=1.4, focus_nm=-205, depth_nm=290, cubic=0.05, quartic=0.03)
    for z in (-400.0, -205.0, 0.0, 333.0):
        u = (z + 205) / 290
        expected = 1.4 * math.sqrt(1 + u**2 + 0.05 * u**3 + 0.03 * u**4)
        assert float(axis.width_px(np.array(z))) == pytest.approx(expected)


def test_a_width_that_no_curve_allows_stays_positive():
    axis = Defocus(sigma_px=1.0, focus_nm=0, depth_nm=100, cubic=-1.0)
    assert axis.width_px(np.linspace(-5000, 5000, 101)).min() > 0.2


def test_the_double_helix_turns_about_the_emitter():
    psf = DoubleHelixPSF(
        sigma_px=1.0, separation_px=6.0, angle=0.3, turn_per_nm=math.pi / 1200
    )
    rows, columns = np.mgrid[:33, :33]
    for z in (-500.0, 0.0, 400.0):
        one = [np.array([v]) for v in (16.2, 15.7, z, 1000.0)]
        image = psf.render(*one, (33, 33))
        assert image.sum() == pytest.approx(1000, rel=1e-3)
        x, y = (columns - 16.2), (rows - 15.7)
        assert abs((image * x).sum()) < 1 and abs((image * y).sum()) < 1
        cross = 2 * (image * x * y).sum()
        difference = (image * (x * x - y * y)).sum()
        turned = 0.5 * math.atan2(cross, difference)
        expected = 0.3 + math.pi / 1200 * z
        assert math.sin(turned - expected) == pytest.approx(0, abs=0.01)


def test_the_spline_is_its_definition():
    psf, (x, y, z) = spline(), (12.3, 10.8, 37.0)
    image = psf.render(*(np.array([v]) for v in (x, y, z, 1.0)), (24, 26))

    def b3(t):
        t = abs(t)
        return (4 - 6 * t**2 + 3 * t**3) / 6 if t < 1 else max(2 - t, 0) ** 3 / 6

    nz, ny, nx = psf.coefficients.shape
    for row, column in ((10, 12), (8, 15), (15, 9)):
        value = sum(
            float(psf.coefficients[k, j, i])
            * b3((z + 320) / 50 - k)
            * b3(row - y + 8.25 - j)
            * b3(column - x + 7.5 - i)
            for k in range(nz)
            for j in range(ny)
            for i in range(nx)
        )
        assert image[row, column] == pytest.approx(value, rel=1e-5)


@settings(max_examples=30)
@given(
    dx=st.integers(-5, 5),
    dy=st.integers(-5, 5),
    x=st.floats(10, 14),
    y=st.floats(10, 14),
    z=st.floats(-400, 400),
)
def test_a_whole_pixel_moves_the_image_by_a_pixel(dx, dy, x, y, z):
    psf, photons = spline(), np.array([1000.0])
    here = psf.render(np.array([x]), np.array([y]), np.array([z]), photons, (40, 40))
    there = psf.render(
        np.array([x + dx]), np.array([y + dy]), np.array([z]), photons, (40, 40)
    )
    moved = np.roll(here, (dy, dx), (0, 1))
    assert np.allclose(moved[8:30, 8:30], there[8:30, 8:30], atol=1e-3)


def test_depths_beyond_the_calibrated_ones_look_as_at_the_end():
    psf, z = spline(), np.array([250.0, 400.0, 5000.0])
    images = psf.images(z * 0 + 12, z * 0 + 12, z, (24, 24))
    assert np.array_equal(images[0], images[1])
    assert np.array_equal(images[0], images[2])


def test_one_set_of_positions_serves_several_frames():
    rng = np.random.default_rng(2)
    x, y, z = rng.uniform(5, 20, (3, 2, 1, 4))
    photons = rng.uniform(0, 100, (2, 3, 4))
    together = spline().render(x, y, z, photons, (24, 24))
    assert together.shape == (2, 3, 24, 24)
    alone = spline().render(x[1, 0], y[1, 0], z[1, 0], photons[1, 2], (24, 24))
    assert np.allclose(together[1, 2], alone, atol=1e-9)


@pytest.mark.parametrize(
    "psf",
    [
        spline(),
        DoubleHelixPSF(sigma_px=1.0, separation_px=6.0, angle=0.3, turn_per_nm=0.003),
    ],
)
def test_torch_and_numpy_agree(psf):
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(4)
    values = [rng.uniform(8, 16, (2, 1, 5)) for _ in range(3)]
    values.append(rng.uniform(100, 900, (2, 3, 5)))
    values = [v.astype(np.float32) for v in values]
    expected = psf.render(*values, (24, 24))
    if isinstance(psf, SplinePSF):
        knots = torch.tensor(psf.coefficients)
        psf = dataclasses.replace(psf, coefficients=knots)
    image = psf.render(*map(torch.as_tensor, values), (24, 24))
    assert np.allclose(image.numpy(), expected, atol=1e-2)


def test_the_kernel_sums_to_one_everywhere():
    t = np.linspace(0, 1, 11)[:, None] - np.arange(-3, 5)
    assert np.allclose(spline_kernel(t).sum(1), 1)


def test_a_psf_file_gives_back_what_was_written(tmp_path):
    path, psf = tmp_path / "beads.psf.npz", spline()
    save_psf(path, psf, {"beads": 6, "wobble": {"z_nm": [0.0]}})
    again, metadata = load_psf(path)
    assert metadata == {"beads": 6, "wobble": {"z_nm": [0.0]}}
    assert np.array_equal(again.coefficients, psf.coefficients)
    for field in dataclasses.fields(psf)[1:]:
        assert getattr(again, field.name) == getattr(psf, field.name)
    assert [p.name for p in tmp_path.iterdir()] == ["beads.psf.npz"]


def with_header(**changes):
    import io

    psf = spline()
    with np.load(io.BytesIO(psf_bytes(psf, {}))) as arrays:
        header = json.loads(arrays["header"].tobytes()) | changes
    file = io.BytesIO()
    np.savez(
        file,
        header=np.frombuffer(json.dumps(header).encode(), np.uint8),
        coefficients=psf.coefficients,
    )
    return file.getvalue()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not a PSF file"),
        (b"PK\x03\x04 and no more", "not a PSF file"),
        (psf_bytes(spline(), {})[:-40], "not a PSF file"),
        (with_header(version=99), "version 99, this liveloc reads 1"),
        (with_header(z_step_nm=0.0), "are not those of a PSF"),
        (with_header(z_low_nm=math.nan), "are not those of a PSF"),
        (with_header(centre_px=[1.0]), "not a PSF file"),
    ],
)
def test_what_is_no_psf_file_is_refused(content, message):
    with pytest.raises(SettingsError, match=f"mine: .*{message}"):
        read_psf(content, "mine")


def test_a_file_with_a_pickle_in_it_is_refused(tmp_path):
    import io

    file = io.BytesIO()
    np.savez(file, header=np.array([{"format": 1}], object), coefficients=np.ones(3))
    with pytest.raises(SettingsError, match="not a PSF file"):
        read_psf(file.getvalue(), "mine")
