"""Shared fixtures: where the data is, and nothing may leak."""

from __future__ import annotations

import contextlib
import functools
import gc
import io
import json
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Callable
from pathlib import Path

import hypothesis
import pytest
import zmq

# Before anything imports NumPy or torch: the tests share the cores already.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
# Without a choice, a core made where a window was shown earlier looks for qtpy.
os.environ.setdefault("PYMM_SIGNALS_BACKEND", "psygnal")

TRIES = 4  # sessions

# How long an example takes says something of this machine, not of what is tested.
hypothesis.settings.register_profile(
    "tests", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("tests")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the files whose tests may take longest, so that no worker ends late.

    They ask for more time than ``timeout`` in pyproject.toml gives.
    """
    longest = dict.fromkeys((item.path for item in items), 0.0)
    for item in items:
        if marker := item.get_closest_marker("timeout"):
            longest[item.path] = max(longest[item.path], *marker.args)
    items.sort(key=lambda item: -longest[item.path])


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


@pytest.fixture(scope="session")
def free_ports() -> Callable[[int], list[int]]:
    """Give a function that finds free ports on this machine, each once.

    They are none that the system gives away by itself: another test could get such a
    port meanwhile, and who connects to it too early may be connected with himself.
    """
    candidates = iter(range(10_000 + os.getpid() * 16 % 20_000, 32_000))

    def find(count: int) -> list[int]:
        found: list[int] = []
        while len(found) < count:
            port = next(candidates)
            with contextlib.suppress(OSError), socket.socket() as probe:
                probe.bind(("127.0.0.1", port))
                found.append(port)
        return found

    return find


@pytest.fixture(scope="session")
def liveloc() -> Callable[..., subprocess.CompletedProcess[str]]:
    """Give a function that runs a command line in this process.

    What a process of its own would only load again is here already. The processes that
    the command starts are real ones.
    """
    return _run_here


def _run_here(*arguments, cwd=None):
    from liveloc.__main__ import main

    out, complaints, code = io.StringIO(), io.StringIO(), 0
    signals = {one: signal.getsignal(one) for one in signal.valid_signals()}
    log = logging.getLogger()
    handlers, log.handlers = log.handlers, []
    try:
        with (
            pytest.MonkeyPatch.context() as patch,
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(complaints),
        ):
            patch.setattr(sys, "argv", ["liveloc", *map(str, arguments)])
            if cwd is not None:
                patch.chdir(cwd)
            try:
                main()
            except SystemExit as ended:
                code = ended.code or 0
    finally:
        log.handlers = handlers
        for number, handler in signals.items():
            if handler is not None and signal.getsignal(number) is not handler:
                signal.signal(number, handler)
    said = out.getvalue(), complaints.getvalue()
    return subprocess.CompletedProcess(arguments, code, *said)


@pytest.fixture(scope="session")
def ended_well() -> Callable[..., bool]:
    """Give a function that judges exit code and folder of a session, and its alarms.

    A machine that stands still for a second makes the product raise its alarm for
    frames that are not localized, which is exit code 4. That is true and no fault of
    the product; any other serious alarm has to be one of `alarms`, and each of these
    has to be there once.
    """

    from liveloc.stream.balance import ALARM

    def judge(code: int, folder: Path, alarms: tuple[str, ...] = ()) -> bool:
        report = json.loads((folder / "report.json").read_text())
        serious = [one["text"] for one in report["alarms"] if one["serious"]]
        others = [text for text in serious if not _standstill(text)]
        return code == (ALARM if serious else 0) and others == list(alarms)

    return judge


@pytest.fixture(scope="session")
def steady() -> Callable[..., tuple[int, Path]]:
    """Give a function that repeats a session in which the machine stood still.

    Where nobody renews the power of the laser for a second it is turned down, as it
    should be: of the density of such a session nothing can be said.
    """

    from liveloc.bridge.laser.interlock import NO_LEASE

    def repeat(run: Callable[[Path], int], parent: Path) -> tuple[int, Path]:
        for number in range(TRIES):
            code = run(folder := parent / f"session{number}")
            if NO_LEASE not in (folder / "control.jsonl").read_text():
                return code, folder
        raise AssertionError(f"the laser was turned down in {TRIES} sessions")

    return repeat


def _standstill(text):
    return text.startswith("frames arrive and are not localized, from frame ") or (
        text.startswith("frames ") and "in which nothing was localized" in text
    )


@pytest.fixture(scope="session", autouse=True)
def ctrl_c_works():
    """Take Ctrl-C as a program at a terminal does, in children too.

    A shell starts its background jobs with the signal ignored, and children inherit
    that: tests that press Ctrl-C would wait for ever.
    """
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(scope="session")
def made() -> Made:
    """Remember the sockets and processes of all tests while they live."""
    # pyzmq keeps a thread and sockets for messages that are not copied: make them now.
    with zmq.Context() as context, context.socket(zmq.PAIR) as here:
        with context.socket(zmq.PAIR) as there:
            here.bind("inproc://here")
            there.connect("inproc://here")
            here.send(bytes(1 << 20), copy=False)
            there.recv()
    made = Made()
    with pytest.MonkeyPatch.context() as patch:
        for kind in (zmq.Context, zmq.Socket, subprocess.Popen):
            made.remember(kind, patch)
        yield made


@pytest.fixture(autouse=True)
def nothing_leaks(made):
    """Fail a test that leaves a thread, socket, process or widget of its own behind.

    What was there before it began, such as the server of a module's fixture, may stay.
    """
    threads, things, widgets = set(threading.enumerate()), made.alive(), _widgets()
    yield
    new_threads = set(threading.enumerate()) - threads
    deadline = time.monotonic() + 2.0  # for those that were asked to end
    for thread in new_threads:
        thread.join(max(0.0, deadline - time.monotonic()))
    left = [f"thread {thread.name}" for thread in new_threads if thread.is_alive()]
    left += [_described(thing) for thing in made.alive() - things]
    if new_widgets := _widgets() - widgets:
        gc.collect()  # a window and its parts refer to each other
        left += [f"widget {name}" for _, name in _widgets() & new_widgets]
    assert not left, f"left behind: {', '.join(left)}"


class Made:
    """Contexts, sockets and processes that were made, without keeping them alive."""

    def __init__(self):
        self._things = weakref.WeakSet()

    def remember(self, kind, patch):
        make = kind.__init__

        @functools.wraps(make)
        def make_and_remember(thing, *arguments, **options):
            make(thing, *arguments, **options)
            self._things.add(thing)

        patch.setattr(kind, "__init__", make_and_remember)

    def alive(self):
        return {
            thing
            for thing in self._things
            if (
                thing.poll() is None
                if isinstance(thing, subprocess.Popen)
                else not thing.closed
            )
        }


def _described(thing):
    if isinstance(thing, subprocess.Popen):
        thing.kill()
        thing.wait()
        return f"process {thing.args}"
    return repr(thing)


def _widgets():
    """Return number and name of every window of Qt, of an application if there is."""
    if (qt := sys.modules.get("PySide6.QtWidgets")) is None:
        return set()
    if not isinstance(application := qt.QApplication.instance(), qt.QApplication):
        return set()
    deletion = sys.modules["PySide6.QtCore"].QEvent.Type.DeferredDelete
    application.sendPostedEvents(None, deletion.value)
    return {(id(w), f"{w}") for w in application.topLevelWidgets()}
