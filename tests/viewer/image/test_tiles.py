"""The picture in squares: each level holds every row, versions say what changed."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from liveloc.stream.localizations import Localizations, empty
from liveloc.viewer import Reconstruction
from liveloc.viewer.image import tiles
from liveloc.viewer.image.tiles import Tiles

TILE = 32


@pytest.fixture(autouse=True)
def small_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    """Several tiles in few pixels: the same code, in no time."""
    monkeypatch.setattr(tiles, "TILE", TILE)
    monkeypatch.setattr(tiles, "TILE_BITS", 5)


def image() -> Reconstruction:
    """Make 71 x 92 super-pixels of 200 nm: 3 x 3 tiles, cut off by the edge."""
    return Reconstruction((47, 61), 300.0, super_pixel_nm=200.0)


def table(seed: int, count: int) -> Localizations:
    random = np.random.default_rng(seed)
    made = empty(count)
    made["x_nm"] = random.uniform(-150, 61 * 300 - 150, count)
    made["y_nm"] = random.uniform(-150, 47 * 300 - 150, count)
    made["z_nm"] = random.normal(0, 300, count) * (seed % 3 > 0)
    made["z_nm"][random.random(count) < 0.2] = np.nan if seed % 2 else 0.0
    return made


def level_by_hand(finest: np.ndarray, level: int) -> np.ndarray:
    """Sum up 2**k x 2**k pixels, by the plainest way."""
    step = 2**level
    height, width = (-(-side // step) for side in finest.shape)
    out = np.zeros((height, width), finest.dtype)
    rows, columns = np.indices(finest.shape)
    np.add.at(out, (rows // step, columns // step), finest)
    return out


def put_together(made: Tiles, level: int, shape: tuple[int, ...]) -> np.ndarray:
    rows, columns = made.shape(level)
    whole = np.zeros((rows * TILE, columns * TILE, 2), np.float32)
    for row in range(rows):
        for column in range(columns):
            part = made.tile(level, row, column)
            assert part.shape == (TILE, TILE, 2)
            assert part.dtype == np.float32
            place = slice(row * TILE, (row + 1) * TILE)
            whole[place, column * TILE : (column + 1) * TILE] = part
    height, width = shape
    assert not whole[height:].any()  # beyond the field
    assert not whole[:, width:].any()
    return whole[:height, :width]


look_at = st.tuples(st.integers(0, 2), st.integers(0, 2), st.integers(0, 3))


@given(
    steps=st.lists(
        st.one_of(st.integers(0, 400), look_at, st.just("clear")), max_size=8
    ),
    few=st.sampled_from([1, 16, 4000, 10**9]),
)
def test_every_level_is_the_sum_of_the_pixels_it_covers(
    steps: list[object], few: int
) -> None:
    made = image()
    assert made.counts.shape == (71, 92)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tiles, "FEW", few)  # rows go to all levels, or make them stale
        for number, step in enumerate(steps):
            if isinstance(step, int):
                made.add(table(number, step))
            elif step == "clear":
                made.clear()
            else:
                level, row, column = step  # type: ignore[misc]
                rows, columns = made.tiles.shape(level)
                made.tiles.tile(level, row % rows, column % columns)
        assert made.tiles.levels == 3
        for level in range(made.tiles.levels):
            expected = level_by_hand(made.counts, level)
            assert np.array_equal(made.tiles.counts(level), expected)
            seen = put_together(made.tiles, level, expected.shape)
            assert np.array_equal(seen[..., 0], expected)
            assert seen[..., 0].sum() == made.counted


def test_a_tile_gives_the_mean_depth_of_the_rows_that_have_one() -> None:
    made = image()
    rows = empty(5)
    rows["x_nm"] = rows["y_nm"] = 3000.0
    rows["z_nm"] = [100.0, np.nan, 250.0, np.nan, np.inf]
    made.add(rows)
    for level in range(made.tiles.levels):
        picture = made.tiles.tile(level, 0, 0)
        (at,) = np.argwhere(picture[..., 0])
        count, depth = picture[tuple(at)]
        assert count == 5
        assert depth / count == 175.0


@pytest.mark.parametrize("bulk", [1, 50_000])
def test_a_version_changes_where_and_only_where_the_tile_does(bulk: int) -> None:
    made = image()
    made.add(table(1, 5000))
    for level in range(made.tiles.levels):
        made.tiles.counts(level)
    before = {
        (level, *place): (
            made.tiles.version(level, *place),
            made.tiles.tile(level, *place),
        )
        for level in range(made.tiles.levels)
        for place in np.ndindex(made.tiles.shape(level))
    }
    one = empty(bulk)
    one["x_nm"], one["y_nm"] = 6850.0, 7850.0  # column 35, row 40
    made.add(one)
    touched = {(0, 1, 1), (1, 0, 0), (2, 0, 0)}
    for place, (version, picture) in before.items():
        now = made.tiles.tile(*place)
        assert np.array_equal(now, picture) == (place not in touched)
        assert (made.tiles.version(*place) > version) == (place in touched)
        assert made.tiles.version(*place) == made.tiles.versions(place[0])[place[1:]]


@pytest.mark.parametrize("most", [40, 9000])
def test_a_renewed_picture_is_the_one_made_anew(most: int) -> None:
    made = image()
    random = np.random.default_rng(most)
    held: dict[tuple[int, int, int], tuple[int, Any]] = {}
    renewed = 0
    for number in range(60):
        rows = table(number, int(random.integers(1, most)))
        if number > 30:
            rows["z_nm"][::3] = np.nan
        made.add(rows)
        if number == 45:
            made.clear()
        for level in range(made.tiles.levels):
            for place in np.ndindex(made.tiles.shape(level)):
                if random.random() < 0.5:  # it is looked at now and then only
                    continue
                where = (level, *place)
                version = made.tiles.version(*where)
                since, picture = held.get(where, (-1, None))
                if since >= 0 and made.tiles.renew(picture, *where, since):
                    renewed += 1
                else:
                    picture = made.tiles.tile(*where)
                np.testing.assert_array_equal(picture, made.tiles.tile(*where))
                held[where] = version, picture
    assert renewed > 100


def test_the_log_of_changed_pixels_is_bounded() -> None:
    made = image()
    pixels = made.tiles.tile(0, 0, 0), made.tiles.version(0, 0, 0)
    for number in range(200):
        made.add(table(number, 1000))
        assert made.tiles._logged <= tiles.LOGGED
    assert not made.tiles.renew(pixels[0], 0, 0, 0, pixels[1])


def test_clearing_changes_every_tile_and_empties_it() -> None:
    made = image()
    made.add(table(1, 500))
    versions = [made.tiles.versions(level).copy() for level in range(3)]
    assert made.tiles.tile(2, 0, 0).any()
    made.clear()
    for level, before in enumerate(versions):
        assert (made.tiles.versions(level) > before).all()
        assert not made.tiles.tile(level, 0, 0).any()


def test_few_rows_are_not_paid_for_with_the_whole_field(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made = image()
    made.add(table(1, 5000))
    made.tiles.counts(2)
    summed = []
    plain = tiles.Sums.sum_up
    monkeypatch.setattr(
        tiles.Sums, "sum_up", lambda *given: (summed.append(1), plain(*given))
    )
    for number in range(200):
        made.add(table(number, 100))
        made.tiles.tile(2, 0, 0)
    assert not summed


@pytest.mark.parametrize(
    ("side", "levels"), [(1, 1), (32, 1), (33, 2), (64, 2), (65, 3), (250, 4)]
)
def test_the_last_level_is_one_tile(side: int, levels: int) -> None:
    made = Reconstruction((1, side), 20.0, super_pixel_nm=20.0).tiles
    assert made.levels == levels
    assert made.shape(levels - 1) == (1, 1)
