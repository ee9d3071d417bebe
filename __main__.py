"""The command line: it parses, and calls the four rooms."""

from __future__ import annotations

import os
import sys

if __name__ == "__main__" and sys.path[:1] in ([""], [os.getcwd()]):
    # 'python -m liveloc' imports from the present folder first, where a file of the
    # user may have the name of a library.
    del sys.path[0]

import json
import logging
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

# Camera, engine and viewer share the cores: waiting threads of torch must sleep, and
# NumPy's products are too small for threads, which would take time from the others.
# Read when NumPy and torch are loaded, here and in the processes of a session.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

from . import __version__
from .bridge.commands import bridge, record, target
from .model.commands import calibrate, engine, evaluate, train
from .stream.balance import SIGNALLED, exit_code
from .stream.console.options import (
    CameraPath,
    Config,
    Frames,
    Gain,
    Headless,
    JsonFile,
    Law,
    Model,
    Offset,
    Refine,
    RoiOrigin,
    SessionPath,
    TargetDensity,
    given_camera,
    open_given_movie,
    recorded_settings,
    session_folder,
    settings_from,
    with_target_density,
)
from .stream.console.terminal import (
    complain,
    outlive_terminal,
    progress_bar,
    say,
    summary,
)
from .stream.errors import (
    LivelocError,
    SettingsError,
    StreamError,
    refused_by_system,
)
from .stream.files.session_folder import SessionFolder
from .stream.session.processes import StopEvent, orphaned
from .stream.sockets.endpoints import FRAMES_AT, FREE
from .stream.sockets.session_key import FRAMES_KEY, SessionKey
from .viewer.commands import bench, render, view

if TYPE_CHECKING:
    from .stream.broadcast.status import EngineStatus
    from .stream.density import BlockDensity
    from .stream.movies.replay import ReplaySource
    from .stream.report import SessionReport
    from .stream.session.end import Outcome
    from .stream.session.settings import SessionSettings

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)

ORPHAN_S = 5.0  # for a bridge to end whose session was killed


def _show_version(asked: bool) -> None:
    if asked:
        say(f"liveloc {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool,
        typer.Option(
            "--version",
            callback=_show_version,
            is_eager=True,
            help="Show the version and exit.",
        ),
    ] = False,
) -> None:
    """Live single-molecule localization: see the image while you acquire."""


@app.command()
def demo(
    headless: Headless = False,
    frames: Annotated[int, typer.Option(min=3, help="Number of exposures.")] = 3000,
    seed: Annotated[
        int, typer.Option(min=0, help="Random seed of the simulated sample.")
    ] = 1,
    size: Annotated[
        int, typer.Option(min=32, help="Width and height of the camera image, pixels.")
    ] = 128,
    model: Model = "simulated-microscope",
    refine: Refine = None,
    target_density: TargetDensity = None,
    law: Law = None,
    record: Annotated[bool, typer.Option(help="Record every frame to disk.")] = False,
    session: SessionPath = None,
    json_file: JsonFile = None,
) -> None:
    """Watch a super-resolution image grow from a simulated microscope.

    The Micro-Manager core, the sockets and the neural network are real; the sample is
    simulated, so the result can be compared with the truth.

    Example: liveloc demo --frames 1000
    """
    from .stream.session.settings import SessionSettings

    settings = SessionSettings().changed(
        camera__config="simulated",
        camera__frames=frames,
        simulation__seed=seed,
        simulation__shape=(size, size),
        stream__record=record,
        engine__model=model,
        engine__refine=refine,
    )
    settings = with_target_density(settings, target_density, law)
    folder = session_folder(session)
    raise typer.Exit(_run(settings, folder, headless=headless, json_file=json_file))


@app.command()
def run(
    settings_file: Annotated[
        Path | None, typer.Argument(help="Session settings (YAML).")
    ] = None,
    config: Config = None,
    camera: CameraPath = None,
    frames: Frames = None,
    model: Model = None,
    refine: Refine = None,
    pixel_size: Annotated[
        float | None, typer.Option(help="Camera pixel size in the sample, nm.")
    ] = None,
    plan: Annotated[
        Path | None, typer.Option(help="Acquisition to run, a useq MDASequence (YAML).")
    ] = None,
    repeat: Annotated[
        int,
        typer.Option(min=1, help="Number of acquisitions, each in its own folder."),
    ] = 1,
    pause: Annotated[
        float, typer.Option(min=0, help="Time between acquisitions, s.")
    ] = 0,
    target_density: TargetDensity = None,
    law: Law = None,
    record: Annotated[
        bool | None,
        typer.Option("--record/--no-record", help="Record every frame to disk."),
    ] = None,
    headless: Headless = False,
    session: SessionPath = None,
    json_file: JsonFile = None,
) -> None:
    """Run a live session: camera, engine and viewer on this machine.

    Example: liveloc run --config MyScope.cfg --pixel-size 108 --record
    """
    settings = settings_from(settings_file).changed(
        camera__config=config,
        camera__frames=frames,
        camera__pixel_size_nm=pixel_size,
        camera__plan=plan,
        engine__model=model,
        engine__refine=refine,
        stream__record=record,
    )
    settings = with_target_density(
        settings.with_camera_file(camera), target_density, law
    )
    root, worst = session_folder(session), 0
    for number in range(1, repeat + 1):
        folder = root / str(number) if repeat > 1 else root
        code = _run(settings, folder, headless=headless, json_file=json_file)
        worst = max(worst, code)
        if code > SIGNALLED:  # the user ends all of them
            raise typer.Exit(code)
        if number < repeat:
            time.sleep(pause)
    raise typer.Exit(worst)


app.command()(bridge)
app.command()(target)
app.command()(record)
app.command()(engine)


@app.command()
def replay(
    path: Annotated[Path, typer.Argument(help="Recorded session, .tif or .dax.")],
    engine_at: Annotated[
        str, typer.Option("--engine", help="Address of a running engine.")
    ] = FRAMES_AT,
    folder: Annotated[
        Path | None,
        typer.Option("--out", help="Start a separate engine; folder for its results."),
    ] = None,
    speed: Annotated[
        float | None,
        typer.Option(
            min=0.001,
            help="1: as recorded, 2: twice as fast. Default: as fast as possible.",
        ),
    ] = None,
    model: Model = None,
    refine: Refine = None,
    pixel_size: Annotated[
        float | None, typer.Option(help="Camera pixel size in the sample, nm.")
    ] = None,
    camera: CameraPath = None,
    offset: Offset = None,
    gain: Gain = None,
    roi_origin: RoiOrigin = None,
    control: Annotated[
        str | None,
        typer.Option(help="With --out: show what this control law would have done."),
    ] = None,
    target_density: TargetDensity = None,
) -> None:
    """Send a recording through the same path as a live camera.

    Example: liveloc replay cell1 --out again, or with 'liveloc engine' running:
    liveloc replay movie.tif --speed 2
    """
    if control is not None and folder is None:
        raise SettingsError("--control needs --out, the folder for its decisions.")
    from .stream.console.sending import send_recording
    from .viewer.report.picture import write_picture

    given = given_camera(camera, offset, gain)
    with open_given_movie(path, pixel_size, given, roi_origin, speed) as source:
        if folder is None:
            key = SessionKey.from_environment(FRAMES_KEY)
            raise typer.Exit(send_recording(source, engine_at, key))
        settings = recorded_settings(path).changed(
            engine__model=model,
            engine__refine=refine,
            stream__frames_endpoint=FREE,
            stream__localizations_endpoint=FREE,
        )
        settings = with_target_density(
            settings.with_camera_file(camera), target_density, control
        )
        report, densities = _localize(source, settings, folder)
    settings.save(folder)
    write_picture(folder)
    if control is not None:
        from .bridge.rerun import rerun_session

        drawn, problem = rerun_session(settings, densities, path, folder)
        say(f"what {control} would have done: {drawn}")
        if problem:
            say(problem)
    _finish_report(report, folder)
    say(summary(report))
    raise typer.Exit(exit_code(report))


@app.command()
def fit(
    path: Annotated[
        Path, typer.Argument(help="Movie (.tif, .dax) or a recorded session.")
    ],
    folder: Annotated[Path, typer.Option("--out", help="Folder for the results.")],
    model: Model = None,
    refine: Refine = None,
    pixel_size: Annotated[
        float | None, typer.Option(help="Camera pixel size in the sample, nm.")
    ] = None,
    camera: CameraPath = None,
    offset: Offset = None,
    gain: Gain = None,
    roi_origin: RoiOrigin = None,
    json_file: JsonFile = None,
) -> None:
    """Localize a movie file, as fast as this machine can.

    Example: liveloc fit movie.tif --out results --camera camera.yaml
    """
    from .model.backend import OnnxBackend
    from .model.bundle import load_bundle
    from .model.fitting import fit as fit_movie
    from .viewer.report.picture import write_picture

    settings = recorded_settings(path).changed(
        engine__model=model, engine__refine=refine
    )
    bundle = load_bundle(settings.engine.model, refine=settings.engine.refine)
    given = given_camera(camera, offset, gain)
    with (
        open_given_movie(path, pixel_size, given, roi_origin) as source,
        progress_bar("localizing", source.start.expected_frames) as advance,
    ):
        report = fit_movie(source, folder, bundle, OnnxBackend(bundle), advance)
    write_picture(folder)
    _finish_report(report, folder, json_file)
    say(summary(report))
    if report["reason"]:
        complain(report["reason"])
    raise typer.Exit(exit_code(report))


app.command()(view)
app.command()(render)
app.command()(evaluate)
app.command()(train)
app.add_typer(calibrate, name="calibrate")
app.add_typer(bench, name="bench")


@app.command()
def doctor(json_file: JsonFile = None) -> None:
    """Check what works on this machine, and what to do about the rest.

    Example: liveloc doctor
    """
    findings = _examine()
    for name, works, detail in findings:
        say(f"{'works' if works else 'NO   '}  {name:14} {detail}")
    if json_file:
        report = {name: {"works": ok, "detail": text} for name, ok, text in findings}
        json_file.write_text(json.dumps(report, indent=1), encoding="utf-8")


def _run(
    settings: SessionSettings,
    folder: Path,
    *,
    headless: bool,
    json_file: Path | None,
) -> int:
    """Run a live session and finish its report; return the exit code."""
    from .stream.console.launch import REFUSED, run_session
    from .stream.session.end import read_object
    from .viewer.display import display_available

    window, reason = (False, "") if headless else display_available()
    if not headless and not window:
        say(f"no window: {reason}")
    say(f"session {folder}")
    report: SessionReport = {}
    with progress_bar("acquiring", settings.camera.frames) as advance:

        def show(status: EngineStatus) -> None:
            done, found = status.localized or 0, status.localizations or 0
            advance(done, found, str(status.activation or ""))

        def finish(outcome: Outcome, stop: StopEvent) -> None:
            report.update(_finish_session(folder, outcome, stop))

        outcome = run_session(
            settings,
            folder,
            window=window,
            progress=show,
            notice=say,
            finish=finish,
        )
    if (viewer := read_object(SessionFolder(folder).viewer_result)) is not None:
        report["viewer"] = viewer
        _write_session_report(report, folder)
    if json_file is not None:
        json_file.write_text(
            json.dumps(report, indent=1, default=str), encoding="utf-8"
        )
    if outcome.failure:
        complain(outcome.failure)
    say(summary(report, with_end=not outcome.failure))
    return REFUSED if outcome.refused else exit_code(report, outcome.signal)


def _finish_session(folder: Path, outcome: Outcome, stop: StopEvent) -> SessionReport:
    """Write what a session leaves behind, the most important first.

    What fails is named in the report's ``not_made``; the rest is made all the same.
    """
    from .stream.session.end import collect, write_report
    from .viewer.report.picture import write_picture

    report = collect(folder, outcome)
    write_report(report, folder)
    bridge = report["bridge"] or {}

    def feedback() -> None:
        from .bridge.control.settling import judged_feedback

        report["feedback"] = judged_feedback(folder, bridge.get("feedback"))

    def accuracy() -> None:
        from .model.evaluation.session_accuracy import session_accuracy

        report["accuracy"] = session_accuracy(folder)

    def picture() -> None:
        if SessionFolder(folder).table.exists():
            write_picture(folder)

    not_made: dict[str, str] = {}
    for step in (feedback, accuracy, picture):
        try:
            with stop.interruptible():
                step()
        except KeyboardInterrupt:
            not_made[step.__name__] = "interrupted"
        except Exception as error:  # the report is true without it, and says so
            not_made[step.__name__] = " ".join(
                f"{type(error).__name__}: {error}".split()
            )
    if not_made:
        report["not_made"] = not_made
    _write_session_report(report, folder)
    return report


def _finish_orphan(folder: Path) -> None:
    """Finish a session whose supervising process was killed, from its engine."""
    from .stream.session.alarms import AlarmFollower, Alarms
    from .stream.session.end import Outcome

    until = time.monotonic() + ORPHAN_S
    while not SessionFolder(folder).bridge_result.exists() and time.monotonic() < until:
        time.sleep(0.1)
    alarms = Alarms(complain)
    alarms.add(AlarmFollower(SessionFolder(folder).control, 0).read())
    outcome = Outcome(
        failure="the process that supervised the session was killed; its bridge and "
        "engine ended in order.",
        processes={"run": "was killed"},
        alarms=alarms.as_list(),
    )
    with StopEvent() as stop:
        _finish_session(folder, outcome, stop)


def _write_session_report(report: SessionReport, folder: Path) -> None:
    """Write the report for programs and for people; say what was refused."""
    from .stream.session.end import write_report
    from .viewer.report.page import write_report_page

    refused = write_report(report, folder)
    try:
        write_report_page(report, folder)
    except (OSError, LivelocError) as error:
        refused = refused or f"{SessionFolder(folder).page} cannot be written: {error}"
    if refused:
        complain(refused)
        report["not_made"] = report.get("not_made", {}) | {"report": refused}


def _localize(
    source: ReplaySource, settings: SessionSettings, folder: Path
) -> tuple[SessionReport, list[BlockDensity]]:
    """Send a recording to an engine of its own; return its report and densities."""
    from .model.engine import Engine
    from .stream.console.sending import send_recording

    key = SessionKey.new()  # no other program gets into this engine
    stop, failures = threading.Event(), list[Exception]()
    densities: list[BlockDensity] = []

    def send(endpoint: str) -> None:
        try:
            send_recording(source, endpoint, key, densities.append)
        except Exception as error:  # raised below, once the engine has stopped waiting
            failures.append(error)
            stop.set()

    with Engine(
        settings,
        lambda start: folder,
        frames_key=key,
        viewing_key=key,
    ) as running:
        sender = threading.Thread(
            target=send, args=(running.endpoints[0],), daemon=True
        )
        sender.start()
        report = running.run(stop, streams=1)
        sender.join()
    if failures or report is None:
        raise failures[0] if failures else StreamError("the recording is empty")
    return report, densities


def _finish_report(
    report: SessionReport, folder: Path, json_file: Path | None = None
) -> None:
    """Write the report for programs and for people."""
    from .viewer.report.page import write_report_page

    for path in filter(None, (SessionFolder(folder).report, json_file)):
        path.write_text(json.dumps(report, indent=1), encoding="utf-8")
    write_report_page(report, folder)


def _examine() -> list[tuple[str, bool, str]]:
    """Ask every room what works here."""
    from .bridge.examine import examine_micromanager
    from .model.backend import examine_inference
    from .stream.console.examine import examine_disk
    from .viewer.display import display_available

    python = f"{sys.version.split()[0]} on {sys.platform}, liveloc {__version__}"
    window, reason = display_available()
    return [
        ("Python", True, python),
        *examine_inference(),
        *examine_micromanager(),
        ("display", window, reason),
        examine_disk(Path.cwd()),
    ]


def main() -> None:
    """Run the command line; a user's mistake is one line and exit code 2."""
    if "--supervised" in sys.argv:
        outlive_terminal()
    warnings_only = logging.StreamHandler()
    warnings_only.setLevel(logging.WARNING)
    logging.basicConfig(format="%(name)s: %(message)s", handlers=[warnings_only])
    try:
        app()
    except LivelocError as error:
        complain(str(error))
        sys.exit(2)
    except OSError as error:
        if (text := refused_by_system(error)) is None:
            raise
        complain(text)
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)
    finally:
        if orphaned.is_set() and sys.argv[1:3] == ["engine", "--session"]:
            _finish_orphan(Path(sys.argv[3]))  # no other process is left to do it


if __name__ == "__main__":
    main()
