"""What a damaged ``control.jsonl`` still says, and that it says what is missing."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from liveloc.stream.errors import SettingsError
from liveloc.stream.session.control_file import ControlFile

if TYPE_CHECKING:
    from pathlib import Path

SETTING = {"kind": "laser", "seq": 1, "t_ns": 100, "power": 5.0, "unit": "mW"}
DECISION = {
    "kind": "decision",
    "t_ns": 150,
    "frames": [0, 1],
    "exposed_ns": 120,
    "per_um2": 0.4,
    "target_per_um2": 0.5,
    "power": 5.0,
    "wanted": 6.0,
    "given": 6.0,
    "reason": "",
}
TORN = '{"kind": "decision", "t_ns": 12345, "fra'


def read(folder: Path, *lines: dict[str, Any] | str) -> ControlFile:
    texts = [one if isinstance(one, str) else json.dumps(one) for one in lines]
    (folder / "control.jsonl").write_text("\n".join(texts), encoding="utf-8")
    return ControlFile.read(folder / "control.jsonl")


@pytest.mark.parametrize(
    "damage",
    [
        TORN,
        "{}",
        "[" * 10_000,
        "\x00" * 300,
        "NaN",
        '{"kind": "laser", "t_ns": 1e400, "power": 5.0}',
        '{"kind": "laser", "t_ns": 12.5, "power": 5.0}',
        json.dumps(DECISION | {"frames": [0, "x"]}),
        json.dumps(DECISION | {"given": None}),
        json.dumps(DECISION | {"exposed_ns": 10**400}),
    ],
)
def test_a_damaged_line_is_left_out_and_counted(tmp_path: Path, damage: str) -> None:
    file = read(tmp_path, SETTING, damage, DECISION, {"kind": "stop", "evidence": "x"})
    assert (file.settings, file.decisions) == ([SETTING], [DECISION])
    assert (file.damaged, file.first_damaged) == (1, 2)
    assert "1 line is damaged and left out, the first is line 2" in file.problem


def test_a_whole_file_has_no_problem(tmp_path: Path) -> None:
    file = read(tmp_path, SETTING, DECISION)
    assert (file.damaged, file.problem) == (0, "")
    assert ControlFile.read(tmp_path / "missing") == ControlFile()


def test_the_power_is_that_of_the_newest_setting(tmp_path: Path) -> None:
    file = read(tmp_path, SETTING | {"t_ns": 200, "power": 7.0}, TORN, SETTING)
    assert [file.power_at(t, 1.0) for t in (99, 100, 199, 200)] == [1.0, 5.0, 5.0, 7.0]


def test_what_is_no_file_is_refused_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "control.jsonl").mkdir()
    with pytest.raises(SettingsError, match="not a file"):
        ControlFile.read(tmp_path / "control.jsonl")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "control.jsonl")
    with pytest.raises(SettingsError, match="not a file"):
        ControlFile.read(tmp_path / "control.jsonl")


@given(
    place=st.integers(0, 1000),
    junk=st.binary(min_size=1, max_size=30),
    cut=st.booleans(),
)
def test_any_damage_leaves_the_lines_around_it(
    tmp_path_factory: pytest.TempPathFactory, place: int, junk: bytes, cut: bool
) -> None:
    """Bytes are overwritten or the rest is cut off: lines are missed, none invented."""
    path = tmp_path_factory.getbasetemp() / "mutated.jsonl"
    lines = [SETTING | {"t_ns": n} for n in range(20)]
    whole = "".join(json.dumps(line) + "\n" for line in lines).encode()
    place %= len(whole)
    rest = b"" if cut else whole[place + len(junk) :]
    path.write_bytes(whole[:place] + junk + rest)
    file = ControlFile.read(path)
    before = whole[:place].count(b"\n")
    assert file.settings[:before] == lines[:before]
    if not cut:
        after = rest.count(b"\n") - 1
        assert (
            file.settings[len(file.settings) - max(after, 0) :] == lines[20 - after :]
        )
