"""The ring of frames: preallocated, received into, read in windows of three."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import numpy as np

from ..frames import FrameHeader

if TYPE_CHECKING:
    from numpy.typing import NDArray

_PIN_TIMEOUT_S = 10.0


class FrameRing:
    """Holds the latest frames of one stream, the slot given by the number.

    One thread writes (`slot`, `commit`, `put`), any thread reads. A frame is
    readable from its commit until its slot is taken for another frame; while
    a reader copies, the writer of that very slot waits.

    Parameters
    ----------
    capacity : int
        Frames held, at least 3.
    shape : tuple[int, int]
        (height, width), pixels.
    dtype : str
        ``"u1"`` or ``"u2"``, camera counts (ADU).
    """

    def __init__(
        self, capacity: int, shape: tuple[int, int], dtype: str = "u2"
    ) -> None:
        if capacity < 3:
            raise ValueError(f"a ring of {capacity} frames holds no window, needs 3")
        self.capacity = capacity
        self.shape = shape
        kind = np.dtype(dtype).newbyteorder("<")
        self._pixels: NDArray[Any] = np.empty((capacity, *shape), kind)
        self._read_only = self._pixels.view()
        self._read_only.flags.writeable = False
        # None, not -1: that would be the frame before frame 0.
        self._headers: list[FrameHeader | None] = [None] * capacity
        self._received_ns = [0] * capacity
        self._pins = [0] * capacity
        self._receiving: int | None = None
        self._released = -1
        self._unpinned = threading.Condition()

    @property
    def released(self) -> int:
        """Frames up to this one may be overwritten; -1: none."""
        return self._released

    def slot(self, seq: int) -> NDArray[Any]:
        """Return the place to receive frame `seq` into.

        What the slot held is not readable any more; the new frame is not
        readable before `commit`. Waits while a reader copies the old frame.

        Returns
        -------
        NDArray, shape (height, width)
            Writable view.

        Raises
        ------
        BufferError
            The slot still holds a frame that was not released.
        """
        with self._unpinned:
            held = self._headers[seq % self.capacity]
            if held is not None and held.seq > self._released:
                raise BufferError(
                    f"no room for frame {seq}: its slot holds frame {held.seq}, "
                    f"released are frames up to {self._released}. "
                    "Release frames sooner or take a larger ring."
                )
            return self._take(seq)

    def _take(self, seq: int) -> NDArray[Any]:
        """Empty the slot of `seq` for writing; the lock is held."""
        if seq < 0:
            raise ValueError(f"frame {seq}: frames count from 0")
        index = seq % self.capacity
        if not self._unpinned.wait_for(
            lambda: self._pins[index] == 0, timeout=_PIN_TIMEOUT_S
        ):
            raise BufferError(f"frame {seq}: a reader holds its slot for too long")
        self._headers[index] = None
        self._receiving = seq
        view: NDArray[Any] = self._pixels[index]
        return view

    def commit(self, header: FrameHeader, received_ns: int) -> None:
        """Make the frame that was received into ``slot(header.seq)`` readable."""
        with self._unpinned:
            if self._receiving != header.seq:
                raise ValueError(
                    f"frame {header.seq} was not being received, "
                    f"but {self._receiving} was: call slot({header.seq}) first"
                )
            self._receiving = None
            index = header.seq % self.capacity
            self._received_ns[index] = received_ns
            self._headers[index] = header

    def put(
        self,
        seq: int,
        pixels: NDArray[Any],
        header: FrameHeader | None = None,
        received_ns: int = 0,
    ) -> None:
        """Copy a frame in, over whatever its slot held, released or not.

        Parameters
        ----------
        seq : int
            Number of the frame.
        pixels : NDArray, shape (height, width)
            Camera counts (ADU), copied.
        header : FrameHeader, optional
            Made up from `seq` where it is not given.
        received_ns : int
            Monotonic clock at arrival.
        """
        if pixels.shape != self.shape:
            raise ValueError(
                f"frame {seq} is {pixels.shape} pixels, the ring holds {self.shape}"
            )
        with self._unpinned:
            target = self._take(seq)
        target[...] = pixels
        self.commit(
            header or FrameHeader(seq=seq, camera_frame=seq, t_ns=0), received_ns
        )

    def window(self, seq: int, out: NDArray[Any]) -> bool:
        """Copy frames seq-1, seq, seq+1 into `out` if all three are still held.

        Parameters
        ----------
        seq : int
            Centre frame, in stream sequence numbers.
        out : NDArray, shape (3, height, width)
            Filled in time order, camera counts (ADU). Untouched on False.

        Returns
        -------
        bool
            False when one of them was lost or overwritten: the caller must not
            localize this centre frame with a stale neighbour.
        """
        if out.shape != (3, *self.shape):
            raise ValueError(f"window is {out.shape}, needs {(3, *self.shape)}")
        wanted = [(seq + step, (seq + step) % self.capacity) for step in (-1, 0, 1)]
        with self._unpinned:
            if not all(self._holds(number, index) for number, index in wanted):
                return False
            for _, index in wanted:
                self._pins[index] += 1
        try:
            for plane, (_, index) in zip(out, wanted, strict=True):
                plane[...] = self._pixels[index]
        finally:
            with self._unpinned:
                for _, index in wanted:
                    self._pins[index] -= 1
                self._unpinned.notify_all()
        return True

    def _holds(self, seq: int, index: int) -> bool:
        held = self._headers[index]
        return held is not None and held.seq == seq

    def pixels(self, seq: int) -> NDArray[Any]:
        """Return a read-only view of a frame, valid until its release.

        Raises
        ------
        KeyError
            The frame is not held, or was released.
        """
        with self._unpinned:
            index = seq % self.capacity
            if seq <= self._released or not self._holds(seq, index):
                raise KeyError(f"frame {seq} is not held, or was released")
            view: NDArray[Any] = self._read_only[index]
            return view

    def header(self, seq: int) -> FrameHeader:
        """Describe a frame that is still held.

        Raises
        ------
        KeyError
            The frame is not held.
        """
        with self._unpinned:
            held = self._headers[seq % self.capacity]
        if held is None or held.seq != seq:
            raise KeyError(f"frame {seq} is not held")
        return held

    def received_ns(self, seq: int) -> int:
        """Monotonic clock at the arrival of a frame that is still held."""
        self.header(seq)
        return self._received_ns[seq % self.capacity]

    def release(self, seq: int) -> None:
        """Let frames up to `seq` be overwritten.

        They stay readable in windows until their slots are really taken.
        """
        with self._unpinned:
            self._released = max(self._released, seq)
