"""A live session on one machine: engine, bridge and viewer as three processes."""

from __future__ import annotations

import socket
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .broadcast import LocalizationSubscriber, Status
from .errors import SettingsError, StreamError
from .supervision import Child

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from .session import SessionSettings

ENGINE_RESTARTS = 3
READY_SECONDS = 60.0
FINISH_SECONDS = 30.0


@dataclass(slots=True)
class Outcome:
    """How a session went.

    Attributes
    ----------
    engine_restarts : int
        How often the engine had to be started again.
    stopped : bool
        The user ended it: Ctrl-C, or the viewer's window was closed.
    """

    engine_restarts: int = 0
    stopped: bool = False


def run_session(
    settings: SessionSettings,
    folder: Path,
    *,
    window: bool,
    progress: Callable[[dict[str, Any]], None],
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
    children: list[Child] = []

    def start(name: str, *arguments: str) -> Child:
        child = Child(name, [name, *arguments], logs / f"{name}.log")
        children.append(child)
        return child

    subscriber = LocalizationSubscriber(endpoint)
    try:
        engine = start("engine", "--session", str(folder))
        viewer = None
        if window:
            pixel = str(settings.viewer.super_pixel_nm)
            look = ("--super-pixel", pixel, "--save", str(folder), "--keep")
            viewer = start("view", "--connect", endpoint, *look)
        bridge = start("bridge", str(folder))
        _watch(subscriber, engine, bridge, viewer, outcome, progress)
        if viewer is not None and not outcome.stopped:
            progress({"viewing": True})
            _wait_for_the_user(viewer)
    except KeyboardInterrupt:
        outcome.stopped = True
        _stop_in_order(children)
    finally:
        subscriber.close()
        for child in children:
            child.stop()
    return outcome


def _watch(
    subscriber: LocalizationSubscriber,
    engine: Child,
    bridge: Child,
    viewer: Child | None,
    outcome: Outcome,
    progress: Callable[[dict[str, Any]], None],
) -> None:
    """Pass the engine's status on until the engine has finished its stream."""
    deadline: float | None = None
    while True:
        for update in subscriber.poll(0.1):
            if isinstance(update, Status):
                progress(update.values)
        if viewer is not None and viewer.poll() is not None and not outcome.stopped:
            outcome.stopped = True
            bridge.ask_to_stop()
        code = engine.poll()
        finished = bridge.poll()
        if finished not in (None, 0):
            raise StreamError(f"the bridge ended with: {bridge.last_words()}")
        if code == 0:
            return
        if code is not None:
            _restart(engine, outcome)
        if finished == 0:
            deadline = deadline or time.monotonic() + FINISH_SECONDS
            if time.monotonic() > deadline:
                raise StreamError(
                    "the engine did not finish the stream that the bridge has ended: "
                    f"{engine.last_words()}"
                )


def _restart(engine: Child, outcome: Outcome) -> None:
    """Start an engine that died again, a few times."""
    if outcome.engine_restarts >= ENGINE_RESTARTS or engine.poll() == 2:
        raise StreamError(f"the engine ended with: {engine.last_words()}")
    outcome.engine_restarts += 1
    engine.restart()


def _stop_in_order(children: list[Child]) -> None:
    """Camera and laser first, then let the engine write what it has."""
    for name in ("bridge", "engine", "view"):
        for child in children:
            if child.name == name:
                child.ask_to_stop() if name != "engine" else None
                child.wait(3.0)


def _wait_for_the_user(viewer: Child) -> None:
    while viewer.poll() is None:
        time.sleep(0.1)


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
    return settings.changed(
        stream__frames_endpoint=_free(settings.stream.frames_endpoint),
        stream__localizations_endpoint=_free(settings.stream.localizations_endpoint),
    )


def _free(endpoint: str) -> str:
    host, _, port = endpoint.rpartition(":")
    if port != "0":
        return endpoint
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"{host}:{probe.getsockname()[1]}"
