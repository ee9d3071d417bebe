"""Work that takes seconds, beside the window: exports, drift, statistics."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from PySide6.QtCore import QObject, Signal

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a job.

    Attributes
    ----------
    name : str
        Of the job.
    result : Any
        What it gave, None where it failed.
    error : Exception or None
        Why it failed.
    """

    name: str
    result: Any
    error: Exception | None


class Jobs(QObject):
    """Runs jobs in threads of their own, one of each name at a time.

    Attributes
    ----------
    done : Signal(object)
        `Outcome` of a job, in the thread of the window.
    """

    done = Signal(object)
    _ended = Signal(object)

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._threads: dict[str, threading.Thread] = {}
        self._ended.connect(self._finish)  # queued: threads emit it

    def busy(self, name: str) -> bool:
        """Return whether a job of this name runs."""
        return name in self._threads

    def start(self, name: str, work: Callable[[], Any]) -> bool:
        """Run `work`; False, and nothing done, while one of the name runs."""
        if self.busy(name):
            return False

        def run() -> None:
            try:
                outcome = Outcome(name, work(), None)
            except Exception as error:
                outcome = Outcome(name, None, error)
            self._ended.emit(outcome)

        # Not a daemon: a file that is being written is finished before the end.
        thread = threading.Thread(target=run, name=f"viewer {name}")
        self._threads[name] = thread
        thread.start()
        return True

    def close(self) -> None:
        """Wait for what runs. Idempotent."""
        for thread in list(self._threads.values()):
            thread.join()
        self._threads.clear()

    def _finish(self, outcome: Outcome) -> None:
        thread = self._threads.pop(outcome.name, None)
        if thread is not None:
            thread.join()
            self.done.emit(outcome)
