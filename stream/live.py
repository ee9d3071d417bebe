"""A live session on one machine: engine, bridge and viewer as three processes."""

from __future__ import annotations

import socket
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from .alarms import AlarmFollower, Alarms
from .balance import UNEXPLAINED
from .broadcast import LocalizationSubscriber, Status
from .control_file import CONTROL_FILE
from .errors import SettingsError, StreamError
from .session_key import FRAMES_KEY, VIEWING_KEY, SessionKey
from .supervision import Child, as_argument

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from .session import SessionSettings

REFUSED = 2  # exit code: a mistake of the user
ENGINE_RESTARTS = 3
FINISH_SECONDS = 30.0
VIEWER_REPORT = "viewer.json"  # in the session's folder, of the window it opened


@dataclass(slots=True)
class Outcome:
    """How a session went.

    Attributes
    ----------
    engine_restarts : int
        How often the engine had to be started again.
    stopped : bool
        The user ended it: Ctrl-C, or the viewer's window was closed.
    alarms : list[dict]
        As in the report; see `Alarms.as_list`.
    """

    engine_restarts: int = 0
    stopped: bool = False
    alarms: list[dict[str, Any]] = field(default_factory=list)


def run_session(
    settings: SessionSettings,
    folder: Path,
    *,
    window: bool,
    progress: Callable[[dict[str, Any]], None],
    notice: Callable[[str], None],
) -> Outcome:
    """Run one acquisition from the camera to the table.

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

    Raises
    ------
    SettingsError
        The folder already holds a session.
    StreamError
        A process failed; its last words are in the message.
    """
    settings = _on_free_ports(settings)
    logs = _make_folder(folder)
    settings.save(folder)
    endpoint = settings.stream.localizations_endpoint
    outcome = Outcome()
    alarms = Alarms(notice)
    follower = AlarmFollower(folder / CONTROL_FILE, alarms.begun_ns)
    children: list[Child] = []

    frames, viewing = SessionKey.new(), SessionKey.new()
    keys = {
        "engine": {FRAMES_KEY: frames.text, VIEWING_KEY: viewing.text},
        "bridge": {FRAMES_KEY: frames.text},
        "view": {VIEWING_KEY: viewing.text},
    }

    def start(name: str, *arguments: str) -> Child:
        gently = name == "view"  # looking never slows the acquisition
        log = logs / f"{name}.log"
        child = Child(
            name, [name, *arguments], log, gently=gently, environment=keys[name]
        )
        children.append(child)
        return child

    subscriber = LocalizationSubscriber(endpoint, key=viewing)
    try:
        engine = start("engine", "--session", as_argument(folder))
        viewer = None
        if window:
            pixel = str(settings.viewer.super_pixel_nm)
            report = as_argument(folder / VIEWER_REPORT)
            look = ("--super-pixel", pixel, "--save", as_argument(folder), "--keep")
            viewer = start("view", "--connect", endpoint, *look, "--report", report)
        bridge = start("bridge", as_argument(folder))
        watch = _Watch(
            subscriber,
            endpoint,
            engine,
            bridge,
            viewer,
            outcome,
            progress,
            notice,
            alarms,
            follower,
        )
        watch.until_the_engine_is_done()
        if viewer is not None and viewer.poll() is None:
            notice("the acquisition has ended; close the window to finish")
            while viewer.poll() is None:
                time.sleep(0.1)
    except KeyboardInterrupt:
        outcome.stopped = True
        _stop_in_order(children)
    finally:
        subscriber.close()
        for child in children:
            child.stop()
        alarms.add(follower.read())
        follower.close()
        outcome.alarms = alarms.as_list()
    return outcome


@dataclass(slots=True)
class _Watch:
    """Passes status on and notices which process ends how."""

    subscriber: LocalizationSubscriber
    endpoint: str
    engine: Child
    bridge: Child
    viewer: Child | None
    outcome: Outcome
    progress: Callable[[dict[str, Any]], None]
    notice: Callable[[str], None]
    alarms: Alarms
    follower: AlarmFollower
    _give_up_at: float | None = None
    _told: set[str] = field(default_factory=set)

    def until_the_engine_is_done(self) -> None:
        """Wait for the engine to finish its stream, whatever the others do."""
        while self.engine.poll() not in (0, UNEXPLAINED):
            for update in self.subscriber.poll(0.1):
                if isinstance(update, Status):
                    self.progress(update.values)
                    self._warn(update.values.get("warnings"))
            self.alarms.add(self.follower.read())
            self._check_viewer()
            self._check_bridge()
            if self.engine.poll() not in (None, 0, UNEXPLAINED):
                self._restart_engine()

    def _warn(self, warnings: Any) -> None:
        """Tell each warning of the engine once."""
        for text in warnings if isinstance(warnings, list) else []:
            if text not in self._told:
                self._told.add(text)
                self.notice(f"the camera's calibration may be wrong: {text}")

    def _check_viewer(self) -> None:
        """End the session with its window, but not for a window that failed."""
        if self.viewer is None or self.viewer.poll() is None or self.outcome.stopped:
            return
        if self.viewer.poll() == 0:
            self.outcome.stopped = True
            self.bridge.ask_to_stop()
        else:
            self.notice(
                f"the window has ended: {self.viewer.last_words()} The session goes "
                f"on; look again with 'liveloc view --connect {self.endpoint}'"
            )
            self.viewer = None

    def _check_bridge(self) -> None:
        """End the session at once for a bridge that failed, else when all is done."""
        code = self.bridge.poll()
        if code is None:
            return
        if code != 0:
            raise StreamError(f"the bridge ended: {self.bridge.last_words()}")
        self._give_up_at = self._give_up_at or time.monotonic() + FINISH_SECONDS
        if time.monotonic() > self._give_up_at:
            raise StreamError(
                "the engine did not finish the stream that the bridge has ended: "
                f"{self.engine.last_words()}"
            )

    def _restart_engine(self) -> None:
        """Start an engine that died again, a few times; not one that refused."""
        refused = self.engine.poll() == REFUSED
        if refused or self.outcome.engine_restarts >= ENGINE_RESTARTS:
            raise StreamError(f"the engine ended: {self.engine.last_words()}")
        self.outcome.engine_restarts += 1
        self.notice("the engine died and is started again")
        self.engine.restart()


def _stop_in_order(children: list[Child]) -> None:
    """Camera and laser first, then let the engine write what it has."""
    for name in ("bridge", "engine", "view"):
        for child in children:
            if child.name == name:
                child.ask_to_stop() if name != "engine" else None
                child.wait(3.0)


def _make_folder(folder: Path) -> Path:
    """Make the session's folder and the one for its logs."""
    logs = folder / "logs"
    if (folder / "localizations.arrow").exists():
        raise SettingsError(
            f"{folder} already holds a session. Give another folder; results are "
            "never overwritten."
        )
    logs.mkdir(parents=True, exist_ok=True)
    return logs


def _on_free_ports(settings: SessionSettings) -> SessionSettings:
    """Replace port 0 by free ports, so that a restarted engine keeps its address."""
    stream = settings.stream
    with socket.socket() as one, socket.socket() as other:
        return settings.changed(
            stream__frames_endpoint=_free(stream.frames_endpoint, one),
            stream__localizations_endpoint=_free(stream.localizations_endpoint, other),
        )


def _free(endpoint: str, probe: socket.socket) -> str:
    """Let `probe` find a port and hold it while others are found."""
    host, _, port = endpoint.rpartition(":")
    if port != "0":
        return endpoint
    probe.bind(("127.0.0.1", 0))
    return f"{host}:{probe.getsockname()[1]}"
