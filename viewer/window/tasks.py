"""What takes seconds and is done beside the window: files, drift, statistics."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from PySide6.QtCore import QObject, Signal

from liveloc.stream.errors import LivelocError
from liveloc.stream.session.target_file import PRESENT, write_target

from ..data.drift import estimate_drift
from ..data.region import region_statistics
from .jobs import Jobs
from .saving import KINDS, unused

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from ..views.controller import Controller
    from .jobs import Outcome

REGION_S = 1.0  # from statistics to statistics of a region that grows


class Tasks(QObject):
    """Starts them and says what became of them.

    Attributes
    ----------
    said : Signal(str)
        A line for the user.
    measured : Signal(object)
        `RegionStatistics` of the region chosen now.
    folder : Path
        Where files go without a path of their own.
    """

    said = Signal(str)
    measured = Signal(object)

    def __init__(self, controller: Controller, folder: Path, parent: QObject) -> None:
        super().__init__(parent)
        self._controller = controller
        self.folder = folder
        self._measured_s = -10.0  # monotonic
        self._measured_for: tuple[Any, ...] = ()
        self._jobs = Jobs(self)
        self._jobs.done.connect(self._take)

    def save(
        self,
        kind: str,
        write: Callable[[Path], object] | None,
        path: Path | None = None,
    ) -> None:
        """Write a file; `write` is None where there is nothing to write yet."""
        if write is None:
            self.said.emit("Nothing to save yet")
            return
        target = path or unused(self.folder, kind)

        def job() -> Path:
            write(target)
            return target

        started = self._jobs.start(kind, job)
        verb = "Saving the" if started else "Still saving the previous"
        self.said.emit(f"{verb} {kind} ...")

    def toggle_drift(self) -> None:
        """Correct drift, estimated first if need be, or no longer."""
        said, document = self._controller.drop_drift(), self._controller.document
        if said is not None or document is None:
            self.said.emit(said or "Nothing to correct yet")
        elif self._jobs.start("drift", lambda: (document, estimate_drift(document))):
            self.said.emit("Estimating drift ...")

    def hold_density(self, session: Path | None) -> None:
        """Request that the bridge of a running session hold its present density."""
        if session is None:
            self.said.emit("Only available while the session is running")
            return
        try:
            write_target(session, PRESENT, origin="viewer")
        except LivelocError as error:
            self.said.emit(str(error))
        else:
            self.said.emit("Requested: hold the current density")

    def measure_region(self) -> None:
        """Measure the region again when there is something new, now and then."""
        document, region = self._controller.document, self._controller.region
        now = time.monotonic()
        if document is None or region is None:
            self._measured_for = ()
            return
        wanted = (id(document), document.revision, region)
        same_region = self._measured_for[2:] == (region,)
        if wanted == self._measured_for:
            return
        if same_region and now - self._measured_s < REGION_S:
            return
        if self._jobs.start(
            "region", lambda: (region, region_statistics(document, region))
        ):
            self._measured_s, self._measured_for = now, wanted

    def close(self) -> None:
        """Wait for what runs: a file is written to its end. Idempotent."""
        self._jobs.close()

    def _take(self, outcome: Outcome) -> None:
        if outcome.error is not None:
            failed = "Not saved: " if outcome.name in KINDS else ""
            self.said.emit(f"{failed}{outcome.error}")
        elif outcome.name == "drift":
            of, drift = outcome.result
            document = self._controller.document
            if document is not None and document is of:
                document.correct(drift)
                across = max(float(abs(drift.x_nm).max()), float(abs(drift.y_nm).max()))
                self.said.emit(f"Drift corrected: up to {across:.0f} nm")
        elif outcome.name == "region":
            region, statistics = outcome.result
            if region == self._controller.region:
                self.measured.emit(statistics)
        else:
            self.said.emit(f"Saved {outcome.result}")
