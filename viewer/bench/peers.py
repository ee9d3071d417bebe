"""Full-field renders by other programs, timed by whichever Python has them.

Run as a script, in a process of its own and by any interpreter: it imports nothing of
this package. ``python peers.py ROWS.npy FIELD_NM PIXEL_NM`` prints one JSON
object: seconds per program and kind of render, null where a program is not installed.
"""

from __future__ import annotations

import json
import sys
import time
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

CAMERA_PIXEL_NM = 100.0
REPEATS = 3  # after one run that does not count: compilers and caches


def main() -> None:
    """Time every program there is, say it on standard output."""
    rows: NDArray[np.float32] = np.load(sys.argv[1])  # (3, n): x, y, sigma in nm
    field_nm, pixel_nm = float(sys.argv[2]), float(sys.argv[3])
    timed: dict[str, Any] = {}
    for name, time_it in (("picasso", _picasso), ("smappy", _smappy)):
        try:
            timed[name] = time_it(rows, field_nm, pixel_nm)
        except ImportError:
            timed[name] = None
    print(json.dumps(timed))


def _picasso(
    rows: NDArray[np.float32], field_nm: float, pixel_nm: float
) -> dict[str, Any]:
    """Render with Picasso (package picassosr).

    By default it lays one Gaussian, of the median precision, over the counts.
    """
    import pandas
    from picasso import render

    x, y, sigma = (column / CAMERA_PIXEL_NM for column in rows)
    table = pandas.DataFrame(
        {"frame": np.zeros(x.size, np.uint32), "x": x, "y": y}
        | {"lpx": sigma, "lpy": sigma}
    )
    side = field_nm / CAMERA_PIXEL_NM
    info = {"Width": side, "Height": side, "Pixelsize": CAMERA_PIXEL_NM}

    def draw(blur: str | None) -> None:
        render.render(
            table,
            info,
            disp_px_size=pixel_nm,
            viewport=((0.0, 0.0), (side, side)),
            blur_method=blur,
        )

    return _seconds(
        "picassosr",
        default=lambda: draw("convolve"),
        counts=lambda: draw(None),
        gaussians=lambda: draw("gaussian"),
    )


def _smappy(
    rows: NDArray[np.float32], field_nm: float, pixel_nm: float
) -> dict[str, Any]:
    """Render with SMAPpy (package smappy-smlm), on all cores as it does by itself.

    By default each localization is a Gaussian of its own precision.
    """
    from smappy.render import FieldOfView, render, render_histogram

    x, y, sigma = rows
    view = FieldOfView.from_range((0.0, field_nm), (0.0, field_nm), pixel_nm)
    timed = _seconds(
        "smappy-smlm",
        counts=lambda: render_histogram(x, y, view),
        gaussians=lambda: render(x, y, view, sigma=sigma),
    )
    return {**timed, "default_s": timed["gaussians_s"]}


def _seconds(package: str, **draws: Callable[[], object]) -> dict[str, Any]:
    """Return the median time of each kind of render."""
    timed: dict[str, Any] = {"version": _version(package)}
    for kind, draw in draws.items():
        draw()
        spent = []
        for _ in range(REPEATS):
            began = time.perf_counter()
            draw()
            spent.append(time.perf_counter() - began)
        timed[f"{kind}_s"] = float(np.median(spent))
    return timed


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "unknown"


if __name__ == "__main__":
    main()
