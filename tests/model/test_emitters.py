import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from liveloc.model.emitters import Geometry, Thresholds, find_emitters
from liveloc.model.maps import MAPS

P, X, Y = (MAPS.index(name) for name in ("probability", "x_px", "y_px"))
GEOMETRY = Geometry(shape=(16, 16), pixel_size_nm=100)


def blank(n=1, cells=8):
    maps = np.zeros((n, len(MAPS), cells, cells), np.float32)
    maps[:, P] = 1e-4
    for k, name in enumerate(MAPS):
        if "sigma" in name or name == "photons":
            maps[:, k] = 1.0
    return maps


def point(maps, row, column, x_px, y_px, p, frame=0):
    """Let a cell report an emitter at pixel (x_px, y_px)."""
    maps[frame, P, row, column] = p
    maps[frame, X, row, column] = x_px - (2 * column + 0.5)
    maps[frame, Y, row, column] = y_px - (2 * row + 0.5)


def find(maps, geometry=GEOMETRY, **thresholds):
    frames = np.arange(len(maps))
    return find_emitters(maps, frames, geometry, Thresholds(**thresholds))


def test_nothing_is_found_in_an_empty_frame():
    assert len(find(blank())) == 0


def test_an_emitter_on_the_border_of_four_cells_counts_once_with_all_its_mass():
    maps = blank()
    for row, column in ((3, 3), (3, 4), (4, 3), (4, 4)):
        point(maps, row, column, 7.5, 7.5, 0.24)
    (emitter,) = find(maps)
    assert np.isclose(emitter["probability"], 0.96)
    assert np.isclose(emitter["x_nm"], 750) and np.isclose(emitter["y_nm"], 750)


def test_neighbours_that_point_elsewhere_keep_their_own_mass():
    maps = blank()
    point(maps, 3, 3, 6.0, 6.5, 0.9)
    point(maps, 3, 4, 9.0, 6.5, 0.55)
    found = find(maps)
    assert np.allclose(sorted(found["probability"]), [0.55, 0.9])


def test_a_sure_neighbour_at_the_same_place_is_split_off():
    maps = blank()
    point(maps, 3, 3, 7.2, 6.5, 0.9)
    point(maps, 3, 4, 7.8, 6.5, 0.7)
    assert len(find(maps, split=0.6)) == 2
    assert len(find(maps, split=0.8)) == 1


def test_the_three_thresholds_act_on_cell_and_mass():
    maps = blank()
    point(maps, 3, 3, 7.5, 6.5, 0.30)
    point(maps, 3, 4, 7.5, 6.5, 0.25)
    assert len(find(maps, seed=0.1, final=0.5)) == 1
    assert len(find(maps, seed=0.35, final=0.5)) == 0
    assert len(find(maps, seed=0.1, final=0.6)) == 0


def test_the_roi_origin_is_added_and_padding_is_left_out():
    maps = blank()
    point(maps, 0, 0, 0.0, 0.0, 0.9)
    point(maps, 7, 7, 15.0, 15.0, 0.9)
    shifted = Geometry(shape=(14, 14), pixel_size_nm=100, roi_origin=(100, 200))
    (emitter,) = find(maps, shifted)
    assert (emitter["x_nm"], emitter["y_nm"]) == (10_000, 20_000)


@given(seed=st.integers(0, 2**32 - 1))
def test_mass_is_conserved_and_frames_do_not_mix(seed):
    rng = np.random.default_rng(seed)
    maps = blank(3)
    maps[:, P] = rng.uniform(0, 0.6, maps[:, P].shape) ** 3
    maps[:, X : Y + 1] = rng.uniform(-2, 2, maps[:, X : Y + 1].shape)
    together = find(maps, seed=0.02, final=0.02)
    alone = [
        find_emitters(
            maps[k : k + 1], np.array([k]), GEOMETRY, Thresholds(seed=0.02, final=0.02)
        )
        for k in range(3)
    ]
    assert together.tobytes() == np.concatenate(alone).tobytes()
    assert together["probability"].sum() <= maps[:, P].sum() + 1e-3
