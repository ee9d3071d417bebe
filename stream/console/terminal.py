"""What the user reads in the terminal while a job runs and when it has ended."""

from __future__ import annotations

import sys
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, TextIO

from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskProgressColumn,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from rich.console import RenderableType
    from rich.table import Table

    from ..report import SessionReport


class _Outliving:
    """A stream whose terminal, pipe or disk may be gone: what it refuses is lost."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        with suppress(OSError, ValueError):
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        with suppress(OSError, ValueError):
            self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def outlive_terminal() -> None:
    """Let this process go on when its terminal is closed, or its log's disk is full.

    For processes of a session, which have a laser to turn down and results to write.
    """
    if not isinstance(sys.stdout, _Outliving):
        sys.stdout, sys.stderr = _Outliving(sys.stdout), _Outliving(sys.stderr)


out = Console(highlight=False)
complaints = Console(stderr=True, highlight=False)


def say(text: str) -> None:
    """Print text as it is; the terminal breaks long lines."""
    out.print(text, markup=False, soft_wrap=True)


def show(tables: Iterable[Table]) -> None:
    """Print tables with an empty line before each; never narrower than their text."""
    for table in tables:
        out.print()
        out.print(
            table, width=max(out.width, out.measure(table).maximum), soft_wrap=True
        )


def complain(text: str) -> None:
    """Print what the user has to fix as one line."""
    complaints.print(f"[bold red]liveloc:[/] {escape(text)}", soft_wrap=True)


class _TwoLines(Progress):
    """A progress bar with words below it, which would not fit beside it."""

    more = ""

    def get_renderables(self) -> Iterator[RenderableType]:
        yield from super().get_renderables()
        if self.more:
            yield Text(self.more, no_wrap=True, overflow="ellipsis")


@contextmanager
def progress_bar(what: str, total: int) -> Iterator[Callable[..., None]]:
    """Show frames, rate, time left and localizations while a job runs.

    Yields
    ------
    callable
        ``advance(frames, found, more="")``: `more` is shown below, as it is.
    """
    columns = (
        TextColumn(what),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("frames  {task.fields[rate]:.0f}/s"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[found]} localizations"),
    )
    with _TwoLines(*columns, console=out, transient=True) as bar:
        task = bar.add_task(what, total=total or None, rate=0.0, found=0)

        def advance(frames: int, found: int, more: str = "") -> None:
            rate = bar.tasks[task].speed or 0.0
            bar.more = more
            bar.update(task, completed=frames, found=found, rate=rate)

        yield advance


@contextmanager
def reading_bar() -> Iterator[Callable[[int, int], None]]:
    """Show how many of all frames are read, and the time left."""
    columns = (
        TextColumn("reading"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("frames  {task.fields[rate]:.0f}/s"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=out, transient=True) as bar:
        task = bar.add_task("reading", total=None, rate=0.0)

        def advance(done: int, total: int) -> None:
            rate = bar.tasks[task].speed or 0.0
            bar.update(task, completed=done, total=total, rate=rate)

        yield advance


@contextmanager
def waiting(what: str) -> Iterator[Callable[[str], None]]:
    """Show what goes on, and how far it is in words, when its length is unknown."""
    with out.status(what) as status:
        yield lambda text: status.update(f"{what}: {text}")


@contextmanager
def training_bar() -> Iterator[Callable[[Any], None]]:
    """Show progress, rate, loss and time left of a training, and each validation."""
    columns = (
        TextColumn("training"),
        BarColumn(),
        TaskProgressColumn(),
        TextColumn("{task.fields[rate]:.0f} windows/s  loss {task.fields[loss]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=out) as bar:
        task = bar.add_task("training", total=1.0, rate=0.0, loss="-")

        def report(progress: Any) -> None:
            bar.update(
                task,
                completed=progress.done,
                rate=progress.windows_per_s,
                loss=f"{progress.loss:.2f}",
            )
            if (found := progress.validation) is not None:
                score, over = found.score, found.error_over_limit
                ratios = " / ".join(f"{value:.2f}" for value in over.values())
                say(
                    f"step {progress.step}: Jaccard {score.jaccard:.1f} %, "
                    f"RMSE {score.rmse_lateral_nm:.1f} nm lateral, "
                    f"{score.rmse_axial_nm:.1f} nm axial, "
                    f"E_3D {score.efficiency_3d:.1f}; "
                    f"error over limit {ratios} in {', '.join(over)}"
                )

        yield report


def summary(report: SessionReport, *, with_end: bool = True) -> str:
    """Summarize a report in a few lines; `with_end`: also why it ended early."""
    frames = report["frames"]
    lost = ", ".join(f"{n} {name}" for name, n in frames["lost"].items()) or "none lost"
    lines = [
        f"{frames['localized']} of {frames['camera']} frames localized ({lost}, "
        f"{frames['unexplained']} unexplained), {report['localizations']} "
        "localizations"
    ]
    if report.get("fps") is not None:
        lines[0] += f", {report['fps']:.1f} frames/s"
    if with_end and report.get("status", "ok") != "ok":
        lines.append(f"{report['status']}: {report['reason']}".rstrip(": "))
    if "latency_ms" in report:
        latency = report["latency_ms"]
        lines.append(
            "latency "
            + ", ".join(f"{name} {value:.1f} ms" for name, value in latency.items())
            + " from arrival to publication"
        )
    if accuracy := report.get("accuracy"):
        lines.append(
            f"against the truth: Jaccard {accuracy['jaccard']:.1f} %, RMSE "
            f"{accuracy['rmse_lateral_nm']:.1f} nm lateral, "
            f"{accuracy['rmse_axial_nm']:.1f} nm axial"
        )
    if feedback := report.get("feedback"):
        lines += _of_feedback(feedback)
    if alarms := report.get("alarms"):
        number = f"{len(alarms)} alarms" if len(alarms) > 1 else "1 alarm"
        lines.append(f"{number}, with the time in report.html")
    lines.append(f"results in {report['session']}")
    return "\n".join(lines)


def _of_feedback(feedback: dict[str, Any]) -> list[str]:
    """Summarize how the density was held, and which rule ended the session."""
    lines = []
    if feedback.get("settled_after_frames") is not None:
        took = feedback["frame_to_laser_ms"]
        lines.append(
            f"density held at {feedback['target_per_um2']:g} per um2 by law "
            f"{feedback['law']}: settled after {feedback['settled_after_frames']} "
            f"frames, then {100 * feedback['within_10_percent_fraction']:.0f} % of the "
            f"means over 50 frames within 10 %; frame to laser p50 {took['p50']:.0f} "
            f"ms, p99 {took['p99']:.0f} ms"
        )
    elif feedback.get("target_per_um2"):
        lines.append(
            f"target of {feedback['target_per_um2']:g} emitters per um2 never reached"
        )
    if feedback.get("stopped_by"):
        lines.append(f"ended by stop rule {feedback['stopped_by']}")
    return lines
