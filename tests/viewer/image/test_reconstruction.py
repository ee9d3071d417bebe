"""The image that grows: every row counted once, in its place, in any chunking."""

from __future__ import annotations

import subprocess
import sys
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from liveloc.stream.errors import SettingsError
from liveloc.stream.localizations import Localizations, empty
from liveloc.viewer import DisplaySettings, Reconstruction
from liveloc.viewer.image import reconstruction
from liveloc.viewer.image.colouring import smoothed
from liveloc.viewer.image.layers import binned
from liveloc.viewer.image.super_pixels import fitting_super_pixel

PIXEL_NM = 100.0


def table(seed: int, rows: int, shape: tuple[int, int] = (12, 9)) -> Localizations:
    """Rows in and out of the field, some without a position or a depth."""
    random = np.random.default_rng(seed)
    made = empty(rows)
    made["x_nm"] = random.uniform(-150, shape[1] * PIXEL_NM + 50, rows)
    made["y_nm"] = random.uniform(-150, shape[0] * PIXEL_NM + 50, rows)
    made["z_nm"] = random.normal(0, 300, rows)
    made["probability"] = random.random(rows)
    made["x_sigma_nm"] = made["y_sigma_nm"] = random.uniform(2, 60, rows)
    made["x_nm"][random.random(rows) < 0.05] = np.nan
    made["y_nm"][random.random(rows) < 0.05] = np.inf
    made["z_nm"][random.random(rows) < 0.1] = np.nan
    return made


def points(*xyz: tuple[float, float, float]) -> Localizations:
    made = empty(len(xyz))
    for name, values in zip(
        ("x_nm", "y_nm", "z_nm"), zip(*xyz, strict=True), strict=True
    ):
        made[name] = values
    return made


def same(one: Reconstruction, other: Reconstruction) -> bool:
    return (
        np.array_equal(one.counts, other.counts)
        and np.array_equal(
            one.mean_depth_nm().view(np.uint32), other.mean_depth_nm().view(np.uint32)
        )
        and np.array_equal(one.render().rgb, other.render().rgb)
        and (one.counted, one.outside, one.not_finite, one.filtered)
        == (other.counted, other.outside, other.not_finite, other.filtered)
    )


@given(
    seed=st.integers(0, 2**32 - 1),
    rows=st.integers(0, 300),
    cuts=st.lists(st.integers(0, 300), max_size=8),
    restart=st.integers(0, 8),
    shuffled=st.booleans(),
)
def test_any_chunking_with_a_restart_gives_the_same_image(
    seed: int, rows: int, cuts: list[int], restart: int, shuffled: bool
) -> None:
    whole = table(seed, rows)
    expected = Reconstruction((12, 9), PIXEL_NM, max_sigma_nm=50.0)
    expected.add(whole)

    image = Reconstruction((12, 9), PIXEL_NM, max_sigma_nm=50.0)
    edges = [0, *sorted(min(cut, rows) for cut in cuts), rows]
    chunks = [whole[a:b] for a, b in pairwise(edges)]
    if shuffled:
        chunks = chunks[::-1]
    for number, chunk in enumerate(chunks):
        if number == restart:  # a new viewer is told everything once more
            image = Reconstruction((12, 9), PIXEL_NM, max_sigma_nm=50.0)
            for earlier in chunks[:number]:
                image.add(earlier)
        image.add(chunk)
        image.render()  # looking at it must not change it
    assert same(image, expected)


@given(seed=st.integers(0, 2**32 - 1), run=st.integers(1, 40))
def test_one_large_call_is_cut_into_pieces_that_nobody_can_see(
    seed: int, run: int
) -> None:
    whole = table(seed, 100)
    before = whole.tobytes()
    expected = Reconstruction((12, 9), PIXEL_NM, min_probability=0.3)
    expected.add(whole)
    image = Reconstruction((12, 9), PIXEL_NM)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reconstruction, "RUN", run)
        image.min_probability = 0.3
        assert image.add(whole) == expected.counted
    assert same(image, expected)
    assert whole.tobytes() == before


def test_bare_positions_are_counted_like_rows_and_left_as_they_were() -> None:
    whole = table(3, 200)
    expected, image = (Reconstruction((12, 9), PIXEL_NM) for _ in range(2))
    expected.add(whole)
    x, y = (whole[name].astype(np.float64) for name in ("x_nm", "y_nm"))
    kept = x.copy()
    assert image.add_positions(x, y, whole["z_nm"]) == expected.counted
    assert same(image, expected)
    assert np.array_equal(x, kept, equal_nan=True)


@given(seed=st.integers(0, 2**32 - 1), rows=st.integers(0, 200))
def test_every_row_is_in_exactly_one_count(seed: int, rows: int) -> None:
    image = Reconstruction(
        (12, 9), PIXEL_NM, min_probability=0.4, max_sigma_nm=40.0, super_pixel_nm=33.0
    )
    whole = table(seed, rows)
    returned = image.add(whole)
    assert image.counted == returned == int(image.counts.sum())
    assert image.counted + image.not_finite + image.outside + image.filtered == rows
    good = (whole["probability"] >= np.float32(0.4)) & (whole["x_sigma_nm"] <= 40.0)
    x, y = whole["x_nm"], whole["y_nm"]
    inside = (x >= -50) & (x < 850) & (y >= -50) & (y < 1150)
    assert image.counted == np.count_nonzero(good & inside)


@pytest.mark.parametrize("origin", [(0, 0), (64, 300)])
@pytest.mark.parametrize("super_pixel", [None, 20.0, 12.5, 30.0, 100.0])
def test_pixel_0_0_has_its_centre_at_0_nm(
    origin: tuple[int, int], super_pixel: float | None
) -> None:
    """An emitter in the middle of a camera pixel lies in the middle of that pixel."""
    image = Reconstruction(
        (5, 7), PIXEL_NM, roi_origin=origin, super_pixel_nm=super_pixel
    )
    row, column = 3, 2
    x, y = (origin[0] + column) * PIXEL_NM, (origin[1] + row) * PIXEL_NM
    assert image.add(points((x, y, 0.0))) == 1
    (at_row,), (at_column,) = np.nonzero(image.counts)
    left, _, top, _ = image.extent_nm
    assert left == (origin[0] - 0.5) * PIXEL_NM
    assert top == (origin[1] - 0.5) * PIXEL_NM
    near = image.super_pixel_nm / 2
    assert abs(left + (at_column + 0.5) * image.super_pixel_nm - x) <= near
    assert abs(top + (at_row + 0.5) * image.super_pixel_nm - y) <= near


def test_a_grid_of_emitters_lies_on_the_camera_pixels_it_came_from() -> None:
    image = Reconstruction((4, 6), PIXEL_NM, super_pixel_nm=20.0)
    grid = [(c * PIXEL_NM, r * PIXEL_NM, 0.0) for r in range(4) for c in range(6)]
    image.add(points(*grid))
    expected = np.zeros((20, 30), np.uint32)
    expected[2::5, 2::5] = 1  # the third of five super-pixels: the centre
    assert np.array_equal(image.counts, expected)


def test_the_field_ends_half_a_pixel_beyond_the_last_centre() -> None:
    image = Reconstruction((4, 6), PIXEL_NM)
    assert image.extent_nm == (-50.0, 550.0, -50.0, 350.0)
    inside = [(-50.0, -50.0, 0.0), (549.99, 349.99, 0.0)]
    outside = [(-50.01, 0.0, 0.0), (550.0, 0.0, 0.0), (0.0, 350.0, 0.0)]
    assert image.add(points(*inside, *outside)) == 2
    assert image.outside == 3
    assert image.counts[0, 0] == image.counts[-1, -1] == 1


def test_rows_without_a_position_are_never_counted_as_pixels() -> None:
    image = Reconstruction((4, 4), PIXEL_NM)
    bad = [(np.nan, 0, 0), (0, np.nan, 0), (np.inf, 0, 0), (0, -np.inf, 0)]
    assert image.add(points(*bad)) == 0
    assert image.not_finite == 4
    assert not image.counts.any()


def test_a_row_without_depth_counts_but_does_not_pull_the_mean() -> None:
    image = Reconstruction((1, 1), PIXEL_NM, super_pixel_nm=100.0)
    image.add(points((0, 0, 200.0), (0, 0, np.nan), (0, 0, 400.0)))
    assert image.counts[0, 0] == 3
    assert image.mean_depth_nm()[0, 0] == 300.0


def test_a_flat_table_is_coloured_by_intensity_a_deep_one_by_depth() -> None:
    image = Reconstruction((8, 8), PIXEL_NM)
    image.add(points((300, 300, 0.0)))
    assert not image.has_depth
    assert image.render().depth_range_nm is None
    image.add(points((100, 100, -250.0), (600, 600, 250.0)))
    made = image.render(DisplaySettings(smooth=0.0))
    assert made.depth_range_nm == (-250.0, 250.0)
    deep, high = made.rgb[7, 7].astype(int), made.rgb[32, 32].astype(int)
    assert deep[2] > deep[1]  # bluish
    assert high[0] > high[2]  # reddish
    assert image.render(DisplaySettings(colour="intensity")).depth_range_nm is None


def test_the_own_choice_of_pixel_is_a_whole_fraction_and_fits_large_chips() -> None:
    assert Reconstruction((64, 64), 108.0).super_pixel_nm == 108.0 / 5
    assert Reconstruction((4, 4), 13.0).super_pixel_nm == 13.0
    large = Reconstruction((2048, 2048), 100.0)
    assert large.counts.shape == (4096, 4096)
    assert fitting_super_pixel((30_000, 20), 100.0) == 800.0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (((0, 4), 100.0), r"shape is \(0, 4\)"),
        (((4, 4), float("nan")), "pixel_size_nm is nan"),
        (((2048, 2048), 100.0, 5.0), r"super_pixel_nm is 5: .* Use 13 nm or more"),
        (((4, 4), 100.0, -1.0), "super_pixel_nm is -1"),
    ],
)
def test_an_impossible_image_is_refused_with_the_remedy(
    arguments: tuple[tuple[int, int], float, float], message: str
) -> None:
    shape, pixel, *wanted = arguments
    with pytest.raises(SettingsError, match=message):
        Reconstruction(shape, pixel, super_pixel_nm=wanted[0] if wanted else None)


def test_an_image_around_a_table_holds_all_its_rows() -> None:
    rows = points((1000.0, 260.0, 0), (1440.0, -40.0, 5), (np.nan, 0, 0))
    image = Reconstruction.around(rows, pixel_size_nm=PIXEL_NM)
    assert image.roi_origin == (10, 0)
    assert image.shape == (4, 5)
    assert (image.counted, image.outside, image.not_finite) == (2, 0, 1)
    assert Reconstruction.around(empty(0)).counted == 0


def test_the_field_is_read_from_metadata_and_faults_are_named() -> None:
    metadata = {"shape": "[96, 128]", "roi_origin": "[10, 20]", "pixel_size_nm": "110"}
    image = Reconstruction.from_metadata(metadata, super_pixel_nm=22.0)
    assert (image.shape, image.roi_origin) == ((96, 128), (10, 20))
    with pytest.raises(SettingsError, match="pixel_size_nm is ''"):
        Reconstruction.from_metadata({**metadata, "pixel_size_nm": ""})
    with pytest.raises(SettingsError, match="shape is '96'"):
        Reconstruction.from_metadata({**metadata, "shape": "96"})


def test_clearing_forgets_rows_and_depth() -> None:
    image = Reconstruction((8, 8), PIXEL_NM)
    before = image.revision
    image.add(points((0, 0, 30.0), (np.nan, 0, 0)))
    image.clear()
    assert not image.counts.any()
    assert not image.has_depth
    assert (image.counted, image.not_finite) == (0, 0)
    assert image.revision > before


@given(
    height=st.integers(1, 40),
    width=st.integers(1, 40),
    factor=st.integers(1, 9),
)
def test_binning_loses_no_count(height: int, width: int, factor: int) -> None:
    counts = np.arange(height * width, dtype=np.uint32).reshape(height, width) % 7
    small = binned(counts, factor)
    assert small.shape == (-(-height // factor), -(-width // factor))
    assert small.sum() == counts.sum()
    assert small[0, 0] == counts[:factor, :factor].sum()


def test_smoothing_keeps_counts_and_the_place_they_are_at() -> None:
    counts = np.zeros((41, 51), np.float32)
    counts[20, 30] = 5.0
    smooth = smoothed(counts, 1.5)
    assert smooth.sum() == pytest.approx(5.0, rel=1e-5)
    y, x = np.indices(counts.shape)
    assert (smooth * x).sum() / 5.0 == pytest.approx(30.0, abs=1e-3)
    assert (smooth * y).sum() / 5.0 == pytest.approx(20.0, abs=1e-3)


def test_contrast_does_not_depend_on_how_empty_the_field_is() -> None:
    random = np.random.default_rng(4)
    rows = empty(4000)
    rows["x_nm"], rows["y_nm"] = random.normal(1500, 200, (2, 4000))
    limits = []
    for side in (30, 200):
        image = Reconstruction((side, side), PIXEL_NM, super_pixel_nm=20.0)
        image.add(rows)
        limits.append(image.render(DisplaySettings(colour="intensity")).limit)
    assert limits[0] == pytest.approx(limits[1])


def test_an_empty_image_renders_dark() -> None:
    rgb = Reconstruction((8, 12), PIXEL_NM).render().rgb
    assert rgb.shape == (40, 60, 3)
    assert rgb.max() < 16


def test_an_unknown_colour_map_is_named() -> None:
    image = Reconstruction((8, 8), PIXEL_NM)
    with pytest.raises(SettingsError, match="'infrno' does not exist"):
        image.render(DisplaySettings(intensity_map="infrno"))


def test_the_package_imports_neither_qt_nor_vispy() -> None:
    code = (
        "import sys, liveloc.viewer; liveloc.viewer.display_available;"
        "heavy = {'PySide6', 'vispy', 'zmq', 'cmap', 'tifffile'} & set(sys.modules);"
        "sys.exit(str(heavy) if heavy else 0)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=30
    )
    assert done.returncode == 0, done.stderr
