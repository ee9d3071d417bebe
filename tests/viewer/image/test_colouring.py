"""From sums to a picture: what each mode shows, contrast, depth."""

from __future__ import annotations

import numpy as np
import pytest

from liveloc.stream.localizations import empty
from liveloc.viewer import DisplaySettings, Reconstruction
from liveloc.viewer.image.colouring import (
    automatic_depth_range,
    automatic_limit,
    occupied_pixels,
    picture,
    smoothed,
)
from liveloc.viewer.image.layers import Layers


def one_row(x_nm=250.0, y_nm=150.0):
    rows = empty(1)
    rows["x_nm"], rows["y_nm"], rows["x_sigma_nm"] = x_nm, y_nm, 10.0
    return rows


@pytest.fixture
def image():
    made = Reconstruction((8, 10), 100.0, super_pixel_nm=10.0)
    made.add(one_row())
    return made


def extent(made):
    """Give the RMS width of what is lit, in nm, along x."""
    light = made.rgb.sum(axis=2, dtype=np.float64).sum(axis=0)
    place = np.arange(light.size) * made.pixel_nm
    middle = (light * place).sum() / light.sum()
    return float(np.sqrt((light * (place - middle) ** 2).sum() / light.sum()))


LINEAR = {"gamma": 1.0, "intensity_map": "gray", "colour": "intensity"}


def test_a_bare_histogram_is_one_pixel_per_row(image):
    made = image.render(DisplaySettings(mode="histogram", **LINEAR))
    assert np.count_nonzero(made.rgb.any(axis=2)) == 1
    assert made.limit == 1.0 and made.unit == "localizations/pixel"


def test_fixed_is_as_wide_as_the_look_says(image):
    for width_nm in (15.0, 30.0):
        made = image.render(
            DisplaySettings(mode="fixed", width_nm=width_nm, limit=0.2, **LINEAR)
        )
        assert extent(made) == pytest.approx(width_nm, rel=0.1)


def test_sigma_of_a_histogram_is_what_smooth_says(image):
    """A histogram knows no sigmas; that this is no Gaussian of its own is said."""
    made = image.render(DisplaySettings(mode="sigma", smooth=2.0, limit=0.05, **LINEAR))
    assert extent(made) == pytest.approx(20.0, rel=0.1)


def test_a_mode_brings_its_own_width_unless_somebody_chose_one():
    density = DisplaySettings().in_mode("density")
    assert (density.mode, density.width_nm) == ("density", 100.0)
    assert density.in_mode("sigma") == DisplaySettings()
    chosen = DisplaySettings(mode="fixed", width_nm=22.0)
    assert chosen.in_mode("density").width_nm == 22.0


def test_density_is_in_localizations_per_um2(image):
    look = DisplaySettings(mode="density", width_nm=50.0, percentile=100.0, **LINEAR)
    made = image.render(look)
    peak_per_um2 = 1e6 / (2 * np.pi * 50.0**2)
    assert made.unit == "localizations/um2"
    assert made.limit == pytest.approx(peak_per_um2, rel=0.02)


def test_layers_drawn_from_rows_are_shown_as_they_are():
    counts = np.zeros((20, 20), np.float32)
    counts[10, 5] = 2.0
    for mode in ("sigma", "fixed", "density"):
        layers = Layers(counts, None, None, 10.0, mode)
        made = picture(layers, DisplaySettings(mode=mode, limit=2.0, **LINEAR))
        assert np.argwhere(made.rgb.any(axis=2)).tolist() == [[10, 5]]
        assert made.limit == 2.0


def test_every_mode_puts_a_row_into_the_same_place(image):
    for mode in ("histogram", "fixed", "sigma", "density"):
        made = image.render(DisplaySettings(mode=mode, limit=0.01, **LINEAR))
        light = made.rgb.sum(axis=2, dtype=np.float64)
        rows, columns = np.indices(light.shape)
        # The row is at the left edge of super-pixel 30, the top edge of 20.
        assert (light * columns).sum() / light.sum() == pytest.approx(30, abs=0.01)
        assert (light * rows).sum() / light.sum() == pytest.approx(20, abs=0.01)


def test_the_contrast_follows_the_structure_and_not_the_empty_field():
    counts = np.zeros((200, 200), np.float32)
    counts[50, 20:180] = 4.0
    drawn = smoothed(counts, 2.0)
    wide = np.zeros((600, 600), np.float32)
    wide[:200, :200] = drawn
    narrow_limit = automatic_limit(drawn, drawn, 97.5, drawn=True)
    wide_limit = automatic_limit(wide, wide, 97.5, drawn=True)
    assert wide_limit == pytest.approx(narrow_limit, rel=0.1)
    assert narrow_limit == pytest.approx(drawn.max(), rel=0.1)


def test_a_bead_does_not_hide_the_structure():
    counts = np.zeros((200, 200), np.float32)
    counts[50, 20:180] = 4.0
    counts[150, 100] = 2000.0
    drawn = smoothed(counts, 2.0)
    line = drawn[50, 100]
    assert occupied_pixels(drawn)[50, 100]
    assert automatic_limit(drawn, drawn, 90.0, drawn=True) < 3 * line


def test_an_empty_picture_has_a_limit():
    nothing = np.zeros((5, 5), np.float32)
    assert automatic_limit(nothing, nothing, 97.5) == 1.0
    assert automatic_limit(nothing, nothing, 97.5, drawn=True) == 1.0
    assert not occupied_pixels(nothing).any()


def test_the_range_of_z_comes_from_where_the_rows_are():
    """Rims of Gaussians reach far; their mean z says nothing."""
    counts = np.zeros((60, 60), np.float32)
    depths = np.zeros((60, 60), np.float32)
    counts[10, 10:50], depths[10, 10:50] = 1.0, np.linspace(-180, 180, 40)
    counts[40, 10], depths[40, 10] = 1e-4, 0.5  # a depth of 5000 nm, of next to none
    layers = Layers(counts, depths, counts, 10.0, "sigma")
    assert automatic_depth_range(layers) == (-200.0, 200.0)
