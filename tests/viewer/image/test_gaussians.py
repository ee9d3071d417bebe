"""Gaussians integrated over pixels: against a direct sum in float64."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import ndtr

from liveloc.viewer.image.gaussians import REACH, splat
from liveloc.viewer.image.viewport import Viewport


def viewport(shape, *, left_nm=0.0, top_nm=0.0, pixel_nm=1.0):
    return Viewport(left_nm=left_nm, top_nm=top_nm, pixel_nm=pixel_nm, shape=shape)


def direct_profile(centre, sigma, left, pixel, count):
    """Integrate truncated, normalised Gaussians over pixels; shape (rows, count)."""
    edges = left + pixel * np.arange(count + 1)
    place = np.clip((edges - centre[:, None]) / sigma[:, None], -REACH, REACH)
    return np.diff(ndtr(place), axis=1) / (ndtr(REACH) - ndtr(-REACH))


def direct(view, x, y, x_sigma, y_sigma, weight=None):
    across = direct_profile(x, x_sigma, view.left_nm, view.pixel_nm, view.shape[1])
    down = direct_profile(y, y_sigma, view.top_nm, view.pixel_nm, view.shape[0])
    weight = np.ones(len(x)) if weight is None else weight
    return np.einsum("n,nr,nc->rc", weight, down, across, optimize=True)


def some_rows(seed, count, shape, low=0.1, high=8.0, beyond=10.0):
    random = np.random.default_rng(seed)
    return (
        random.uniform(-beyond, shape[1] + beyond, count),
        random.uniform(-beyond, shape[0] + beyond, count),
        random.uniform(low, high, count),
        random.uniform(low, high, count),
    )


@given(
    seed=st.integers(0, 2**32 - 1),
    count=st.integers(1, 60),
    shape=st.tuples(st.integers(1, 90), st.integers(1, 90)),
)
@settings(max_examples=60, deadline=None)
def test_the_picture_is_the_direct_sum(seed, count, shape):
    rows = some_rows(seed, count, shape)
    view = viewport(shape)
    (drawn,) = splat(view, *rows)
    wanted = direct(view, *rows)
    assert np.abs(drawn - wanted).max() < 1e-6 * max(1.0, wanted.max())
    assert drawn.sum(dtype=np.float64) == pytest.approx(
        wanted.sum(), rel=1e-4, abs=1e-6
    )


def test_many_rows_of_every_width_are_the_direct_sum():
    """So many that tiles, portions and groups of widths are all cut.

    Of the maximum, profiles in float32 are good to 5e-7, and the roundings of sums of
    128 add sqrt(128) * 2**-24 = 7e-7 as a rule, whatever the order.
    """
    shape = (150, 170)
    x, y, x_sigma, y_sigma = some_rows(5, 30_000, shape)
    x_sigma[:12_000] = y_sigma[:12_000] = 0.7
    x[:6000], y[:6000] = 40.2, 50.7  # more in one tile than fit into one product
    z = np.random.default_rng(6).normal(0, 300, len(x))
    view = viewport(shape)
    counts, depths = splat(view, x, y, x_sigma, y_sigma, [None, z])
    for drawn, weight in ((counts, None), (depths, z)):
        wanted = direct(view, x, y, x_sigma, y_sigma, weight)
        assert np.abs(drawn - wanted).max() < 2e-6 * np.abs(wanted).max()
        assert drawn.sum(dtype=np.float64) == pytest.approx(wanted.sum(), rel=1e-5)


def test_a_hundred_thousand_rows_in_one_pixel_add_up_to_their_weight():
    """On every processor: each adds in its own order, with roundings of its own.

    The weights are such that adding them one by one in float32 rounds the same way
    over and over again. Points are exact, so all the error is that of the sum: of n
    equal rows added one by one at most n/2 roundings of 2**-24; the patches of 4096
    are added one by one as well.
    """
    count, weight = 100_000, 1 + 2.0**-16
    place = np.full(count, 3.5)
    width = np.full(count, 1e-6)
    (drawn,) = splat(
        viewport((8, 8)), place, place, width, width, [np.full(count, weight)]
    )
    roundings = 128 / 2 + (count / 4096) / 2
    assert drawn[3, 3] == pytest.approx(count * weight, rel=roundings * 2**-24)
    assert np.count_nonzero(drawn) == 1


@given(
    x=st.floats(40, 60),
    y=st.floats(40, 60),
    x_sigma=st.floats(0.1, 8),
    y_sigma=st.floats(0.1, 8),
)
@settings(max_examples=60, deadline=None)
def test_a_row_adds_its_weight_to_the_sum(x, y, x_sigma, y_sigma):
    weight = np.array([2.5])
    rows = [np.array([value]) for value in (x, y, x_sigma, y_sigma)]
    one, weighted = splat(viewport((100, 100)), *rows, [None, weight])
    assert one.sum(dtype=np.float64) == pytest.approx(1.0, abs=1e-5)
    assert weighted.sum(dtype=np.float64) == pytest.approx(2.5, abs=2e-5)


def test_what_an_edge_cuts_off_is_lost_and_nothing_else():
    rows = [np.array([0.0]), np.array([20.0]), np.array([3.0]), np.array([3.0])]
    (drawn,) = splat(viewport((40, 40)), *rows)
    assert drawn.sum() == pytest.approx(0.5, abs=1e-5)  # its centre is on the edge
    rows[1] = np.array([40.0])
    (drawn,) = splat(viewport((40, 40)), *rows)
    assert drawn.sum() == pytest.approx(0.25, abs=1e-5)


def test_pixels_lie_where_the_viewport_says():
    """Off the grid of anything, with pixels that are no whole number of nm."""
    view = viewport((30, 40), left_nm=-123.4, top_nm=987.6, pixel_nm=3.7)
    column, row = 17, 11
    x = np.array([-123.4 + (column + 0.5) * 3.7])
    y = np.array([987.6 + (row + 0.5) * 3.7])
    (drawn,) = splat(view, x, y, np.array([4.0]), np.array([4.0]))
    assert np.unravel_index(drawn.argmax(), drawn.shape) == (row, column)
    np.testing.assert_allclose(
        drawn[row, column - 3 : column], drawn[row, column + 3 : column : -1], rtol=1e-4
    )
    rows = (x, y, np.array([4.0]), np.array([4.0]))
    np.testing.assert_allclose(drawn, direct(view, *rows), atol=1e-6)


@pytest.mark.parametrize("sigma", [0.0, 1e-30, 1e-3])
def test_a_row_without_width_is_a_point_or_has_the_fallback(sigma):
    rows = [np.array([7.3]), np.array([4.6]), np.array([sigma]), np.array([sigma])]
    (drawn,) = splat(viewport((10, 10)), *rows, fallback_nm=1e-3)
    wanted = np.zeros((10, 10))
    wanted[4, 7] = 1.0
    np.testing.assert_allclose(drawn, wanted, atol=1e-6)


@pytest.mark.parametrize("sigma", [np.nan, np.inf, -1.0, 0.0])
def test_a_row_without_a_sigma_gets_the_fallback(sigma):
    place = [np.array([12.3]), np.array([14.6])]
    unknown, known = np.array([sigma]), np.array([1.5])
    (drawn,) = splat(viewport((30, 30)), *place, unknown, known, fallback_nm=2.5)
    np.testing.assert_allclose(
        drawn, direct(viewport((30, 30)), *place, np.array([2.5]), known), atol=1e-6
    )


def test_rows_without_a_place_are_left_out():
    x = np.array([np.nan, np.inf, -np.inf, 5.0])
    y = np.array([5.0, 5.0, 5.0, np.nan])
    sigma = np.ones(4)
    (drawn,) = splat(viewport((10, 10)), x, y, sigma, sigma)
    assert not drawn.any()
    (drawn,) = splat(viewport((10, 10)), x[:0], y[:0], sigma[:0], sigma[:0])
    assert not drawn.any()


def test_it_adds_to_the_images_given():
    rows = some_rows(1, 50, (20, 20))
    view = viewport((20, 20))
    (once,) = splat(view, *rows)
    out = [once.copy()]
    assert splat(view, *rows, out=out) is out
    np.testing.assert_allclose(out[0], 2 * once, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("low, high", [(12.1, 24.0), (30.0, 100.0), (500.0, 1e5)])
def test_broad_gaussians_are_the_direct_sum_to_a_thousandth_of_the_peak(low, high):
    shape = (133, 201)
    rows = some_rows(2, 80, shape, low, high, beyond=50.0)
    rows[3][:40] = np.random.default_rng(3).uniform(0.1, 8.0, 40)  # broad in x only
    view = viewport(shape)
    (drawn,) = splat(view, *rows)
    wanted = direct(view, *rows)
    assert np.abs(drawn - wanted).max() < 5e-4 * wanted.max()
    assert drawn.sum(dtype=np.float64) == pytest.approx(wanted.sum(), rel=1e-4)


def test_the_picture_does_not_depend_on_the_pieces():
    shape = (64, 64)
    rows = some_rows(9, 3000, shape)
    view = viewport(shape)
    (whole,) = splat(view, *rows)
    out = [np.zeros(shape, np.float32)]
    for first in range(0, 3000, 271):
        splat(view, *(column[first : first + 271] for column in rows), out=out)
    np.testing.assert_allclose(out[0], whole, rtol=1e-4, atol=1e-5)
