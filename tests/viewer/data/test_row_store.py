"""Rows kept compactly: what comes back, in which part of the field, in which order."""

from __future__ import annotations

import errno
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from liveloc.stream.errors import RecordingError
from liveloc.stream.localizations import LOCALIZATION, Localizations, empty
from liveloc.viewer.data import compact, spool
from liveloc.viewer.data import row_store as rows
from liveloc.viewer.data.compact import QUANTITIES, compacted
from liveloc.viewer.data.row_store import RowStore, fair_order

FIELD = (-50.0, 6350.0, -50.0, 3150.0)
floats = hnp.arrays(
    np.float32, st.integers(0, 30), elements=st.floats(width=32, allow_subnormal=True)
)


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Many blocks and runs of few rows: the same code, in no time."""
    monkeypatch.setattr(rows, "BLOCK", 64)
    monkeypatch.setattr(rows, "RUN", 16)


def table(seed: int, count: int, *, first: int = 0) -> Localizations:
    """Rows in and out of the field, some without a position; photons number them."""
    random = np.random.default_rng(seed)
    made = empty(count)
    made["frame"] = np.sort(random.integers(0, 200_000, count))
    made["x_nm"] = random.uniform(FIELD[0] - 200, FIELD[1] + 200, count)
    made["y_nm"] = random.uniform(FIELD[2] - 200, FIELD[3] + 200, count)
    made["x_nm"][random.random(count) < 0.05] = np.nan
    made["y_nm"][random.random(count) < 0.05] = -np.inf
    made["photons"] = np.arange(first, first + count)  # exact to 4096
    made["photons_sigma"] = random.random(count)
    made["flags"] = random.integers(0, 4, count)
    return made


def numbers(runs: Any) -> list[int]:
    """Which rows these are."""
    return [int(n) for run in runs for n in run.column("photons")]


def within(whole: Localizations, rect: tuple[float, float, float, float]) -> list[int]:
    x, y = whole["x_nm"], whole["y_nm"]
    inside = (x >= rect[0]) & (x <= rect[1]) & (y >= rect[2]) & (y <= rect[3])
    return [int(n) for n in whole["photons"][inside]]


def back(name: str, values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    made = empty(len(values))
    made[name] = values
    return compacted(made).column(name)


def test_a_row_takes_24_bytes_and_22_where_frames_lie_close() -> None:
    store = RowStore(FIELD)
    made = table(0, 256)
    made["frame"] = np.arange(256) * 100_000
    store.append(made)  # four sorted blocks
    index = 4 * 4 * (rows.CELLS**2 + 2)
    assert store.nbytes == 256 * compact.BYTES_PER_ROW + index
    made["frame"] %= 65_536
    narrow = RowStore(FIELD)
    narrow.append(made)
    assert narrow.nbytes == 256 * (compact.BYTES_PER_ROW - 2) + index
    store.close()
    narrow.close()


@given(values=floats)
@pytest.mark.parametrize("name", QUANTITIES)
def test_a_value_comes_back_within_half_a_step(
    name: str, values: np.ndarray[Any, Any]
) -> None:
    kept = back(name, values)
    codes = QUANTITIES[name].values
    real = np.sort(codes[~np.isnan(codes)]).astype(np.float64)
    lost = np.isnan(values) | (np.isinf(values) if name == "z_nm" else False)
    assert np.array_equal(np.isnan(kept), lost)
    given_, kept = values[~lost].astype(np.float64), kept[~lost].astype(np.float64)
    inside = (given_ >= real[0]) & (given_ <= real[-1])
    above = real[np.clip(np.searchsorted(real, given_), 0, real.size - 1)]
    below = real[np.clip(np.searchsorted(real, given_, "right") - 1, 0, real.size - 1)]
    error = np.abs(kept - given_)
    assert np.all(error[inside] <= (above - below)[inside] / 2)
    assert np.all(kept[given_ < real[0]] == real[0])
    assert np.all(kept[given_ > real[-1]] == real[-1])


@given(values=floats)
def test_positions_come_back_to_the_last_bit(values: np.ndarray[Any, Any]) -> None:
    assert back("x_nm", values).tobytes() == values.tobytes()
    assert back("y_nm", values).tobytes() == values.tobytes()


def test_zero_whole_numbers_and_round_thresholds_are_exact() -> None:
    whole = np.arange(4097, dtype=np.float32)
    assert np.array_equal(back("photons", whole), whole)
    assert np.array_equal(back("z_nm", whole - 2000), whole - 2000)
    assert back("probability", np.float32([0, 0.5, 1])).tolist() == [0, 0.5, 1]
    assert back("background", np.float32([-3, 0])).tolist() == [0, 0]


def test_frames_beyond_four_bytes_are_kept_as_the_end() -> None:
    frames = np.array([-5, 0, 2**32 - 1, 2**40])
    assert back("frame", frames).tolist() == [0, 0, 2**32 - 1, 2**32 - 1]


def test_the_lateral_sigma_is_the_larger_one_and_unknown_where_one_is() -> None:
    made = empty(3)
    made["x_sigma_nm"], made["y_sigma_nm"] = [5, 9, np.nan], [7, 8, 4]
    lateral = compacted(made).column("lateral_sigma_nm")
    assert lateral[:2].tolist() == [7, 9]
    assert np.isnan(lateral[2])


edge_x = st.floats(FIELD[0] - 300, FIELD[1] + 300)
edge_y = st.floats(FIELD[2] - 300, FIELD[3] + 300)


@given(
    seed=st.integers(0, 999),
    pieces=st.lists(st.integers(0, 150), max_size=6),
    x=st.tuples(edge_x, edge_x).map(sorted),
    y=st.tuples(edge_y, edge_y).map(sorted),
    first=st.integers(0, 400),
    spooled=st.booleans(),
)
def test_a_rectangle_gives_its_rows_and_each_once(
    seed: int,
    pieces: list[int],
    x: list[float],
    y: list[float],
    first: int,
    spooled: bool,
) -> None:
    store = RowStore(FIELD, spool=spooled)
    made = table(seed, sum(pieces))
    done = 0
    for piece in pieces:
        store.append(made[done : done + piece])
        done += piece
    rect = (x[0], x[1], y[0], y[1])
    assert sorted(numbers(store.runs(rect))) == within(made, rect)
    assert sorted(numbers(store.runs(rect, first=first))) == within(made[first:], rect)
    assert sorted(numbers(store.runs(first=first))) == list(range(first, len(made)))
    assert all(0 < len(run) <= rows.RUN for run in store.runs())
    whole = np.concatenate([empty(0), *store.whole_rows()])
    if spooled:
        assert whole.tobytes() == made.tobytes()
    else:
        assert np.array_equal(whole["photons"], made["photons"])
        assert whole["x_nm"].tobytes() == made["x_nm"].tobytes()
        assert np.array_equal(whole["frame"], made["frame"])
    store.close()


def test_rows_that_come_during_a_walk_are_not_in_it() -> None:
    store = RowStore(FIELD)
    made = table(3, 400)
    store.append(made[:200])
    walk, late = store.runs(), store.runs(first=100)
    seen = numbers([next(walk)])
    store.append(made[200:])
    assert sorted(seen + numbers(walk)) == list(range(200))
    assert sorted(numbers(late)) == list(range(100, 200))
    store.close()


def test_every_beginning_of_a_walk_is_spread_over_the_time() -> None:
    store = RowStore(FIELD)
    store.append(table(0, 64 * 33))
    assert not store.unsorted()
    walk = store.runs()
    seen = numbers(next(walk) for _ in range(4 * 8))  # the first eight blocks
    counts = np.histogram(seen, bins=4, range=(0, 64 * 33))[0]
    assert counts.min() >= 64
    store.close()


@given(st.integers(0, 300))
def test_the_fair_order_leaves_nothing_out(count: int) -> None:
    assert sorted(fair_order(count)) == list(range(count))


class FullDisk:
    """A file that takes some bytes, fewer than asked for, and then no more."""

    def __init__(self, file: Any, room: int) -> None:
        self._file, self._room = file, room

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)

    def write(self, data: bytes) -> int:
        if not self._room:
            raise OSError(errno.ENOSPC, "No space left on device")
        count: int = self._file.write(data[: min(self._room, 1000)])
        self._room -= count
        return count


def test_a_full_disk_is_said_and_no_row_is_lost(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    room = 100 * LOCALIZATION.itemsize + 7
    make = spool.tempfile.TemporaryFile
    monkeypatch.setattr(
        spool.tempfile, "TemporaryFile", lambda **how: FullDisk(make(**how), room)
    )
    store = RowStore(FIELD)
    made = table(5, 300)
    for begin in range(0, 300, 10):
        store.append(made[begin : begin + 10])
        store.flush()
    assert "No space left on device" in store.spool_failure
    assert "Make room there" in store.spool_failure
    whole = np.concatenate(list(store.whole_rows()))
    assert whole["photons"].tolist() == list(range(300))
    exact = whole["photons_sigma"] == made["photons_sigma"]
    assert exact[:64].all()
    assert not exact[128:].any()
    assert sorted(numbers(store.runs(first=90))) == list(range(90, 300))
    store.close()


def test_a_disk_that_refuses_at_once_is_done_without(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(**how: Any) -> Any:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(spool.tempfile, "TemporaryFile", refuse)
    store = RowStore(FIELD)
    store.append(table(1, 100))
    assert "Permission denied" in store.spool_failure
    assert [len(piece) for piece in store.whole_rows()] == [16] * 6 + [4]
    store.close()


def test_closing_lets_go_and_later_reading_says_so() -> None:
    store = RowStore(FIELD)
    store.append(table(1, 200))
    pieces = store.whole_rows()
    next(pieces)
    store.close()
    store.close()
    with pytest.raises(RecordingError, match="was closed"):
        next(pieces)


def test_chosen_joined_and_packed_rows_stay_the_same_rows() -> None:
    made = empty(5)
    made["frame"] = [0, 7, 70_000, 2**31 + 9, 2**32 - 1]
    made["photons"] = np.arange(5)
    run = compacted(made)
    odd = run.chosen(np.array([False, True, False, True, False]))
    close = run.chosen([3, 3]).packed()
    assert close.nbytes == 2 * (compact.BYTES_PER_ROW - 2)
    both = compact.joined([run.chosen([4, 0]), close.chosen(slice(1)), odd, run])
    order = [4, 0, 3, 1, 3, 0, 1, 2, 3, 4]
    assert both.column("frame").tolist() == made["frame"][order].tolist()
    late = both.chosen(slice(1, None)).chosen([2, 0]).chosen(slice(1, 2))
    assert (len(late), numbers([late])) == (1, [0])
    assert run.packed().column("frame").tolist() == made["frame"].tolist()
    assert len(run.chosen([]).packed()) == 0
