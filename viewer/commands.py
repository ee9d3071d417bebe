# ruff: noqa: TC001, TC003  (typer reads annotations at run time)
"""The commands that show images: view, render, bench view."""

from __future__ import annotations

import _thread
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from liveloc.stream.console.options import JsonFile, Supervised
from liveloc.stream.console.terminal import say, waiting
from liveloc.stream.errors import SettingsError
from liveloc.stream.files.session_folder import SessionFolder
from liveloc.stream.pixel_size import check_pixel_size
from liveloc.stream.sockets.endpoints import LOCALIZATIONS_AT
from liveloc.stream.sockets.session_key import VIEWING_KEY, SessionKey

if TYPE_CHECKING:
    from .sessions.session import SessionView

bench = typer.Typer(no_args_is_help=True, help="Measure speed on this machine.")


def view(
    path: Annotated[
        Path | None,
        typer.Argument(help="Session folder or table. Default: the running engine."),
    ] = None,
    connect: Annotated[
        str | None,
        typer.Option(
            help=f"Address of the engine's localizations. Default: {LOCALIZATIONS_AT}."
        ),
    ] = None,
    keep: Annotated[bool, typer.Option(help="Stay open when the session ends.")] = True,
    super_pixel: Annotated[
        float, typer.Option(min=0.1, help="Approximate pixel size of the image, nm.")
    ] = 20.0,
    pixel_size: Annotated[
        float | None, typer.Option(help="Camera pixel size, nm, if the table lacks it.")
    ] = None,
    folder: Annotated[
        Path | None,
        typer.Option("--save", help="Folder for saved pictures and tables."),
    ] = None,
    screenshot: Annotated[
        Path | None, typer.Option(help="PNG of the window, saved when it closes.")
    ] = None,
    report: Annotated[
        Path | None, typer.Option(help="JSON file for the measured screen latency.")
    ] = None,
    supervised: Supervised = False,
) -> None:
    """Show the super-resolution image of a running session, or of a finished one.

    Example: liveloc view sessions/cell1, or beside an engine that was started alone:
    liveloc view --connect tcp://127.0.0.1:5556
    """
    from .run import run_viewer

    if path is not None and connect is not None:
        raise SettingsError("give a path or --connect, not both.")
    if supervised:
        from liveloc.stream.session.processes import when_parent_ends

        when_parent_ends(_thread.interrupt_main)
    session = _session_view(path, connect or LOCALIZATIONS_AT, pixel_size, super_pixel)
    code = run_viewer(
        session,
        title="liveloc" if path is None else f"{path.resolve().name} - liveloc",
        address=str(path) if path is not None else connect or LOCALIZATIONS_AT,
        source=path or _session_of(folder),
        screenshot=screenshot,
        exit_after_end=not keep,
        save_folder=folder,
        report=report,
    )
    if remarks := getattr(session, "remarks", ""):
        say(remarks)
    raise typer.Exit(code)


def _session_of(folder: Path | None) -> Path | None:
    """Return the folder that pictures go to if that is the session's own."""
    if folder is not None and SessionFolder(folder).settings.exists():
        return folder
    return None


def _session_view(
    path: Path | None, endpoint: str, pixel_size: float | None, super_pixel: float
) -> SessionView:
    if path is None:
        from .sessions.live import LiveSession

        key = SessionKey.from_environment(VIEWING_KEY)
        return LiveSession.connect(endpoint, super_pixel_nm=super_pixel, key=key)
    from .sessions.opened import open_session

    if pixel_size is not None:
        check_pixel_size(pixel_size, "--pixel-size")
    return open_session(path, pixel_size_nm=pixel_size, super_pixel_nm=super_pixel)


def render(
    view_file: Annotated[
        Path,
        typer.Argument(
            metavar="VIEW.yaml", help="Saved by the viewer or written by hand."
        ),
    ],
    out: Annotated[
        Path, typer.Option(help="Picture: .png, .tif (32 bit) or .ome.tif.")
    ],
) -> None:
    """Draw the picture of a saved view again, without a window.

    Example: liveloc render view.yaml --out figure.png
    """
    from .view_file import View
    from .views.document_sheet import render_view

    with waiting("drawing"):
        remarks = render_view(View.load(view_file), out)
    if remarks:
        say(remarks)
    say(f"picture in {out}")


@bench.command("view")
def bench_view(
    size: Annotated[
        list[float] | None,
        typer.Option(help="Number of localizations to redraw; may be repeated."),
    ] = None,
    peers: Annotated[
        str,
        typer.Option(
            show_default="this one",
            help="Python interpreter with picassosr and SMAPpy installed.",
        ),
    ] = sys.executable,
    json_file: JsonFile = None,
) -> None:
    """Measure the viewer's speed and memory, and compare with other programs.

    Takes some minutes and, for 1e8 localizations, 8 GB of memory and disk.

    Example: liveloc bench view --size 1e6 --size 1e7 --json view.json
    """
    from .bench.measure import measure

    sizes = sorted(int(rows) for rows in size or [1e6, 1e7, 1e8])
    report = measure(sizes, peers, say)
    text = json.dumps(report, indent=1)
    if json_file is not None:
        json_file.write_text(text, encoding="utf-8")
    say(text)
