"""Shared fixtures: where the data is, and nothing may leak."""

import os
import socket
import threading
from pathlib import Path

import pytest

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # before torch is imported


def data_folder() -> Path:
    """Return the folder with real and simulated data sets."""
    named = os.environ.get("LIVELOC_DATA")
    return Path(named) if named else Path(__file__).parents[2] / "shared" / "data"


@pytest.fixture
def data() -> Path:
    """Give the data folder, or skip with the reason."""
    folder = data_folder()
    if not folder.is_dir():
        pytest.skip(f"no data at {folder}: set LIVELOC_DATA to the data folder")
    return folder


@pytest.fixture
def free_ports():
    """Give a function that finds free ports on this machine."""

    def find(count):
        sockets = [socket.socket() for _ in range(count)]
        try:
            for probe in sockets:
                probe.bind(("127.0.0.1", 0))
            return [probe.getsockname()[1] for probe in sockets]
        finally:
            for probe in sockets:
                probe.close()

    return find


@pytest.fixture(autouse=True)
def no_leaked_threads():
    """Fail a test that leaves a thread of its own behind."""
    before = set(threading.enumerate())
    yield
    left = [t for t in set(threading.enumerate()) - before if not t.daemon]
    for thread in left:
        thread.join(2.0)
    alive = [t.name for t in left if t.is_alive()]
    assert not alive, f"threads left running: {alive}"
