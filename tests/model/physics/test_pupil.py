"""Diffraction: what is known in closed form, symmetries, and gradients."""

import math

import numpy as np
import pytest
from scipy.special import j1
from typer.testing import CliRunner

from liveloc.__main__ import app
from liveloc.model.physics.psf_file import load_psf
from liveloc.model.physics.pupil import Optics, Pupil, optical_psf, zernike
from liveloc.stream.errors import SettingsError

OIL = {"pixel_size_nm": 110, "wavelength_nm": 670, "na": 1.45, "immersion_index": 1.518}


def optics(**changes):
    facts = OIL | {"sample_index": 1.33, "z_range_nm": (0, 1000), "window_px": 31}
    return Optics(**(facts | changes))


def image(given, z_nm=0.0, x_nm=0.0, y_nm=0.0, width=31):
    """Give the image of one emitter, its place given from the middle pixel."""
    pupil = Pupil.of(given, [(n, m) for n, m, _ in given.zernike_nm])
    strengths = np.array([nm for _, _, nm in given.zernike_nm], float)
    pixels = (np.arange(width) - width // 2) * given.pixel_size_nm
    places = (np.array([v]) for v in (x_nm, y_nm, z_nm))
    focus, size = given.focus_nm, given.pixel_size_nm
    return pupil.images(*places, strengths, focus, (pixels, pixels), size)[0]


def spread(spot):
    """Give the standard deviations along x and y, px."""
    at = np.arange(len(spot)) - len(spot) // 2
    total = spot.sum()
    return [math.sqrt((spot * d**2).sum() / total) for d in (at, at[:, None])]


def test_small_apertures_give_the_airy_disk():
    air = optics(na=0.2, immersion_index=1.0, sample_index=1.0, window_px=61)
    spot = image(air, width=61)
    at = (np.arange(61) - 30) * 110.0
    v = 2 * np.pi * 0.2 / 670 * np.hypot(at, at[:, None]) + 1e-9
    airy = (2 * j1(v) / v) ** 2 * np.pi * (0.2 / 670) ** 2 * 110**2
    np.testing.assert_allclose(spot, airy, atol=0.01 * airy.max())


def test_all_light_is_somewhere():
    wide = optics(window_px=121)
    assert image(wide, 0.0, width=121).sum() == pytest.approx(1, abs=0.02)


def test_zernike_polynomials_are_orthonormal():
    x, y = np.meshgrid(*[np.linspace(-1, 1, 401)] * 2)
    inside = np.hypot(x, y) <= 1
    modes = [(0, 0), (1, 1), (2, -2), (2, 0), (3, 1), (4, 2), (6, -6)]
    radius, angle = np.hypot(x, y), np.arctan2(y, x)
    rows = np.stack([zernike(n, m, radius, angle)[inside] for n, m in modes])
    np.testing.assert_allclose(rows @ rows.T / inside.sum(), np.eye(7), atol=0.02)


def test_without_a_mismatch_only_the_distance_from_focus_counts():
    same = {"sample_index": 1.518}
    near = image(optics(**same), 400.0)
    far = image(optics(**same, focus_nm=1000.0), 1400.0)
    np.testing.assert_allclose(near, far, atol=1e-9)


def test_oil_immersion_focuses_less_deep_in_water_than_it_was_moved():
    depths = np.arange(600, 1700, 50.0)
    peaks = [image(optics(focus_nm=1500.0), z).max() for z in depths]
    assert 900 < depths[np.argmax(peaks)] < 1400


def test_positive_astigmatism_is_long_along_x_below_focus_and_along_y_above():
    astigmatic = optics(na=1.2, sample_index=1.518, zernike_nm=[(2, 2, 60.0)])
    x, y = spread(image(astigmatic, -400.0))
    assert x > 1.3 * y
    x, y = spread(image(astigmatic, 400.0))
    assert y > 1.3 * x


def test_images_move_with_the_emitter():
    still = image(optics(), 300.0)
    moved = image(optics(), 300.0, x_nm=2 * 110.0, y_nm=-3 * 110.0)
    np.testing.assert_allclose(moved[2:-5, 4:-2], still[5:-2, 2:-4], atol=1e-12)


def test_the_spline_is_the_diffraction_image_at_every_place():
    masked = optics(zernike_nm=[(2, 2, 80.0), (3, 1, 30.0)], z_step_nm=50)
    psf = optical_psf(masked)
    rng = np.random.default_rng(1)
    for _ in range(6):
        x, y = rng.uniform(-0.5, 0.5, 2)
        z = rng.uniform(0, 1000)
        exact = image(masked, z, x * 110, y * 110)
        places = (np.array([v]) for v in (15 + x, 15 + y, z))
        drawn = psf.render(*places, np.ones(1), (31, 31))
        inner = np.s_[2:-2, 2:-2]
        np.testing.assert_allclose(
            drawn[inner], exact[inner], atol=0.02 * exact.max(), rtol=0
        )


def test_blur_widens_the_image():
    sharp = optical_psf(optics(z_range_nm=(0, 200)))
    blurred = optical_psf(optics(z_range_nm=(0, 200), blur_px=1.0))
    one = np.array([15.0])
    spots = [
        psf.render(one, one, np.zeros(1), np.ones(1), (31, 31))
        for psf in (sharp, blurred)
    ]
    assert spots[1].max() < 0.6 * spots[0].max()
    assert spots[1].sum() == pytest.approx(spots[0].sum(), rel=0.02)


def test_tensors_give_the_same_images_and_their_gradients():
    torch = pytest.importorskip("torch")
    masked = optics(zernike_nm=[(2, 2, 50.0), (3, -1, -25.0)], window_px=9)
    pixels = (np.arange(9) - 4) * 110.0
    pupil = Pupil.of(masked, [(2, 2), (3, -1)])
    weights = np.random.default_rng(1).normal(size=(9, 9))

    def weighted(values):
        x, y, z, focus, *mask = (np.array([v]) for v in values)
        strengths, size = np.concatenate(mask), 110.0
        drawn = pupil.images(x, y, z, strengths, focus[0], (pixels, pixels), size)
        return (drawn[0] * weights).sum()

    at = np.array([20.0, -30.0, 400.0, 150.0, 50.0, -25.0])
    t = torch.tensor(at, requires_grad=True)
    size, tensors = 110.0, pupil.converted(torch.as_tensor)
    drawn = tensors.images(t[:1], t[1:2], t[2:3], t[4:], t[3], (pixels, pixels), size)
    total = (drawn[0] * torch.tensor(weights)).sum()
    total.backward()
    assert total.item() == pytest.approx(weighted(at), rel=1e-9)
    steps = np.eye(6)
    slopes = [(weighted(at + step) - weighted(at - step)) / 2 for step in steps]
    np.testing.assert_allclose(t.grad.numpy(), slopes, rtol=1e-2, atol=1e-6)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"na": 1.6}, "na is 1.6 in an immersion of index 1.518"),
        ({"z_range_nm": (500, 500)}, r"z_range_nm is \[500.0, 500.0\]"),
        ({"window_px": 30}, "window_px is 30: it must be odd"),
        ({"zernike_nm": [(2, 1, 10.0)]}, r"\(n, m\) = \(2, 1\)"),
    ],
)
def test_impossible_optics_say_what_is_wrong(change, says):
    with pytest.raises(ValueError, match=says):
        optics(**change)


def test_the_command_writes_a_psf_file_and_overwrites_none(tmp_path):
    description, out = tmp_path / "o.yaml", tmp_path / "o.psf.npz"
    description.write_text(
        "{pixel_size_nm: 110, wavelength_nm: 670, na: 1.2, immersion_index: 1.33,"
        "sample_index: 1.33, z_range_nm: [-300, 300], window_px: 15}"
    )
    command = ["calibrate", "optics", str(description), "--out", str(out)]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 0, result.output
    psf, metadata = load_psf(out)
    assert (psf.z_low_nm, psf.z_high_nm, psf.pixel_size_nm) == (-300, 300, 110)
    assert metadata["optics"]["na"] == 1.2
    again = CliRunner().invoke(app, command)
    assert isinstance(again.exception, SettingsError)
    description.write_text("{wavelenght_nm: 670}")
    command[-1] = str(tmp_path / "p.psf.npz")
    wrong = CliRunner().invoke(app, command)
    assert "wavelength_nm" in str(wrong.exception)
