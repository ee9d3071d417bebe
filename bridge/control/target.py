"""The density to hold: given, changed on schedule, measured, or requested."""

from __future__ import annotations

import logging
import math
import time
from collections import deque
from typing import TYPE_CHECKING, Any

from liveloc.stream.errors import SettingsError
from liveloc.stream.files.session_folder import SessionFolder
from liveloc.stream.session.target_file import (
    PRESENT,
    AskedTarget,
    read_target,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from liveloc.stream.session.settings import ControlSection

    from .laws.controller import Reading

LOOK_S = 0.5  # between looks at the file
LEAST_PER_UM2 = 1e-6

_log = logging.getLogger(__name__)


class TargetFile:
    """Watches for a request for another target. One thread.

    A request that makes no sense raises one alarm: when it is seen unchanged a second
    time, so that a file that is just being written raises none.

    Parameters
    ----------
    folder : Path or None
        Folder of the session; without one there are no requests.
    alarm : Callable[[str], None]
        Called with what is wrong.
    """

    def __init__(self, folder: Path | None, alarm: Callable[[str], None]) -> None:
        self._folder, self._alarm = folder, alarm
        self._done: object = None  # signature of what was dealt with
        self._odd: object = None  # of what was nonsense at the last look
        self._next_s = -math.inf

    def new_request(self, now_s: float) -> AskedTarget | None:
        """Return each request once; None if there is no new one."""
        if self._folder is None or now_s < self._next_s:
            return None
        self._next_s = now_s + LOOK_S
        seen = _signature(SessionFolder(self._folder).target)
        if seen is None or seen == self._done:
            return None
        try:
            asked = read_target(self._folder)
        except SettingsError as error:
            if seen == self._odd:
                self._done = seen
                self._alarm(f"{error} The target stays as it is.")
            self._odd = seen
            return None
        self._done = seen
        return asked


def _signature(path: Path) -> object:
    """Return what differs from one state of a file to the next; None without a file."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    except OSError as error:
        return str(error)
    return found.st_mtime_ns, found.st_size, found.st_ino


class Target:
    """The density to hold. One thread.

    Parameters
    ----------
    settings : ControlSection
        First target, and the highest that may be requested.
    folder : Path, optional
        Folder of the session, in which targets may be requested.
    uses_target : bool
        Whether the law uses its target.
    log : Callable[[dict], None], optional
        Called with every target that was requested.
    alarm : Callable[[str], None], optional
        Called with what cannot be held.

    Attributes
    ----------
    per_um2 : float
        The target; 0 while it is not known.
    since_frame : int
        From when on it holds.
    """

    def __init__(
        self,
        settings: ControlSection,
        *,
        folder: Path | None = None,
        uses_target: bool = True,
        log: Callable[[dict[str, Any]], None] | None = None,
        alarm: Callable[[str], None] | None = None,
    ) -> None:
        given = settings.target_per_um2
        self._settle_frames = settings.settle_frames
        self._highest, self._law = settings.highest_target_per_um2, settings.law
        self._measuring = given == PRESENT
        self._uses_target = uses_target
        self._log = log or (lambda line: None)
        self._alarm = alarm or _log.warning
        self._file = TargetFile(folder, self._alarm)
        self._later: list[tuple[int, float]] = []
        self.per_um2, self.since_frame = 0.0, 0
        if isinstance(given, list):
            self._later = sorted(given)
            self.at(0)
        elif isinstance(given, int | float):
            self.per_um2 = float(given)
        self._seen: deque[Reading] = deque()  # of the last `settle_frames`
        self._waits: AskedTarget | None = None  # for a present density

    def at(self, frame: int) -> float:
        """Return the target from a frame on."""
        while self._later and self._later[0][0] <= frame:
            self.since_frame, self.per_um2 = self._later.pop(0)
        return self.per_um2

    def settle(self, reading: Reading) -> bool:
        """Take part in measuring the present density; True while that goes on.

        The first half of the frames is left out: the laser has just come on.
        """
        self._look(reading)
        if not self._measuring:
            return False
        first = self._settle_frames // 2
        late = [one for one in self._seen if one.last_seq >= first]
        if reading.last_seq < self._settle_frames or not late:
            return True
        self._measuring = False
        measured = min(max(_mean(late), LEAST_PER_UM2), self._highest)
        self.per_um2, self.since_frame = measured, reading.last_seq + 1
        _log.info("the present density is the target: %.3g per um2", self.per_um2)
        return True

    def apply_request(self, reading: Reading, now_s: float) -> bool:
        """Take a requested target, if there is one; True if the target changed.

        A request ends the schedule.
        """
        asked = self._file.new_request(now_s) or self._waits
        if asked is None:
            return False
        self._waits = None
        if not self._uses_target:
            self._refuse(asked, f"law {self._law} does not use a target")
            return False
        if asked.per_um2 != PRESENT:
            return self._change(asked, float(asked.per_um2), None, reading)
        if self._measuring or _frames(self._seen) < self._settle_frames // 2:
            self._waits = asked  # too few to say
            return False
        frames = [self._seen[0].first_seq, self._seen[-1].last_seq]
        return self._change(asked, _mean(self._seen), frames, reading)

    def _look(self, reading: Reading) -> None:
        """Keep what was measured of late."""
        if self._seen and reading.last_seq <= self._seen[-1].last_seq:
            self._seen.clear()  # another stream
        usable = math.isfinite(reading.per_um2) and reading.per_um2 >= 0
        if usable and reading.frames > 0:
            self._seen.append(reading)
        oldest = reading.last_seq - self._settle_frames
        while self._seen and self._seen[0].last_seq <= oldest:
            self._seen.popleft()

    def _change(
        self,
        asked: AskedTarget,
        per_um2: float,
        frames: list[int] | None,
        reading: Reading,
    ) -> bool:
        """Take a requested target, if it is within the limits."""
        if not 0 < per_um2 <= self._highest:
            self._refuse(
                asked,
                f"{per_um2:g} per um2 is not above 0 and at most {self._highest:g} "
                "(control.highest_target_per_um2)",
            )
            return False
        before, self.per_um2 = self.per_um2, per_um2
        self.since_frame = reading.last_seq + 1
        self._measuring = False
        self._later.clear()
        self._log(
            {
                "kind": "target",
                "t_ns": time.monotonic_ns(),
                "asked": asked.per_um2,
                "origin": asked.origin,
                "frames": frames,
                "since_frame": self.since_frame,
                "target_per_um2": per_um2,
                "before": before,
            }
        )
        _log.info("target %.3g per um2, requested by %r", per_um2, asked.origin)
        return True

    def _refuse(self, asked: AskedTarget, reason: str) -> None:
        who = f" by {asked.origin!r}" if asked.origin else ""
        self._alarm(
            f"target {asked.per_um2}, requested{who}, is refused: {reason}. The target "
            "stays as it is."
        )


def _frames(readings: deque[Reading]) -> int:
    return sum(one.frames for one in readings)


def _mean(readings: deque[Reading] | list[Reading]) -> float:
    """Return the mean density of all their frames."""
    frames = sum(one.frames for one in readings)
    return sum(one.per_um2 * one.frames for one in readings) / frames
