"""What the viewer costs: accumulation, memory, redraws, beside other programs.

The sample is made up: filaments in a field of 40 x 40 um, 20 nm to a super-pixel, so
2000 x 2000 of them. A redraw is a live one: 1,000 rows have come since the last, spread
over the field, and the whole field is on screen.
"""

from __future__ import annotations

import gc
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from liveloc.stream.errors import SettingsError
from liveloc.stream.localizations import Localizations, empty
from liveloc.stream.session.processes import PYTHON

from ..data.document import Document
from ..image.reconstruction import Reconstruction
from ..image.viewport import Viewport

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..views.scene import Scene

FIELD_NM = 40_000.0
CAMERA_PIXEL_NM = 100.0
SUPER_PIXEL_NM = 20.0
CANVAS = 1000  # pixels a side
FILAMENTS = 120
PIECE = 2**20  # rows made at once
ACCUMULATED = 10_000_000
PEERS_ROWS = 10_000_000
LIVE_ROWS = 1_000  # that come between two redraws
REDRAWS = 60
SMALL_UPDATES = 1_000_000
PEERS_TIMEOUT_S = 600.0
STREAM_S = 15.0  # of a stream whose rows are timed until they are on screen
METADATA = {
    "shape": str([round(FIELD_NM / CAMERA_PIXEL_NM)] * 2),
    "roi_origin": "[0, 0]",
    "pixel_size_nm": str(CAMERA_PIXEL_NM),
}


def measure(
    sizes: list[int], peers_python: str, progress: Callable[[str], None]
) -> dict[str, Any]:
    """Measure everything, the largest table last.

    Parameters
    ----------
    sizes : list[int]
        Rows in the tables that are redrawn, growing.
    peers_python : str
        Interpreter that has Picasso and SMAPpy, or lacks them.
    progress : callable
        Called with a line before each step.

    Raises
    ------
    SettingsError
        No display with OpenGL, needed for the redraws.
    """
    sample = Sample(seed=1)
    progress("accumulating")
    report: dict[str, Any] = _accumulation(sample)
    progress("a million small updates")
    report["small_updates"] = _small_updates(sample)
    progress("redrawing")
    report |= _redraws(sample, sizes, progress)
    progress("from published to on screen")
    report["published_to_screen_ms"] = _until_on_screen()
    progress("other programs, full field")
    report |= _beside_peers(sample, peers_python, report["redraw_ms"])
    return report


class Sample:
    """Makes localizations on filaments: as many as asked for, the same each time.

    Parameters
    ----------
    seed : int
        Of everything that is random.
    """

    def __init__(self, seed: int) -> None:
        self._rng = np.random.default_rng(seed)
        self._ends = self._rng.uniform(0.0, FIELD_NM, (FILAMENTS, 2, 2))
        self._frame = 0

    def rows(self, count: int) -> Localizations:
        """Make the next `count` rows."""
        rng, table = self._rng, empty(count)
        which = rng.integers(0, FILAMENTS, count)
        along = rng.random(count)[:, None]
        place = self._ends[which, 0] * (1 - along) + self._ends[which, 1] * along
        place += rng.normal(0.0, 12.0, place.shape)
        place = np.clip(place, 0.0, FIELD_NM - 2 * CAMERA_PIXEL_NM)
        table["x_nm"], table["y_nm"] = place.T
        table["z_nm"] = 400.0 * np.sin(along[:, 0] * 6.0)
        table["photons"] = rng.exponential(1000.0, count) + 200.0
        table["background"] = 20.0
        sigma = 300.0 / np.sqrt(table["photons"])
        table["x_sigma_nm"] = table["y_sigma_nm"] = sigma
        table["z_sigma_nm"] = 2 * sigma
        table["probability"] = 0.5 + 0.5 * rng.random(count)
        table["frame"] = self._frame + np.arange(count) // 100
        self._frame += -(-count // 100)
        return table


def _accumulation(sample: Sample) -> dict[str, Any]:
    """Time `Reconstruction.add` on one core, with z and without."""
    rows = [sample.rows(PIECE) for _ in range(ACCUMULATED // PIECE + 1)]
    flat = [piece.copy() for piece in rows]
    for piece in flat:
        piece["z_nm"] = 0.0
    count = sum(map(len, rows))
    with_z, without_z = _fill(rows), _fill(flat)
    return {
        "accumulate_per_s": round(count / with_z),
        "accumulate_flat_per_s": round(count / without_z),
    }


def _fill(pieces: list[Localizations]) -> float:
    """Return the processor seconds that adding takes, the better of two."""
    spent = []
    for _ in range(2):
        image = _image()
        began = time.process_time()
        for piece in pieces:
            image.add(piece)
        spent.append(time.process_time() - began)
    return min(spent)


def _small_updates(sample: Sample) -> dict[str, Any]:
    """Add ten rows a million times; say what the image and the process took."""
    image, pool = _image(), sample.rows(PIECE)
    settled: int | None = None
    began = time.process_time()
    for update in range(SMALL_UPDATES):
        first = update * 10 % (PIECE - 10)
        image.add(pool[first : first + 10])
        if update == SMALL_UPDATES // 4:
            settled = _resident_bytes()
    spent = time.process_time() - began
    return {
        "updates": SMALL_UPDATES,
        "us_each": round(spent / SMALL_UPDATES * 1e6, 2),
        "resident_growth_bytes": _grown_bytes(settled),
    }


def _redraws(
    sample: Sample, sizes: list[int], progress: Callable[[str], None]
) -> dict[str, Any]:
    """Grow one table and redraw it at each size, on the graphics there are."""
    from ..display import display_available

    works, reason = display_available()
    if not works:
        raise SettingsError(f"bench view: {reason}")
    from PySide6.QtWidgets import QApplication

    from ..window.canvas.gl_painter import GlPainter

    application = QApplication.instance() or QApplication(sys.argv[:1])
    painter = GlPainter()
    gc.collect()
    before = _resident_bytes()
    report: dict[str, Any] = {"renderer": painter.renderer, "redraw_ms": {}}
    report |= {"redraw_p95_ms": {}, "redraw_panned_ms": {}}
    # Whole rows go to a temporary file beside, as in a session: 46 bytes each.
    with Document(METADATA, super_pixel_nm=SUPER_PIXEL_NM) as document:
        for size in sizes:
            while len(document.store) < size:
                document.add(sample.rows(min(PIECE, size - len(document.store))))
            live = _time_redraws(painter, document, sample, live=True)
            panned = _time_redraws(painter, document, sample, live=False)
            name = f"{size:.0e}".replace("+0", "")
            report["redraw_ms"][name] = round(float(np.median(live)), 2)
            report["redraw_p95_ms"][name] = round(float(np.percentile(live, 95)), 2)
            report["redraw_panned_ms"][name] = round(float(np.median(panned)), 2)
            progress(f"{name}: {report['redraw_ms'][name]} ms a redraw")
        gc.collect()
        count = len(document.store)
        report["bytes_per_localization"] = round(document.store.nbytes / count, 2)
        report["resident_growth_bytes"] = _grown_bytes(before)
    painter.close()
    application.processEvents()
    return report


def _time_redraws(
    painter: Any, document: Document, sample: Sample, *, live: bool
) -> list[float]:
    """Redraw again and again; give the milliseconds of each, pixels in hand."""
    pixel_nm = FIELD_NM / CANVAS
    spent = []
    for number in range(REDRAWS):
        shift = 0.0
        if live:
            document.add(sample.rows(LIVE_ROWS))
        else:
            shift = (number % 7 + 1) * pixel_nm
        viewport = Viewport(
            left_nm=document.rect[0] + shift,
            top_nm=document.rect[2] + shift,
            pixel_nm=pixel_nm,
            shape=(CANVAS, CANVAS),
        )
        began = time.perf_counter()
        painter.paint(_scene(document, viewport))  # reads back: nothing is left to do
        spent.append((time.perf_counter() - began) * 1e3)
    return spent[5:]  # the first ones make textures and compile


def _scene(document: Document, viewport: Viewport) -> Scene:
    from ..views.scene import Colours, Scene

    colours = Colours(limit=50.0, depth_range_nm=(-400.0, 400.0), table_name="turbo")
    return Scene(viewport=viewport, document=document, colours=colours)


def _until_on_screen() -> dict[str, float]:
    """Time the rows of a stream from another process until they are on screen.

    100 publications a second, in a real window of its usual size.
    """
    from PySide6.QtCore import QTimer
    from PySide6.QtWidgets import QApplication

    from ..sessions.live import LiveSession
    from ..window.main_window import ViewerWindow

    application = QApplication.instance() or QApplication(sys.argv[:1])
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        endpoint = f"tcp://127.0.0.1:{probe.getsockname()[1]}"
    stream = "liveloc.viewer.bench.publisher"
    child = subprocess.Popen([*PYTHON, "-m", stream, endpoint, str(STREAM_S)])
    session = LiveSession.connect(endpoint)
    window = ViewerWindow(session, address=endpoint)
    try:
        window.show()
        QTimer.singleShot(round(STREAM_S * 1e3), application.quit)
        application.exec()
        return dict(window.screen_latency.as_dict())
    finally:
        window.close()
        window.deleteLater()
        child.terminate()
        child.wait()


def _beside_peers(
    sample: Sample, python: str, redraw_ms: dict[str, float]
) -> dict[str, Any]:
    """Have as many localizations rendered by others, whole field.

    Compared is what each program does by default when its whole field is to be shown
    again, and what only counting costs it.
    """
    rows = sample.rows(PEERS_ROWS)
    image = _image()
    began = time.perf_counter()
    image.add(rows)
    whole_s = time.perf_counter() - began
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "rows.npy")
        half = CAMERA_PIXEL_NM / 2
        columns = (rows["x_nm"] + half, rows["y_nm"] + half, rows["x_sigma_nm"])
        np.save(path, np.stack(columns).astype(np.float32))
        del rows, columns
        peers = _run_peers(python, path)
    redraw_s = redraw_ms.get("1e7", 0.0) / 1e3

    def ratio(peer: dict[str, Any] | None, kind: str) -> float | None:
        if peer is None or not redraw_s:
            return None
        return round(float(peer[kind]) / redraw_s, 1)

    ratios = {
        f"full_field_speedup{name}": {n: ratio(p, kind) for n, p in peers.items()}
        for name, kind in (
            ("", "default_s"),
            ("_counts", "counts_s"),
            ("_gaussians", "gaussians_s"),
        )
    }
    return {**ratios, "peers": peers, "accumulate_1e7_s": round(whole_s, 3)}


def _run_peers(python: str, path: Path) -> dict[str, Any]:
    """Run the peers' renders in an interpreter of their own."""
    script = Path(__file__).with_name("peers.py")
    field = [str(FIELD_NM), str(SUPER_PIXEL_NM)]
    try:
        child = subprocess.run(
            [python, "-P", str(script), str(path), *field],
            capture_output=True,
            text=True,
            timeout=PEERS_TIMEOUT_S,
            check=True,
        )
        timed: dict[str, Any] = json.loads(child.stdout.strip().splitlines()[-1])
    except (OSError, subprocess.SubprocessError, ValueError, IndexError) as error:
        words = str(getattr(error, "stderr", "") or error).strip()[-300:]
        raise SettingsError(
            f"bench view: {python} could not time other programs: {words}"
        ) from error
    return timed


def _image() -> Reconstruction:
    return Reconstruction.from_metadata(METADATA, super_pixel_nm=SUPER_PIXEL_NM)


def _resident_bytes() -> int | None:
    """Return the memory of this process that is in use now; None where not known."""
    if sys.platform != "linux":
        return None
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def _grown_bytes(before: int | None) -> int | None:
    now = _resident_bytes()
    return None if now is None or before is None else now - before
