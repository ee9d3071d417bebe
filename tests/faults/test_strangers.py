"""Whole sessions beside programs that do not belong to them."""

import importlib.util
import sys
import time
from pathlib import Path

import pytest

pytestmark = [
    pytest.mark.timeout(180),
    pytest.mark.skipif(sys.platform != "linux", reason="reads /proc"),
]


def load_strangers():
    path = Path(__file__).with_name("strangers.py")
    spec = importlib.util.spec_from_file_location("strangers", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


strangers = load_strangers()
FLOODS = [flood for flood in strangers.FLOODS if flood is not strangers.long_hello]


def test_floods_cost_a_session_neither_frames_nor_memory(tmp_path, ended_well):
    session = strangers.Session(tmp_path, frames=160)
    try:
        strangers.wait_for(lambda: session.localized() >= 40)
        engine, ports = session.engine(), session.ports()
        memory = strangers.memory_mb(engine)
        with strangers.Flood(FLOODS, ports) as flood:
            assert not strangers.foreign_stream(f"tcp://127.0.0.1:{ports[0]}")
            before = session.localized()
            time.sleep(2.0)
            done = session.localized() - before
            grown = strangers.memory_mb(engine) - memory
        assert flood.cut_off > 10
        assert grown < 50
        assert done >= 11  # of 40; what is lacking is this machine's
        code, whose, frames = strangers.outcome(session)
        assert whose == "own" and ended_well(code, session.folder)
        assert frames["camera"] == 160
        assert frames["unexplained"] == 0
    finally:
        session.stop()


def test_of_two_sessions_on_the_same_ports_one_runs_and_the_other_says_why(
    tmp_path, free_ports, ended_well
):
    frames, localizations = free_ports(2)
    stream = {
        "frames_endpoint": f"tcp://127.0.0.1:{frames}",
        "localizations_endpoint": f"tcp://127.0.0.1:{localizations}",
    }
    first, second = strangers.pair(tmp_path, 0.0, stream, frames=40)
    winner, loser = ("b", "a") if first[0] == 2 else ("a", "b")
    (code, whose, _), refused = (second, first) if winner == "b" else (first, second)
    assert whose == "own" and ended_well(code, tmp_path / winner / "session")
    assert refused[0] == 2
    assert "FOREIGN" not in first + second
    loser = tmp_path / loser
    assert "cannot be bound" in (loser / "log.txt").read_text()
    assert (loser / "session" / "report.json").exists()
    assert (loser / "session" / "processed.jsonl").read_text() == ""
