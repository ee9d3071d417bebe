"""A target that somebody asks for while a session runs, as a file."""

import json
import math
import threading

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from liveloc.stream.errors import SettingsError
from liveloc.stream.session.settings import SessionSettings
from liveloc.stream.session.target_file import (
    MOST_BYTES,
    AskedTarget,
    read_target,
    write_target,
)


@pytest.mark.parametrize(
    ("asked", "read"), [(0.8, 0.8), (2, 2.0), ("0.25", 0.25), ("present", "present")]
)
def test_what_is_asked_for_is_read(tmp_path, asked, read):
    assert read_target(tmp_path) is None
    path = write_target(tmp_path, asked, origin="viewer\nx")
    assert path.name == "target.json"
    assert read_target(tmp_path) == AskedTarget(read, "viewer x")
    assert [one.name for one in tmp_path.iterdir()] == ["target.json"]


def test_a_person_may_write_it_with_an_editor(tmp_path):
    (tmp_path / "target.json").write_text('{"target_per_um2": 0.8}\n')
    assert read_target(tmp_path) == AskedTarget(0.8)


@pytest.mark.parametrize(
    "asked", [0, -1, math.nan, math.inf, "much", "", True, None, 10**400, [0.5]]
)
def test_what_is_no_density_is_not_written(tmp_path, asked):
    with pytest.raises(
        SettingsError, match=r"Write emitters per um2, above 0, or 'pre"
    ):
        write_target(tmp_path, asked)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not JSON. A target.json is"),
        (b'{"target_per_u', "not JSON"),
        (b"\xff\xfe0.5", "not JSON"),
        (b"[" * 4000, "not JSON"),
        (b"0.5", "names no target"),
        (b"{}", "names no target"),
        (b'{"target_per_um2": "0.5"}', "is '0.5'. Write emitters per um2"),
        (b'{"target_per_um2": NaN}', "is nan"),
        (b'{"target_per_um2": 1e999}', "is inf"),
        (b'{"target_per_um2": 1' + b"0" * 400 + b"}", "Write emitters"),
        (b'{"target_per_um2": true}', "is True"),
        (b'{"target_per_um2": -0.5}', "is -0.5"),
        (b'{"target_per_um2": 0.5, "highest": 99}', "'highest' cannot be requested"),
        (b'{"target_per_um2": 0.5}' + b" " * MOST_BYTES, "longer than 4096 bytes"),
    ],
)
def test_nonsense_is_refused_with_one_line(tmp_path, content, message):
    (tmp_path / "target.json").write_bytes(content)
    with pytest.raises(SettingsError, match=message) as refused:
        read_target(tmp_path)
    assert "\n" not in str(refused.value)
    assert len(str(refused.value)) < 400


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    content=st.binary(max_size=200)
    | st.dictionaries(
        st.sampled_from(["target_per_um2", "origin", "written", "safe"]),
        st.none() | st.floats() | st.integers() | st.text("a\n{é") | st.booleans(),
    ).map(lambda told: json.dumps(told).encode())
)
def test_whatever_is_in_it_is_a_density_or_is_refused(tmp_path, content):
    (tmp_path / "target.json").write_bytes(content)
    try:
        asked = read_target(tmp_path)
    except SettingsError:
        return
    assert asked.per_um2 == "present" or 0 < asked.per_um2 < math.inf


def test_a_folder_in_its_place_is_refused(tmp_path):
    (tmp_path / "target.json").mkdir()
    with pytest.raises(SettingsError, match="is a folder"):
        read_target(tmp_path)


def test_it_is_never_seen_half_written(tmp_path):
    seen, stop = [], threading.Event()

    def read():
        while not stop.is_set():
            if asked := read_target(tmp_path):
                seen.append(asked)

    reader = threading.Thread(target=read)
    reader.start()
    for number in range(1, 150):
        write_target(tmp_path, number / 100, origin="x" * (number % 80))
    stop.set()
    reader.join(5)
    assert {len(asked.origin) for asked in seen} == {
        round(100 * asked.per_um2) % 80 for asked in seen
    }
    assert [one.name for one in tmp_path.iterdir()] == ["target.json"]


def test_only_a_running_session_and_what_it_allows_can_be_asked(tmp_path):
    with pytest.raises(SettingsError, match="no such session"):
        write_target(tmp_path / "nowhere", 0.5)
    SessionSettings().changed(control__highest_target_per_um2=1.5).save(tmp_path)
    write_target(tmp_path, 1.5)
    with pytest.raises(SettingsError, match=r"this session allows 1\.5 at most"):
        write_target(tmp_path, 1.6)
    assert read_target(tmp_path).per_um2 == 1.5
    (tmp_path / "bridge.json").write_text("{}")
    with pytest.raises(SettingsError, match="has ended"):
        write_target(tmp_path, 0.5)


@pytest.mark.parametrize("target", [6.0, [(0, 0.5), (100, 6.0)]])
def test_settings_may_not_ask_for_more_than_they_allow(target):
    with pytest.raises(SettingsError, match="is 6, above highest_target_per_um2, whic"):
        SessionSettings().changed(control__target_per_um2=target)
