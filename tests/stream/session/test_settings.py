"""Settings files that mean something else than they look like, or nothing."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from liveloc.stream.errors import SettingsError
from liveloc.stream.files.yaml_file import from_yaml, to_yaml
from liveloc.stream.session.settings import SessionSettings

if TYPE_CHECKING:
    from pathlib import Path

BOMB = "a: &a [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{new}: &{new} [{', '.join([f'*{old}'] * 10)}]\n"
    for old, new in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        pytest.param("# nothing\n", "is empty", id="empty"),
        pytest.param("[" * 5000 + "]" * 5000, "nested more than 30 deep", id="deep"),
        pytest.param("a: " + "{b: " * 40 + "1" + "}" * 40, "30 deep", id="maps"),
        pytest.param("camera: &c {roi: *c}", "contains itself", id="recursive"),
        pytest.param(BOMB, "stand for more than 100000 values", id="bomb"),
        pytest.param("camera: {frames: 1}\ncamera: {}", "'camera' appears twice"),
        pytest.param("camera: {frames: 1, frames: 2}", "'frames' appears twice"),
        pytest.param("camera: {frames: " + "9" * 5000 + "}", "a value is wrong"),
        pytest.param("camera: {frames: !!bool x}", "a value is wrong"),
        pytest.param("camera: {frames: !!float ''}", "a value is wrong"),
        pytest.param("camera: !!python/object:os.system {}", "not YAML"),
        pytest.param("camera: {frames: 1e400}", "camera.frames is inf"),
        pytest.param("camera: {exposure_ms: .nan}", "camera.exposure_ms is nan"),
        pytest.param("camera: {roi: [0, 0, 12:30, 9]}", "camera.roi"),
        pytest.param("camera: {config: " + "[x]" * 1 + "}", "camera.config is"),
        pytest.param("camera: {frames: " + "x" * 900 + "}", r"xxx\.\.\.: input should"),
        pytest.param("control: {target_per_um2: x}", ": control.target_per_um2 is 'x'"),
        pytest.param("camera: {exposure-ms: 3}", "'camera.exposure-ms'. Did you mean"),
        pytest.param("camera:\n\t- x", "not YAML"),
        pytest.param("\x00", "not YAML"),
        pytest.param("- 1", "session.yaml"),
        pytest.param("laser: {dose_budget_uj: 5}", "without uj_per_frame"),
        pytest.param("laser: {uj_per_frame: [[3, 1], [2, 1]]}", "powers rising"),
    ],
)
def test_a_file_that_is_no_settings_is_refused_in_one_line(
    tmp_path: Path, content: str, complaint: str
) -> None:
    path = tmp_path / "session.yaml"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(SettingsError, match=complaint) as raised:
        SessionSettings.load(path)
    assert str(path) in str(raised.value)
    assert "\n" not in str(raised.value) and len(str(raised.value)) < 400 + len(
        str(path)
    )


def test_other_encodings_and_huge_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "session.yaml"
    path.write_bytes("camera: {device: Kamera f\u00fcr alles}".encode("latin-1"))
    with pytest.raises(SettingsError, match=r"is not UTF-8 .* Save it as UTF-8"):
        SessionSettings.load(path)
    with path.open("wb") as file:
        file.truncate(1 << 32)
    with pytest.raises(SettingsError, match="is larger than 1024 KiB"):
        SessionSettings.load(path)


@pytest.mark.skipif(sys.platform == "win32", reason="needs named pipes")
def test_pipes_and_devices_are_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", "/dev/zero"):
        with pytest.raises(SettingsError, match="is a pipe or a device"):
            SessionSettings.load(path)


def test_words_and_numbers_are_what_they_look_like() -> None:
    read = from_yaml(
        b"{mode: off, gain: 1e5, roi: [010, 0x10, 0o17, 1_0], on: yes, time: 12:30, "
        b"day: 2024-01-01, true: ~, b: [true, FALSE], f: [1., .5, -1.5e-3, -.inf]}",
        "test",
    )
    assert read == {
        "mode": "off",
        "gain": 1e5,
        "roi": [10, 16, 15, "1_0"],
        "on": "yes",
        "time": "12:30",
        "day": "2024-01-01",
        True: None,
        "b": [True, False],
        "f": [1.0, 0.5, -1.5e-3, -float("inf")],
    }


def test_merged_mappings_and_aliases_still_serve() -> None:
    read = from_yaml(b"{a: &a {x: 1, y: 2}, b: &b {<<: *a, y: 3}, c: {<<: *b}}", "t")
    assert read["c"] == read["b"] == {"x": 1, "y": 3}


PLAIN: st.SearchStrategy[Any] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**9), 10**9)
    | st.floats(allow_nan=False)
    | st.text(max_size=12)
    | st.sampled_from(["1e5", "off", "010", "~", "", "12:30", ".inf", "0x1", "<<"]),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(max_size=6), inner, max_size=4)
    ),
    max_leaves=8,
)


@given(PLAIN)
@example({"\x85": ["a\u2028b", " "]})
def test_what_is_written_is_read_again_by_every_reader(data: Any) -> None:
    text = to_yaml(data)
    assert from_yaml(text.encode(), "test") == data
    assert yaml.safe_load(text) == data


@given(st.binary(max_size=200))
def test_nothing_but_our_own_error_comes_out(content: bytes) -> None:
    try:
        from_yaml(content, "test")
    except SettingsError as error:
        assert "\n" not in str(error)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("fiducials", 10**9),
        ("background", 1e300),
        ("hot_pixels", 10**12),
        ("density_per_um2", float("nan")),
        ("fluorophores_per_um2", 1e12),
        ("shape", (0, 5)),
        ("drift_walk_nm", (1e9, 0, 0)),
    ],
)
def test_a_sample_that_no_computer_draws_is_refused(name: str, value: Any) -> None:
    with pytest.raises(SettingsError, match=f"simulation.{name}"):
        SessionSettings().changed(**{f"simulation__{name}": value})
