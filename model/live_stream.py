"""A stream that the engine localizes, and its measurements."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from liveloc.stream.latency import Latency
from liveloc.stream.preview import PreviewTaker

if TYPE_CHECKING:
    from pathlib import Path

    from liveloc.stream.density import BlockDensity
    from liveloc.stream.frames import StreamStart
    from liveloc.stream.transport.receiver import Arrived

    from .camera_check import CameraCheck
    from .density_blocks import DensityBlocks
    from .localizer import Localized, Localizer
    from .results import Results


@dataclass(slots=True)
class LiveStream:
    """A stream that is being localized: its files, its localizer, its measurements."""

    start: StreamStart
    folder: Path
    results: Results
    localizer: Localizer
    density: DensityBlocks
    camera: CameraCheck
    previews: PreviewTaker = field(default_factory=PreviewTaker)
    latency: Latency = field(default_factory=Latency)
    after_neighbour: Latency = field(default_factory=Latency)
    recent_density: float = 0.0
    _arrivals: dict[int, int] = field(default_factory=dict)  # seq -> ns, not published
    _read_out: dict[int, int] = field(default_factory=dict)  # the same, bridge's clock
    _first_ns: int = 0
    _last_ns: int = 0
    _frames: int = 0
    _recent: tuple[int, int] = (0, 0)  # frames and time at the last call

    def take(self, event: Arrived) -> Localized:
        """Localize frames that arrived."""
        self._first_ns = self._first_ns or event.received_ns[0]
        seqs = [header.seq for header in event.headers]
        self._arrivals.update(zip(seqs, event.received_ns, strict=True))
        self._read_out.update({h.seq: h.t_ns for h in event.headers})
        localized = self.localizer.feed(seqs, event.pixels)
        self.camera.add(event.pixels)
        return localized

    def published(self, localized: Localized) -> BlockDensity | None:
        """Measure latencies up to now; return the density of a completed block."""
        now = self._last_ns = time.monotonic_ns()
        self._frames += len(localized.frames)
        density = self.density.add(localized, self._read_out.__getitem__)
        if density is not None:
            weight = 1 - math.exp(-density.frames / 50)
            self.recent_density += weight * (density.per_um2 - self.recent_density)
        for seq in [*localized.frames.tolist(), *localized.failed]:
            self._read_out.pop(seq, None)
            arrived = self._arrivals.pop(seq, None)
            if arrived is None:
                continue
            neighbour = self._arrivals.get(seq + 1, arrived)
            self.latency.add((now - arrived) / 1e6)
            self.after_neighbour.add((now - neighbour) / 1e6)
        return density

    @property
    def fps(self) -> float:
        """Frames per second from the first arrival to the last publication."""
        elapsed = (self._last_ns - self._first_ns) / 1e9
        return self._frames / elapsed if elapsed > 0 else 0.0

    def recent_fps(self) -> float:
        """Frames per second since the last call."""
        frames, then = self._recent
        now = time.monotonic_ns()
        self._recent = (self._frames, now)
        return (self._frames - frames) * 1e9 / (now - then) if then else 0.0
