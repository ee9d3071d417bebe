"""The commands of the camera's side: bridge, target, record."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from liveloc.stream.balance import ALARM
from liveloc.stream.camera_maps import replace_file
from liveloc.stream.console.options import (
    Config,
    Frames,
    SessionPath,
    Supervised,
    session_folder,
    settings_from,
)
from liveloc.stream.console.terminal import complain, progress_bar, say
from liveloc.stream.errors import RecordingError, SettingsError
from liveloc.stream.files.reserve import Reserve
from liveloc.stream.files.session_folder import SessionFolder, make_folder
from liveloc.stream.session.processes import signal_name, stop_event
from liveloc.stream.sockets.session_key import FRAMES_KEY, SessionKey

RESERVE_BYTES = 64 << 10  # for bridge.json on a full disk

if TYPE_CHECKING:
    from liveloc.stream.session.settings import SessionSettings


def bridge(
    settings_file: Annotated[
        Path | None,
        typer.Argument(help="Session settings (YAML), or a session folder."),
    ] = None,
    config: Config = None,
    frames: Frames = None,
    connect: Annotated[str | None, typer.Option(help="Address of the engine.")] = None,
    record_too: Annotated[
        bool | None,
        typer.Option("--record/--no-record", help="Record every frame to disk."),
    ] = None,
    session: SessionPath = None,
    supervised: Supervised = False,
) -> None:
    """Send a camera's frames to an engine.

    Example: liveloc bridge session.yaml --connect tcp://127.0.0.1:5555
    """
    settings = settings_from(settings_file).changed(
        camera__config=config,
        camera__frames=frames,
        stream__frames_endpoint=connect,
        stream__record=record_too,
    )
    folder = session or (
        settings_file if settings_file and settings_file.is_dir() else None
    )
    if folder is None and settings.stream.record:
        raise SettingsError("give --session, the folder for the recording.")
    _leave(_acquire(settings, folder, supervised=supervised))


def target(
    session: Annotated[Path, typer.Argument(help="Folder of a running session.")],
    density: Annotated[str, typer.Argument(help="Emitters per um2, or 'present'.")],
) -> None:
    """Change the density that a running session holds.

    Example: liveloc target sessions/cell1 0.8
    """
    from liveloc.stream.session.target_file import write_target

    write_target(session, density, origin="command line")
    outcome = SessionFolder(session).control
    say(f"requested {density}; see {outcome} for the bridge's answer")


def record(
    settings_file: Annotated[
        Path | None, typer.Argument(help="Session settings (YAML).")
    ] = None,
    config: Config = None,
    frames: Frames = None,
    session: SessionPath = None,
) -> None:
    """Record a camera without localizing; replay it later.

    Example: liveloc record --config MyScope.cfg --frames 10000 --session cell1
    """
    settings = settings_from(settings_file).changed(
        camera__config=config, camera__frames=frames, stream__record=True
    )
    folder = make_folder(session_folder(session))
    settings.save(folder)
    code = _acquire(settings, folder, without_engine=True)
    say(f"recorded in {folder}; replay it with: liveloc replay {folder} --out AGAIN")
    _leave(code)


def _leave(code: int) -> NoReturn:
    """End the command; at once if a driver hangs that Python would wait for."""
    from .camera.python_core import leave

    leave(code)
    raise typer.Exit(code)


def _acquire(
    settings: SessionSettings,
    folder: Path | None,
    *,
    supervised: bool = False,
    without_engine: bool = False,
) -> int:
    """Run a bridge, write its summary of the acquisition, return the exit code."""
    from .bridge import run_bridge
    from .settings import BridgeSettings

    key = SessionKey.from_environment(FRAMES_KEY)
    bridge_settings = BridgeSettings.from_session(
        settings, folder, without_engine=without_engine, key=key
    )
    stop, reserve = stop_event(supervised), None
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        reserve = Reserve(folder, RESERVE_BYTES)
    try:
        with progress_bar("acquiring", settings.camera.frames) as advance:
            result = run_bridge(
                bridge_settings, progress=lambda n: advance(n, 0), stop=stop
            )
    finally:
        if reserve is not None:
            reserve.release()
    result["stopped_by"] = signal_name(stop.signal) if stop.signal else ""
    if folder is not None:
        _write_result(SessionFolder(folder).bridge_result, result)
    frames = result["frames"]
    say(
        f"{frames['camera']} exposures: {frames['sent']} frames sent, "
        f"{frames['dropped']} shed, {frames['missing']} lost by the camera, "
        f"{result['recorded'] or 0} recorded; {result['status']} {result['reason']}"
    )
    safe = result["laser"] is None or result["laser"]["safe"]
    if frames["camera"] and not frames["sent"] and not without_engine:
        complain(
            f"no engine accepted a frame at {bridge_settings.endpoint}: nothing was "
            "localized. "
            "Start one with 'liveloc engine', or use 'liveloc record'."
        )
        return 1
    if result["status"] not in ("ok", "aborted") or not safe:
        return 1
    # The supervisor of the session reads its alarms and decides.
    return ALARM if result["not_localized"] and not supervised else 0


def _write_result(path: Path, result: dict[str, Any]) -> None:
    """Write the summary of the acquisition, whole or not at all."""
    try:
        replace_file(path, json.dumps(result, indent=1).encode())
    except OSError as error:
        raise RecordingError(f"{path}: cannot be written: {error}") from None
