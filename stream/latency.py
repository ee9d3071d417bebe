"""Latency percentiles in bounded memory, however long a session runs."""

from __future__ import annotations

import math

import numpy as np

LEAST_MS = 1e-3
BINS_PER_DECADE = 100  # 2.3 % wide
DECADES = 9


class Latency:
    """A histogram of times with logarithmic bins, 1 us to 1,000 s."""

    def __init__(self) -> None:
        self._counts = np.zeros(BINS_PER_DECADE * DECADES, np.int64)

    def add(self, ms: float) -> None:
        """Count one time, milliseconds."""
        place = BINS_PER_DECADE * math.log10(max(ms, LEAST_MS) / LEAST_MS)
        self._counts[min(int(place), len(self._counts) - 1)] += 1

    def percentile(self, percent: float) -> float:
        """Return the upper edge of the bin that holds `percent`; 0 without times."""
        total = int(self._counts.sum())
        if not total:
            return 0.0
        needed = math.ceil(total * percent / 100)
        place = int(np.searchsorted(np.cumsum(self._counts), max(needed, 1)))
        return float(LEAST_MS * 10.0 ** ((place + 1) / BINS_PER_DECADE))

    def as_dict(self) -> dict[str, float]:
        """Return p50, p95 and p99 in milliseconds."""
        return {
            name: round(self.percentile(value), 3)
            for name, value in (("p50", 50), ("p95", 95), ("p99", 99))
        }
