"""Settings are remembered; whatever is in the file, the window starts."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from liveloc.viewer import DisplaySettings
from liveloc.viewer.window.preferences import Memory, config_path, load, save


def test_what_is_saved_is_loaded_but_not_what_belongs_to_one_session(
    own_settings: Path,
) -> None:
    assert load() == Memory()
    look = DisplaySettings(
        mode="fixed",
        width_nm=22.5,
        colour="intensity",
        gamma=0.8,
        limit=3.0,
        depth_range_nm=(0.0, 1.0),
    )
    assert save(Memory(look, b"\x00geo", b"\xfflay")) == ""
    again = load()
    assert (again.geometry, again.layout, again.problem) == (b"\x00geo", b"\xfflay", "")
    assert again.look == DisplaySettings(
        mode="fixed", width_nm=22.5, colour="intensity", gamma=0.8
    )
    assert list(own_settings.iterdir()) == [config_path()]


@pytest.mark.parametrize(
    "content",
    [
        b"\xff\xfe\x00",
        b"[1, 2",
        b"- a list",
        b"look: [1]",
        b"look: {mode: nothing}",
        b"look: {gamma: -1}",
        b"look: {intensity_map: no such map}",
        b"window: {geometry: '%%%'}",
        b"window: 3",
        b"look: {width_nm: .nan}",
        b"x" * (1 << 20) + b"xx",
    ],
)
def test_a_damaged_file_means_defaults_and_is_said(
    own_settings: Path, content: bytes
) -> None:
    own_settings.mkdir()
    config_path().write_bytes(content)
    found = load()
    assert found.look == DisplaySettings()
    assert found.geometry == found.layout == b""
    assert "settings are as new" in found.problem
    assert str(config_path()) in found.problem


def test_values_of_another_kind_are_left_out(own_settings: Path) -> None:
    own_settings.mkdir()
    plain = {"look": {"gamma": "bright", "mode": "density", "unknown": 3}}
    config_path().write_text(yaml.safe_dump(plain), "utf-8")
    assert load() == Memory(DisplaySettings(mode="density"))


def test_a_folder_that_cannot_be_written_is_said_and_no_more(
    own_settings: Path,
) -> None:
    own_settings.write_text("a file where the folder should be")
    assert "not remembered" in save(Memory())
    assert load().look == DisplaySettings()
