"""A movie on disk, whatever its format: frames by number, and what the file says."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import SettingsError, SourceError
from ..pixel_size import UNSAID, PixelSize

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from ..calibration import CameraCalibration
    from ..frames import PixelType

LARGEST_FRAME_BYTES = 1 << 28


class UnfitFrame(SourceError):
    """The pixels can be read, but they are no counts, or of another size."""


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
        Type of the pixels that `read` returns.
    length : int
        Frames.
    pixel_size : PixelSize
        With the place it was taken from, or why it was not.
    interval_ms, exposure_ms : float or None
    roi_origin : tuple[int, int]
        (x, y) of the first pixel on the full chip.
    roi_known : bool
        The file says `roi_origin`; otherwise it is (0, 0).
    calibration : CameraCalibration or None
    counts : bool
        `read` refuses what are no counts; otherwise it returns numbers as stored.
    subtract_adu : int
        What the file adds to every count, subtracted by `read`.
    remarks : tuple[str, ...]
        What a user should know before trusting the frames, such as frames that were
        planned and are not there.
    """

    path: Path
    shape: tuple[int, int]
    dtype: PixelType
    length: int
    read_frame: Callable[[int], NDArray[Any]]
    close_file: Callable[[], None]
    pixel_size: PixelSize = UNSAID
    interval_ms: float | None = None
    exposure_ms: float | None = None
    roi_origin: tuple[int, int] = (0, 0)
    roi_known: bool = False
    calibration: CameraCalibration | None = None
    counts: bool = True
    subtract_adu: int = 0
    remarks: tuple[str, ...] = ()
    _closed: bool = field(default=False, init=False)

    def __len__(self) -> int:
        return self.length

    @property
    def pixel_size_nm(self) -> float | None:
        """Edge of a pixel in the sample, nm."""
        return self.pixel_size.nm

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
        if self.subtract_adu:
            frame = frame.astype(np.int64) - self.subtract_adu
        if not self.counts:
            return np.array(frame, frame.dtype.newbyteorder("="), order="C")
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


def check_frames(movie: Movie) -> Movie:
    """Read a few frames now, so that a wrong movie is refused at once.

    A damaged frame behind the first does not matter here: the frames before it are
    good, and whoever reads it learns of it.

    Raises
    ------
    SettingsError
        The movie has no frames or none of a size, the first cannot be read, or the
        pixels are no counts.
    """
    height, width = movie.shape
    if movie.length < 1:
        raise SettingsError(f"{movie.path}: holds no frames.")
    if not height * width:
        raise SettingsError(
            f"{movie.path}: its frames have {height} rows of {width} pixels."
        )
    if height * width > LARGEST_FRAME_BYTES // 2:
        raise SettingsError(
            f"{movie.path}: its frames have {height} rows of {width} pixels, which no "
            "camera has. The file is damaged."
        )
    for index in dict.fromkeys(int(i) for i in np.linspace(0, movie.length - 1, 5)):
        try:
            movie.read(index)
        except UnfitFrame as error:
            raise SettingsError(str(error)) from None
        except SourceError as error:
            if index == 0:
                raise SettingsError(str(error)) from error
    return movie


def raw_reader(
    file: Any, offset: int, shape: tuple[int, int], dtype: np.dtype[Any]
) -> Callable[[int], NDArray[Any]]:
    """Read frames that lie one behind the other from byte `offset` on."""
    nbytes = shape[0] * shape[1] * dtype.itemsize

    def read(index: int) -> NDArray[Any]:
        file.seek(offset + index * nbytes)
        data = file.read(nbytes)
        return np.frombuffer(data, dtype).reshape(shape)

    return read


def named(names: Sequence[str], most: int = 4) -> str:
    """List names for a message: the first few, and how many more."""
    shown = ", ".join(names[:most])
    return shown + (f" and {len(names) - most} more" if len(names) > most else "")


def _counts(frame: NDArray[Any], dtype: PixelType, which: str) -> NDArray[Any]:
    """Convert pixels to camera counts.

    Raises
    ------
    UnfitFrame
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
        raise UnfitFrame(
            f"{which}: pixels are {frame.dtype.name} from {low:g} to {high:g}"
            f"{'' if whole else ' with fractions'}, but camera counts are whole "
            f"numbers from 0 to {np.iinfo(wanted).max}. Use the camera's own counts, "
            "before any background or offset was subtracted."
        )
    return frame.astype(wanted, order="C")
