"""A stream for the benchmark of the window: an engine that only publishes.

``python -m liveloc.viewer.bench.publisher ENDPOINT SECONDS`` publishes 100 times a
second as a field of 64 x 64 pixels has. It stands for an engine in a process of its
own.
"""

from __future__ import annotations

import sys
import time

import numpy as np

from liveloc.stream.broadcast.publisher import LocalizationPublisher
from liveloc.stream.localizations import Localizations, empty

SIDE = 64  # camera pixels
PIXEL_NM = 100.0
ROWS = 9  # of a frame
INTERVAL_S = 0.01
FIELD = {
    "shape": str([SIDE, SIDE]),
    "roi_origin": "[0, 0]",
    "pixel_size_nm": str(PIXEL_NM),
}


def main() -> None:
    """Publish until the time is over."""
    endpoint, seconds = sys.argv[1], float(sys.argv[2])
    rng, table = np.random.default_rng(1), empty(0)

    def rows(first: int, count: int) -> Localizations:
        return table[first : first + count]

    with LocalizationPublisher(endpoint, rows=rows) as publisher:
        publisher.begin(bytes(16), FIELD)
        due_s = time.monotonic()
        for frame in range(round(seconds / INTERVAL_S)):
            found = _frame(rng, frame)
            table = np.concatenate([table, found])
            publisher.publish(found)
            publisher.serve(0.0)
            due_s += INTERVAL_S
            time.sleep(max(0.0, due_s - time.monotonic()))


def _frame(rng: np.random.Generator, frame: int) -> Localizations:
    found = empty(ROWS)
    found["frame"] = frame
    edge_nm = (SIDE - 1) * PIXEL_NM
    found["x_nm"], found["y_nm"] = rng.uniform(0.0, edge_nm, (2, ROWS))
    found["z_nm"] = rng.uniform(-300.0, 300.0, ROWS)
    found["x_sigma_nm"] = found["y_sigma_nm"] = rng.uniform(5.0, 20.0, ROWS)
    found["photons"], found["background"], found["probability"] = 1000.0, 10.0, 0.9
    return found


if __name__ == "__main__":
    main()
