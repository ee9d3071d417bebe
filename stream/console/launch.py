"""A live session on one machine: engine, bridge and viewer as three processes."""

from __future__ import annotations

import shutil
import time
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ..balance import UNEXPLAINED, WINDOW_CLOSED
from ..broadcast.status import EngineStatus
from ..broadcast.subscriber import LocalizationSubscriber, Status
from ..errors import LivelocError, SettingsError
from ..files.reserve import Reserve
from ..files.session_folder import SessionFolder, make_folder
from ..session.alarms import AlarmFollower, Alarms, one_line
from ..session.end import Outcome, laser_words, read_object
from ..session.processes import Child, StopEvent, as_argument, exit_words, signal_name
from ..sockets.ports import ReservedPorts
from ..sockets.session_key import FRAMES_KEY, VIEWING_KEY, SessionKey
from ..tables.ledger import ProcessedLog
from .terminal import outlive_terminal

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from ..session.settings import SessionSettings

REFUSED = 2  # exit code: a mistake of the user
ENGINE_RESTARTS = 3
FINISH_SECONDS = 30.0  # without progress of an engine whose bridge has ended
STOP_S = 3.0  # for the bridge, then for the engine, when the user ends the session
RESERVE_BYTES = 4 << 20  # for report, page and picture on a full disk
FULL_BYTES = 1 << 20  # a disk with less room than this is full
DISK_EVERY_S = 1.0
REPORTED_S = 0.5  # for an alarm in a status to be in its file, too


def run_session(
    settings: SessionSettings,
    folder: Path,
    *,
    window: bool,
    progress: Callable[[EngineStatus], None],
    notice: Callable[[str], None],
    finish: Callable[[Outcome, StopEvent], None],
) -> Outcome:
    """Run one acquisition from the camera to the table.

    Signals that ask a process to end (`STOP_SIGNALS`) end the session in order: camera
    and laser first, then the engine, which writes what it has. A second one waits for
    nothing but the laser, and interrupts `finish`.

    Parameters
    ----------
    settings : SessionSettings
        Written to `folder` as run, with free local ports filled in.
    folder : Path
        Takes everything the session leaves behind.
    window : bool
        Show the viewer, and keep it open after the end until it is closed.
    progress : callable
        Called with every status of the engine.
    notice : callable
        Called with what the user should know, a line each.
    finish : callable
        Called with how it ended as soon as bridge and engine have, whatever happened:
        to write the report. Within `StopEvent.interruptible` a signal interrupts it.

    Returns
    -------
    Outcome
        How it ended; a process that failed is no exception.

    Raises
    ------
    SettingsError
        The folder already holds a session, or the disk has no room for one.
    """
    paths = _make_folder(folder)
    children: list[Child] = []
    frames = SessionKey.new()
    viewing = SessionKey.from_environment(VIEWING_KEY) or SessionKey.new()
    keys = {
        "engine": {FRAMES_KEY: frames.text, VIEWING_KEY: viewing.text},
        "bridge": {FRAMES_KEY: frames.text},
        "view": {VIEWING_KEY: viewing.text},
    }

    def start(name: str, *arguments: str) -> Child:
        gently = name == "view"  # looking never slows the acquisition
        log = paths.logs / f"{name}.log"
        child = Child(
            name, [name, *arguments], log, gently=gently, environment=keys[name]
        )
        children.append(child)
        return child

    outlive_terminal()
    stream = settings.stream
    with (
        ReservedPorts(stream.frames_endpoint, stream.localizations_endpoint) as ports,
        StopEvent() as stop,
        Reserve(folder, RESERVE_BYTES) as reserve,
    ):
        frames_at, endpoint = ports.endpoints
        settings.changed(
            stream__frames_endpoint=frames_at, stream__localizations_endpoint=endpoint
        ).save(folder)
        subscriber = LocalizationSubscriber(endpoint, key=viewing)
        try:
            engine = start("engine", "--session", as_argument(folder))
            viewer = None
            if window:
                pixel = str(settings.viewer.super_pixel_nm)
                report = as_argument(paths.viewer_result)
                look = ("--super-pixel", pixel, "--save", as_argument(folder), "--keep")
                viewer = start("view", "--connect", endpoint, *look, "--report", report)
            bridge = start("bridge", as_argument(folder))
            watch = _Watch(
                paths,
                subscriber,
                engine,
                bridge,
                viewer,
                stop,
                progress,
                notice,
            )
            watch.until_the_engine_is_done()
            outcome = watch.end()
            reserve.release()
            stop.set()  # from now on a signal interrupts what takes long
            finish(outcome, stop)
            if viewer is not None and viewer.poll() is None and not outcome.stopped_by:
                notice("the acquisition has ended; close the window to finish")
                while viewer.poll() is None and not stop.signal:
                    time.sleep(0.1)
        finally:
            subscriber.close()
            for child in children:
                child.stop()
            with suppress(OSError):  # empty where nothing was processed
                paths.ledger.touch()
    return outcome


@dataclass(slots=True)
class _Watch:
    """Passes status on, notices which process ends how, and ends them in order."""

    paths: SessionFolder
    subscriber: LocalizationSubscriber
    engine: Child
    bridge: Child
    viewer: Child | None
    stop: StopEvent
    progress: Callable[[EngineStatus], None]
    notice: Callable[[str], None]
    outcome: Outcome = field(default_factory=Outcome)
    alarms: Alarms = field(init=False)
    _follower: AlarmFollower = field(init=False)
    _done: bool = False
    _progressed: tuple[float, Any] = (0.0, None)  # when the engine got on, and to where
    _disk_at: float = 0.0
    _disk_full: bool = False
    _reported: dict[str, float] = field(default_factory=dict)  # alarms in a status

    def __post_init__(self) -> None:
        self.alarms = Alarms(self.notice)
        self.outcome.begun_ns = self.alarms.begun_ns
        self._follower = AlarmFollower(self.paths.control, self.alarms.begun_ns)

    def until_the_engine_is_done(self) -> None:
        """Wait for the engine to finish its stream, or for what prevents it."""
        while not self._done:
            self._take_updates(0.1)
            if self.stop.signal:
                self.outcome.signal = self.stop.signal
                name = signal_name(self.stop.signal)
                self._stopped("Ctrl-C" if name == "SIGINT" else name)
            self._check_disk()
            self._check_viewer()
            self._check_engine()
            self._check_bridge()

    def end(self) -> Outcome:
        """End bridge and engine in order, and say how everything ended."""
        children = {"bridge": self.bridge, "engine": self.engine}
        if self.outcome.stopped_by:
            self._wait(self.bridge)  # its END lets the engine finish
            self._wait(self.engine)
        for child in children.values():
            child.ask_to_stop()
        for child in children.values():
            self._wait(child, 4 * STOP_S)
            child.stop(STOP_S)
        self._take_updates(0.0)
        self._follower.close()
        if self.viewer is not None:
            children["viewer"] = self.viewer
        for name, child in children.items():
            self.outcome.processes[name] = child.ending() or "runs"
        if read_object(self.paths.report):  # its exit code speaks of the stream
            self.outcome.processes["engine"] = exit_words(0)
        self.outcome.alarms = self.alarms.as_list()
        return self.outcome

    def _take_updates(self, wait_s: float) -> None:
        """Pass on what engine and bridge say."""
        for update in self.subscriber.poll(wait_s):
            if isinstance(update, Status):
                status = self.outcome.status = EngineStatus.from_json(update.values)
                self.progress(status)
                for text in status.warnings:
                    text = f"the camera's calibration may be wrong: {text}"
                    self.alarms.raise_(text, serious=False)
                for text in status.alarms:
                    self._reported.setdefault(one_line(text), time.monotonic())
        self.alarms.add(self._follower.read())
        # The bridge's are in its file as well, with more to them, unless the disk
        # refused them.
        for text, since in self._reported.items():
            if self._done or time.monotonic() - since > REPORTED_S:
                self.alarms.raise_(text)

    def _stopped(self, how: str) -> None:
        """Take note that the user ends the session."""
        self.outcome.stopped_by = how
        self.bridge.ask_to_stop()
        self._done = True

    def _failed(self, why: str, *, refused: bool = False) -> None:
        full = " The disk is full." if self._disk_full else ""  # for want of a log
        self.outcome.failure, self.outcome.refused = f"{why}{full}", refused
        self._done = True

    def _wait(self, child: Child, seconds: float = STOP_S) -> None:
        """Wait for the end of a child, less patiently when asked twice."""
        until = time.monotonic() + seconds
        while child.poll() is None and time.monotonic() < until:
            self._take_updates(0.05)
            if self.stop.again and child is not self.bridge:  # the laser comes first
                return

    def _check_disk(self) -> None:
        """Raise an alarm for a full disk, before its processes stumble over it."""
        if time.monotonic() - self._disk_at < DISK_EVERY_S:
            return
        self._disk_at = time.monotonic()
        try:
            free = shutil.disk_usage(self.paths.path).free
        except OSError as error:
            self.alarms.raise_(f"{self.paths.path} cannot be reached any more: {error}")
            return
        self._disk_full = free < FULL_BYTES
        if self._disk_full:
            self.alarms.raise_(
                f"the disk of {self.paths.path} is full. What it refuses is not kept: "
                "free some space now."
            )

    def _check_viewer(self) -> None:
        """End the session with its window, but not for a window that failed."""
        if self.viewer is None or self._done or self.viewer.poll() is None:
            return
        if self.viewer.poll() == 0:
            self._stopped(WINDOW_CLOSED)
            return
        self.alarms.raise_(
            f"the window has ended: {self.viewer.ending()}. The session goes on; look "
            f"again with 'liveloc view {self.paths.path}'",
            serious=False,
        )
        self.outcome.processes["viewer"] = self.viewer.ending()
        self.viewer = None

    def _check_bridge(self) -> None:
        """End the session at once for a bridge that died, else when all is done."""
        code = self.bridge.poll()
        if code is None or self._done:
            return
        result = read_object(self.paths.bridge_result)
        if code != 0 and not (result and result["frames"]["sent"]):
            laser = laser_words(self.paths.path, self.outcome.begun_ns)
            self._failed(
                f"the bridge {self.bridge.ending()}. {laser}".strip(),
                refused=code == REFUSED and not self.outcome.status.frames,
            )
            return
        got_to = self._ledger_bytes(), self.outcome.status.localized
        if self._progressed[1] != got_to:
            self._progressed = time.monotonic(), got_to
        if time.monotonic() - self._progressed[0] > FINISH_SECONDS:
            self._failed(
                "the engine did not finish the stream that the bridge has ended: "
                f"{self.engine.last_words()}"
            )

    def _check_engine(self) -> None:
        """Take note of its end; start one that died again while frames come."""
        code = self.engine.poll()
        if code is None or self._done:
            return
        how = self.engine.ending()
        if code in (0, UNEXPLAINED) or read_object(self.paths.report):
            self._done = True
        elif self._stream_is_done():
            self.alarms.raise_(
                f"the engine {how} after it had finished the stream: its table is "
                "whole, latencies are not known",
                serious=False,
            )
            self._done = True
        elif code == REFUSED or self.outcome.engine_restarts >= ENGINE_RESTARTS:
            refused = code == REFUSED and not self.outcome.status.frames
            self._failed(f"the engine {how}.", refused=refused)
        elif self.bridge.poll() is not None:
            self._failed(f"the engine {how} before it had finished the stream.")
        else:
            self.outcome.engine_restarts += 1
            self.alarms.raise_(
                f"the engine {how} and is started again; the frames on their way to it "
                f"are lost (restart {self.outcome.engine_restarts})"
            )
            self.engine.restart()

    def _stream_is_done(self) -> bool:
        """Whether the ledger has the end of the stream."""
        try:
            return ProcessedLog(self.paths.ledger).last()[1] is not None
        except LivelocError:
            return False

    def _ledger_bytes(self) -> int:
        try:
            return self.paths.ledger.stat().st_size
        except OSError:
            return 0


def _make_folder(folder: Path) -> SessionFolder:
    """Make the session's folder and the one for its logs."""
    paths = SessionFolder(folder)
    if paths.table.exists():
        raise SettingsError(
            f"{folder} already holds a session. Choose another folder; results are "
            "never overwritten."
        )
    make_folder(folder)
    make_folder(paths.logs)
    of_bridge, of_viewer = paths.bridge_result, paths.viewer_result
    for stale in (of_bridge, paths.report, paths.page, of_viewer):
        stale.unlink(missing_ok=True)  # of a start that was refused
    return paths
