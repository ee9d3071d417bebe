"""The pages of one TIFF file: found, checked and read, whoever wrote them."""

from __future__ import annotations

import json
import logging
import math
import struct
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import tifffile

from ..errors import SettingsError, SourceError
from ..pixel_size import positive
from .movie import LARGEST_FRAME_BYTES, UnfitFrame, raw_reader

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    from ..frames import PixelType

MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_MOST_TAGS = 4096
_NUMBERS = (
    *("imagelength", "imagewidth", "imagedepth", "samplesperpixel", "compression"),
    *("predictor", "fillorder", "photometric", "rowsperstrip"),
    *("tilelength", "tilewidth"),
)
_log = logging.getLogger("tifffile")


@contextmanager
def quiet() -> Iterator[None]:
    """Keep tifffile's log lines off the terminal: what matters is in our errors."""
    before, _log.disabled = _log.disabled, True
    try:
        yield
    finally:
        _log.disabled = before


def plain_metadata(value: Any) -> dict[str, Any] | None:
    """Read what Micro-Manager wrote beside a frame; None if that is not readable."""
    if isinstance(value, str | bytes):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            return None
    return value if isinstance(value, dict) else None


class Pages:
    """One open TIFF file as a list of pages of one size.

    Parameters
    ----------
    path : Path

    Attributes
    ----------
    path : Path
    offsets : list[int]
        Where in the file each page begins, in the file's order.
    first : tifffile.TiffPage
    shape : tuple[int, int]
        (height, width).
    stored : np.dtype
        Type of the pixels in the file.

    Raises
    ------
    SettingsError
        No TIFF, cut off, damaged, colour, inverted, or no numbers.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        with quiet():
            try:
                self._tiff = tifffile.TiffFile(path, _multifile=False)
            except Exception as error:  # tifffile raises anything on a damaged file
                raise SettingsError(
                    f"{path}: is a damaged or incomplete TIFF: {error}"
                ) from error
            try:
                self.offsets = self._walk()
                self.first: Any = self.page(0)
                self._check_kind()
                self._check_end()
                order = self._tiff.byteorder
                self.shape = (int(self.first.imagelength), int(self.first.imagewidth))
                self.stored = np.dtype(self.first.dtype).newbyteorder(order)
            except SettingsError:
                self.close()
                raise
            except Exception as error:
                self.close()
                raise SettingsError(f"{path}: is a damaged TIFF: {error}") from error

    def __len__(self) -> int:
        return len(self.offsets)

    @property
    def size(self) -> int:
        """Bytes of the file."""
        return int(self._tiff.filehandle.size)

    @property
    def dtype(self) -> PixelType:
        """Type of the pixels that a `Movie` returns."""
        return "u1" if self.stored == np.uint8 else "u2"

    @property
    def descriptions(self) -> tuple[str, str]:
        """The texts of the first page; some programs write two."""
        return self.first.description or "", self.first.description1 or ""

    @property
    def resolution(self) -> tuple[int, tuple[float | None, float | None]]:
        """TIFF's unit of resolution, and pixels per unit along x and y."""
        x, y = (self._rational(name) for name in ("XResolution", "YResolution"))
        unit = self._value("ResolutionUnit")
        return int(unit) if isinstance(unit, int) else 1, (x, y)

    @property
    def micromanager(self) -> dict[str, Any] | None:
        """Micro-Manager's words about the first frame, if it wrote the file."""
        return self.frame_metadata(0)

    def frame_metadata(self, index: int) -> dict[str, Any] | None:
        """Return what Micro-Manager wrote beside a frame."""
        with quiet():  # tags of some length are read only now
            page = self.first if index == 0 else self.page(index)
            return plain_metadata(page.tags.valueof(51123))

    def page(self, index: int) -> Any:
        """Read the tags of a page.

        Raises
        ------
        ValueError
            A tag that describes the pixels is no number.
        """
        self._tiff.filehandle.seek(self.offsets[index])
        page = tifffile.TiffPage(self._tiff, index=index)
        for name in _NUMBERS:
            value = getattr(page, name)
            if not isinstance(value, int) or value < 0:
                raise ValueError(f"page {index}: {name} is {value!r:.40}")
        for name in ("dataoffsets", "databytecounts"):
            values = getattr(page, name)
            if not isinstance(values, tuple) or not all(
                isinstance(value, int) and value >= 0 for value in values
            ):
                raise ValueError(f"page {index}: {name} are {values!r:.40}")
        return page

    def read(self, index: int) -> NDArray[Any]:
        """Read the pixels of a page, as stored.

        Raises
        ------
        SourceError
            They are not in the file, or of another size than those of the first page.
        """
        with quiet():
            page = self.page(index)
            shape = (int(page.imagelength), int(page.imagewidth))
            stored = None if page.dtype is None else np.dtype(page.dtype)
            if (shape, stored) != (self.shape, self.stored.newbyteorder("=")):
                raise UnfitFrame(
                    f"{self.path}: holds images of several kinds: page {index} is "
                    f"{shape} of {stored}, page 0 {self.shape} of "
                    f"{self.stored.name}. A movie is one stack of equal frames."
                )
            if _is_plain(page):
                return self._read_plain(page, index)
            self._check_room(page, index)
            return cast("NDArray[Any]", page.asarray(maxworkers=1))

    def block(self, frames: int) -> Callable[[int], NDArray[Any]] | None:
        """Read `frames` frames that lie behind the first page's; None if they do not.

        Raises
        ------
        SettingsError
            The file ends before them.
        """
        if not _is_plain(self.first) or not self.first.dataoffsets:
            return None
        begin = int(self.first.dataoffsets[0])
        nbytes = self.shape[0] * self.shape[1] * self.stored.itemsize
        held = max(0, self.size - begin) // nbytes if nbytes else 0
        if held < frames:
            raise SettingsError(
                f"{self.path}: is cut off: it says that it holds {frames} frames, and "
                f"its {self.size} bytes have room for {held}. Copy it again."
            )
        return raw_reader(self._tiff.filehandle, begin, self.shape, self.stored)

    def metamorph(self) -> int | None:
        """Return the planes of a MetaMorph .stk, which are behind its only page."""
        return int(self.first.tags[33629].count) if self.first.is_stk else None

    def close(self) -> None:
        """Close the file. Idempotent."""
        self._tiff.close()

    def _walk(self) -> list[int]:
        """Follow the list of pages to its end."""
        fmt, file, size = self._tiff.tiff, self._tiff.filehandle, self.size
        found: dict[int, None] = {}
        at = fmt.offsetsize  # byte 4 of a TIFF, byte 8 of a BigTIFF
        while True:
            file.seek(at)
            pointer = file.read(fmt.offsetsize)
            if len(pointer) < fmt.offsetsize:
                raise self._cut(found)
            offset = struct.unpack(fmt.offsetformat, pointer)[0]
            if not offset:
                break
            if offset in found:
                raise SettingsError(
                    f"{self.path}: is damaged: the list of its pages runs in a circle."
                )
            file.seek(min(offset, size))
            head = file.read(fmt.tagnosize)
            if len(head) < fmt.tagnosize:
                raise self._cut(found)
            tags = struct.unpack(fmt.tagnoformat, head)[0]
            if not 0 < tags <= _MOST_TAGS:
                raise SettingsError(
                    f"{self.path}: is damaged after {len(found)} pages: the next has "
                    f"{tags} tags."
                )
            found[offset] = None
            at = offset + fmt.tagnosize + tags * fmt.tagsize
        if not found:
            raise SettingsError(f"{self.path}: is a TIFF without any image.")
        return list(found)

    def _cut(self, found: dict[int, None]) -> SettingsError:
        return SettingsError(
            f"{self.path}: is cut off after {len(found)} pages: the list of pages goes "
            "on beyond the end of the file. Copy it again."
        )

    def _check_kind(self) -> None:
        page = self.first
        if page.samplesperpixel != 1 or page.photometric == 3:  # a palette
            raise SettingsError(
                f"{self.path}: is a colour image. Use the camera's own counts, one "
                "per pixel."
            )
        if page.photometric == 0 and page.tags.valueof(262) is not None:
            raise SettingsError(
                f"{self.path}: is stored inverted (0 is white), so that its numbers "
                "may not be counts. Save it with 0 as black: in ImageJ, Image > Lookup "
                "Tables > Invert LUT, and Edit > Invert if molecules are dark then."
            )
        kind = None if page.dtype is None else np.dtype(page.dtype)
        if kind is None or kind.kind not in "uif":
            raise SettingsError(f"{self.path}: pixels are {kind}, not camera counts.")
        if page.imagedepth != 1 or len(page.shape) > 2:
            raise SettingsError(
                f"{self.path}: its pages are of shape {page.shape}. Each page must "
                "hold one image."
            )

    def _check_end(self) -> None:
        """Refuse a file that ends within its last frame."""
        if len(self.offsets) == 1:  # ImageJ's large stacks count otherwise
            return
        last = self.page(len(self.offsets) - 1)
        ends = map(sum, zip(last.dataoffsets, last.databytecounts, strict=False))
        if (end := max(ends, default=0)) > self.size:
            raise SettingsError(
                f"{self.path}: is cut off: its last frame ends at byte {end}, the file "
                f"has {self.size}. Copy it again."
            )

    def _read_plain(self, page: Any, index: int) -> NDArray[Any]:
        """Read uncompressed strips: all of them, or none."""
        height, width = self.shape
        nbytes = height * width * self.stored.itemsize
        offsets, counts = page.dataoffsets, page.databytecounts
        if len(offsets) != len(counts) or sum(counts) < nbytes:
            raise SourceError(
                f"{self.path}: frame {index} has {sum(counts)} bytes, its {height} "
                f"rows of {width} pixels need {nbytes}. The file is damaged."
            )
        file, pieces, missing = self._tiff.filehandle, [], nbytes
        for offset, count in zip(offsets, counts, strict=True):
            file.seek(min(offset, self.size))
            pieces.append(file.read(min(count, missing)))
            missing -= len(pieces[-1])
            if not missing or len(pieces[-1]) < count:
                break
        if missing:
            raise SourceError(
                f"{self.path}: frame {index} is listed, but not in the file, which is "
                "cut off. Copy it again."
            )
        data = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        return np.frombuffer(data, self.stored).reshape(self.shape)

    def _check_room(self, page: Any, index: int) -> None:
        """Refuse a compressed page that would take more memory than a frame can."""
        height, width = self.shape
        edges = page.tilelength * page.tilewidth if page.is_tiled else 0
        strips = math.ceil(height / max(1, min(page.rowsperstrip or height, height)))
        ends = map(sum, zip(page.dataoffsets, page.databytecounts, strict=False))
        if (
            max(height * width, edges) * self.stored.itemsize > LARGEST_FRAME_BYTES
            or len(page.dataoffsets) != len(page.databytecounts)
            or not page.dataoffsets
            or (not page.is_tiled and len(page.dataoffsets) < strips)
            or min(page.databytecounts) <= 0
            or max(ends) > self.size
        ):
            raise SourceError(
                f"{self.path}: frame {index} is listed, but its pixels are not in the "
                "file, which is damaged or cut off. Copy it again."
            )

    def _value(self, name: str) -> Any:
        with quiet():
            tag = self.first.tags.get(name)
            return None if tag is None else tag.value

    def _rational(self, name: str) -> float | None:
        value = self._value(name)
        if not isinstance(value, tuple) or len(value) != 2:
            return positive(value)
        above, below = (positive(each) for each in value)
        return above / below if above and below else None


def _is_plain(page: Any) -> bool:
    """Whether the strips hold the pixels as numbers, one behind the other."""
    return (
        page.compression == 1
        and not page.is_tiled
        and page.predictor == 1
        and page.fillorder == 1
        and page.bitspersample in (8, 16, 32, 64)
    )
