"""Opens movies for replay: TIFF stacks, .dax files and recordings of ours.

One file each. A data set that is spread over several files is refused: its
frames would have to be guessed where one of the files is missing.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import tifffile

from .errors import SettingsError, SourceError
from .input_file import regular_file
from .segments import SegmentReader

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from .calibration import CameraCalibration
    from .frames import PixelType

_TIFF_MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_MICRO = {"µm", "μm", "um", "micron", "microns", "\\u00B5m", ""}
_TO_NM = dict.fromkeys(_MICRO, 1e3) | {"nm": 1.0, "mm": 1e6, "pm": 1e-3, "m": 1e9}
_TO_MS = {"s": 1e3, "ms": 1.0, "µs": 1e-3, "us": 1e-3, "ns": 1e-6, "min": 6e4}


@dataclass(kw_only=True, eq=False)
class Movie:
    """Frames on disk, read one by one: memory for one frame, whatever the length.

    One thread reads. What the file does not say is None.

    Attributes
    ----------
    path : Path
    shape : tuple[int, int]
        (height, width) of every frame.
    dtype : {"u1", "u2"}
        As `read` gives them.
    length : int
        Frames.
    pixel_size_nm, interval_ms, exposure_ms : float or None
    roi_origin : tuple[int, int]
        (x, y) of the first pixel on the full chip.
    roi_known : bool
        The file says `roi_origin`; otherwise it is (0, 0).
    calibration : CameraCalibration or None
    """

    path: Path
    shape: tuple[int, int]
    dtype: PixelType
    length: int
    read_frame: Callable[[int], NDArray[Any]]
    close_file: Callable[[], None]
    pixel_size_nm: float | None = None
    interval_ms: float | None = None
    exposure_ms: float | None = None
    roi_origin: tuple[int, int] = (0, 0)
    roi_known: bool = False
    calibration: CameraCalibration | None = None
    _closed: bool = field(default=False, init=False)

    def __len__(self) -> int:
        return self.length

    def read(self, index: int) -> NDArray[Any]:
        """Read a frame into a new array.

        Returns
        -------
        NDArray[np.uint8] or NDArray[np.uint16], shape `shape`
            Camera counts, little endian, C order.

        Raises
        ------
        IndexError
            There is no such frame.
        SourceError
            The file is damaged there, or holds no camera counts.
        """
        if not 0 <= index < self.length:
            raise IndexError(f"frame {index} of {self.length}")
        try:
            frame = self.read_frame(index)
        except SourceError:
            raise
        except Exception as error:  # a decoder may raise anything on damaged bytes
            raise SourceError(
                f"{self.path}: frame {index} cannot be read: {error}"
            ) from error
        if frame.shape != self.shape:
            raise SourceError(
                f"{self.path}: frame {index} is {frame.shape}, the others {self.shape}."
            )
        return _counts(frame, self.dtype, f"{self.path}: frame {index}")

    def close(self) -> None:
        """Close the file. Idempotent."""
        if not self._closed:
            self._closed = True
            self.close_file()

    def __enter__(self) -> Movie:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def open_movie(path: str | Path) -> Movie:
    """Open a TIFF stack, a .dax file with its .inf, or a recording.

    Parameters
    ----------
    path : str or Path
        A file, a recording's folder, or a session that holds one.

    Raises
    ------
    SettingsError
        Missing, of another kind, colour, several channels or files, cut off, or
        pixels that are not camera counts.
    """
    path = Path(path)
    if path.is_dir():
        return _open_recording(path)
    regular_file(path, "movie")
    try:
        with path.open("rb") as file:
            beginning = file.read(4)
    except OSError as error:
        raise SettingsError(f"{path}: cannot be read: {error}") from error
    if path.suffix.lower() == ".dax":
        return _open_dax(path)
    if beginning in _TIFF_MAGIC:
        return _open_tiff(path)
    raise SettingsError(
        f"{path}: is no movie that can be read (begins with {beginning!r}). Known are "
        "TIFF (.tif, .tiff, OME, ImageJ, BigTIFF), .dax with .inf, and the folder of "
        "a recording or session. Convert other files to TIFF."
    )


def _open_recording(folder: Path) -> Movie:
    reader = SegmentReader(folder)
    start = reader.start
    return Movie(
        path=folder,
        shape=start.shape,
        dtype=start.dtype,
        length=len(reader),
        read_frame=lambda index: reader.read(index).pixels,
        close_file=reader.close,
        pixel_size_nm=start.pixel_size_nm,
        interval_ms=start.interval_ms,
        exposure_ms=start.exposure_ms,
        roi_origin=start.roi_origin,
        roi_known=True,
        calibration=start.calibration,
    )


def _open_dax(path: Path) -> Movie:
    """Open raw 16-bit frames, described by the .inf file beside them."""
    about = path.with_suffix(".inf")
    try:
        text = about.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise SettingsError(
            f"{path}: needs {about.name} beside it, which says size and byte order: "
            f"{error}"
        ) from error
    facts = dict(re.findall(r"^\s*([^=\n]+?)\s*=\s*(.*?)\s*$", text, re.MULTILINE))
    width, height = _two_numbers(facts, "frame dimensions", about)
    kind = facts.get("data type", "")
    if "16 bit" not in kind or not ("little" in kind or "big" in kind):
        raise SettingsError(
            f"{about}: data type is {kind!r}; only 16 bit integers, big or little "
            "endian, can be read."
        )
    dtype = np.dtype(">u2" if "big" in kind else "<u2")
    count = int(facts.get("number of frames", "0") or 0)
    size, frame = path.stat().st_size, width * height * 2
    if size != count * frame:
        raise SettingsError(
            f"{path}: has {size} bytes, but {about.name} says {count} frames of "
            f"{width} x {height}, which are {count * frame}. The copy is incomplete, "
            "or the .inf belongs to another file."
        )
    # Only then do x_start and y_start count the frame's own pixels.
    unbinned = re.sub(r"\s", "", facts.get("binning", "")) == "1x1"
    starts = [int(facts.get(name, "1") or 1) for name in ("x_start", "y_start")]
    file = path.open("rb")
    return Movie(
        path=path,
        shape=(height, width),
        dtype="u2",
        length=count,
        read_frame=_raw_reader(file, 0, (height, width), dtype),
        close_file=file.close,
        roi_origin=(starts[0] - 1, starts[1] - 1) if unbinned else (0, 0),
        roi_known=unbinned and "x_start" in facts and "y_start" in facts,
    )


def _two_numbers(facts: dict[str, str], name: str, about: Path) -> tuple[int, int]:
    found = re.fullmatch(r"(\d{1,6})\s*x\s*(\d{1,6})", facts.get(name, ""))
    if found is None or not int(found[1]) * int(found[2]):
        raise SettingsError(f"{about}: {name!r} is {facts.get(name)!r}, not 256 x 256.")
    return int(found[1]), int(found[2])


def _raw_reader(
    file: Any, offset: int, shape: tuple[int, int], dtype: np.dtype[Any]
) -> Callable[[int], NDArray[Any]]:
    """Read frames that lie one behind the other."""
    nbytes = shape[0] * shape[1] * dtype.itemsize

    def read(index: int) -> NDArray[Any]:
        file.seek(offset + index * nbytes)
        data = file.read(nbytes)
        return np.frombuffer(data, dtype).reshape(shape)

    return read


def _open_tiff(path: Path) -> Movie:
    try:
        tiff = tifffile.TiffFile(path)
    except Exception as error:  # tifffile raises anything on a damaged file
        raise SettingsError(
            f"{path}: is a damaged or incomplete TIFF: {error}"
        ) from error
    try:
        movie = _tiff_movie(path, tiff)
        _check_counts(movie)
    except (SettingsError, SourceError) as error:
        tiff.close()
        raise SettingsError(str(error)) from error
    except Exception as error:
        tiff.close()
        raise SettingsError(f"{path}: is a damaged TIFF: {error}") from error
    return movie


def _tiff_movie(path: Path, tiff: Any) -> Movie:
    length, shape = _tiff_frames(path, tiff)
    page = tiff.pages[0]
    stored = np.dtype(page.dtype).newbyteorder(tiff.byteorder)
    if stored.kind not in "uif":
        raise SettingsError(f"{path}: pixels are {page.dtype}, not camera counts.")
    whole = tiff.series[0].dataoffset if len(tiff.series) == 1 else None
    if whole is not None:
        _check_size(path, whole + length * shape[0] * shape[1] * stored.itemsize)
        read = _raw_reader(tiff.filehandle, whole, shape, stored)
    else:
        read = _page_reader(path, tiff, length)
    return Movie(
        path=path,
        shape=shape,
        dtype="u1" if stored == np.uint8 else "u2",
        length=length,
        read_frame=read,
        close_file=tiff.close,
        **_tiff_metadata(tiff),
    )


def _tiff_frames(path: Path, tiff: Any) -> tuple[int, tuple[int, int]]:
    """Count the frames of a stack that has one axis besides y and x."""
    _check_chain(path, tiff)
    series = tiff.series
    first = series[0]
    if any(one.is_multifile for one in series):
        raise SettingsError(
            f"{path}: is one file of an OME data set spread over several. Only single "
            "files can be read: export the movie as one TIFF stack."
        )
    page = tiff.pages[0]
    if page.samplesperpixel != 1 or page.photometric == tifffile.PHOTOMETRIC.PALETTE:
        raise SettingsError(
            f"{path}: is a colour image. Give the camera's own counts, one per pixel."
        )
    kinds = {(one.shape, str(one.dtype)) for one in series}
    axes = dict(zip(first.axes, first.shape, strict=True))
    long = {axis: n for axis, n in axes.items() if n > 1 and axis not in "YX"}
    if not first.axes.endswith("YX") or len(kinds) > 1 or (long and len(series) > 1):
        raise SettingsError(
            f"{path}: holds images of several kinds: {sorted(map(str, kinds))[:4]}. "
            "A movie is one stack of equal frames."
        )
    # Programs that were not told call time Z or even C; four channels are channels.
    if len(long) > 1 or 0 < long.get("C", 0) <= 4:
        raise SettingsError(
            f"{path}: has the axes {long} besides y and x: which is time? Save one "
            "channel and one plane as a stack with a single axis."
        )
    length = max(len(series), *long.values()) if long else len(series)
    return length, (first.shape[-2], first.shape[-1])


def _check_chain(path: Path, tiff: Any) -> None:
    """Refuse a file whose list of pages leads beyond its end."""
    pages = len(tiff.pages)  # follows the list
    at = tiff.pages.next_page_offset
    tiff.filehandle.seek(at)
    pointer = tiff.filehandle.read(tiff.tiff.offsetsize)
    if any(pointer) or len(pointer) != tiff.tiff.offsetsize:
        raise SettingsError(
            f"{path}: is cut off after {pages} pages: the list of pages goes on beyond "
            "the end of the file. Copy it again."
        )


def _check_size(path: Path, needed: int) -> None:
    size = path.stat().st_size
    if size < needed:
        raise SettingsError(
            f"{path}: is cut off: the frames need {needed} bytes, the file has {size}. "
            "Copy it again."
        )


def _page_reader(path: Path, tiff: Any, length: int) -> Callable[[int], NDArray[Any]]:
    """Read frames that are pages of their own, compressed or not."""
    single = len(tiff.series) == 1
    pages = tiff.series[0].pages if single else [s.pages[0] for s in tiff.series]
    if len(pages) != length:
        raise SettingsError(
            f"{path}: holds {length} frames in {len(pages)} pages. Save the movie with "
            "one page per frame."
        )
    last = pages[length - 1]
    if last is not None:
        ends = map(sum, zip(last.dataoffsets, last.databytecounts, strict=True))
        _check_size(path, max(ends, default=0))

    def read(index: int) -> NDArray[Any]:
        page = pages[index]
        if page is None:
            raise SourceError(f"{path}: frame {index} is listed, but not in the file.")
        return cast("NDArray[Any]", page.asarray())

    return read


def _tiff_metadata(tiff: Any) -> dict[str, Any]:
    """Collect what OME, ImageJ and Micro-Manager say of the camera."""
    found: dict[str, Any] = {}
    if tiff.is_imagej:
        found |= _imagej_metadata(tiff)
    if tiff.is_ome:
        found |= _ome_metadata(tiff.ome_metadata or "")
    tag = tiff.pages[0].tags.get("MicroManagerMetadata")
    if tag is not None:
        found |= _micromanager_metadata(tag.value)
    return found


def _imagej_metadata(tiff: Any) -> dict[str, Any]:
    about = tiff.imagej_metadata or {}
    found: dict[str, Any] = {}
    per_unit = tiff.pages[0].resolution[0]
    unit = str(about.get("unit", "pixel"))
    if unit in _TO_NM and unit and per_unit > 0:
        found["pixel_size_nm"] = _TO_NM[unit] / per_unit
    if interval := _positive(about.get("finterval")):
        found["interval_ms"] = interval * 1e3
    return found


def _ome_metadata(xml: str) -> dict[str, Any]:
    pixels = re.search(r"<(?:\w+:)?Pixels\b[^>]*>", xml)
    facts = dict(re.findall(r'(\w+)="([^"]*)"', pixels[0])) if pixels else {}
    found: dict[str, Any] = {}
    unit = facts.get("PhysicalSizeXUnit", "µm")
    if (size := _positive(facts.get("PhysicalSizeX"))) and unit in _TO_NM:
        found["pixel_size_nm"] = size * _TO_NM[unit]
    unit = facts.get("TimeIncrementUnit", "s")
    if (step := _positive(facts.get("TimeIncrement"))) and unit in _TO_MS:
        found["interval_ms"] = step * _TO_MS[unit]
    return found


def _micromanager_metadata(value: Any) -> dict[str, Any]:
    """Read the first frame's metadata; a size of 0 means not set."""
    if isinstance(value, str | bytes):
        try:
            value = json.loads(value)
        except ValueError:
            return {}
    if not isinstance(value, dict):
        return {}
    found: dict[str, Any] = {}
    if size := _positive(value.get("PixelSizeUm")):
        found["pixel_size_nm"] = size * 1e3
    if exposure := _positive(value.get("Exposure-ms")):
        found["exposure_ms"] = exposure
    corner = re.match(r"(\d{1,5})-(\d{1,5})-\d+-\d+$", str(value.get("ROI", "")))
    if corner:
        found["roi_origin"] = (int(corner[1]), int(corner[2]))
        found["roi_known"] = True
    return found


def _positive(value: Any) -> float | None:
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if 0 < number < float("inf") else None


def _check_counts(movie: Movie) -> None:
    """Look at a few frames now, so that a wrong movie is refused at once."""
    for index in np.unique(np.linspace(0, movie.length - 1, 5).astype(int)):
        movie.read(int(index))


def _counts(frame: NDArray[Any], dtype: PixelType, which: str) -> NDArray[Any]:
    """Convert pixels to camera counts.

    Raises
    ------
    SourceError
        A pixel is no whole number from 0 to 65535.
    """
    wanted = np.dtype("<" + dtype)
    if frame.dtype.kind == "u" and frame.dtype.itemsize <= wanted.itemsize:
        return np.array(frame, wanted, order="C")
    if frame.dtype.kind == "f":
        whole = bool(np.all(np.isfinite(frame))) and bool(np.all(frame % 1 == 0))
    else:
        whole = True
    low, high = float(frame.min()), float(frame.max())
    if not whole or low < 0 or high > np.iinfo(wanted).max:
        raise SourceError(
            f"{which}: pixels are {frame.dtype.name} from {low:g} to {high:g}"
            f"{'' if whole else ' with fractions'}, but camera counts are whole "
            f"numbers from 0 to {np.iinfo(wanted).max}. Give the camera's own counts, "
            "before any background or offset was subtracted."
        )
    return frame.astype(wanted, order="C")
