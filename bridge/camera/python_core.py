"""A core for Python cameras that loses no frame at any frame size.

pymmcore-plus keeps the frames of Python cameras in one pool of bytes
(``SequenceBuffer``). In version 0.18 that pool stops or empties itself at its end
when the bytes of a frame do not divide it, and its byte count is changed outside
its lock. Everything here that rests on private parts of pymmcore-plus is in this
module; ``tests/bridge/camera/test_python_core.py`` shows when it is no longer needed.
"""

from __future__ import annotations

import atexit
import contextlib
import logging
import os
import sys
import threading
import weakref
from collections import deque
from typing import TYPE_CHECKING, Any

import numpy as np
from pymmcore import CMMCore
from pymmcore_plus.experimental.unicore import UniMMCore
from pymmcore_plus.experimental.unicore.core._unicore import BufferOverflowStop

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from numpy.typing import DTypeLike, NDArray

MIB = 1024 * 1024
DEFAULT_BUFFER_MIB = 256
UNLOAD_S = 10.0  # longest that the drivers may take to unload

_log = logging.getLogger(__name__)
_left: list[CMMCore] = []  # cores with a driver that hangs


class FrameExactBuffer:
    """Frames in the order they came, each in its own memory, bounded in bytes.

    Has the methods of pymmcore-plus's ``SequenceBuffer``, so that a ``UniMMCore``
    can use it. One producer and one consumer thread.

    Parameters
    ----------
    size_mb : float
        Most mebibytes of pixels held.
    overwrite_on_overflow : bool
        When full, True drops the oldest frame, False raises BufferError in
        `acquire_slot`. Both set `overflow_occurred`.
    """

    def __init__(self, size_mb: float, *, overwrite_on_overflow: bool = True) -> None:
        self._size_bytes = int(size_mb * MIB)
        self._overwrite = overwrite_on_overflow
        self._lock = threading.Lock()
        self._frames: deque[tuple[NDArray[Any], Mapping[str, Any]]] = deque()
        self._pending: deque[NDArray[Any]] = deque()
        self._used_bytes = 0
        self._overflow = False

    def acquire_slot(
        self, shape: Sequence[int], dtype: DTypeLike = np.uint8
    ) -> NDArray[Any]:
        """Return an array for the producer to fill; `finalize_slot` publishes it.

        Raises
        ------
        BufferError
            Full and not overwriting, or the frame is larger than the buffer.
        """
        array: NDArray[Any] = np.empty(tuple(shape), dtype)
        with self._lock:
            if array.nbytes > self._size_bytes:
                raise BufferError(
                    f"a frame of {array.nbytes} bytes is larger than the buffer of "
                    f"{self._size_bytes} bytes: set a larger circular buffer."
                )
            while self._used_bytes + array.nbytes > self._size_bytes:
                self._overflow = True
                if not (self._overwrite and self._frames):
                    raise BufferError("the circular buffer is full.")
                self._used_bytes -= self._frames.popleft()[0].nbytes
            self._used_bytes += array.nbytes
            self._pending.append(array)
        return array

    def finalize_slot(self, metadata: Mapping[str, Any] | None = None) -> None:
        """Publish the oldest array taken with `acquire_slot`."""
        with self._lock:
            if not self._pending:
                raise RuntimeError("finalize_slot without acquire_slot.")
            self._frames.append((self._pending.popleft(), metadata or {}))

    def insert_data(
        self, data: NDArray[Any], metadata: Mapping[str, Any] | None = None
    ) -> None:
        """Copy one frame in and publish it."""
        self.acquire_slot(data.shape, data.dtype)[...] = data
        self.finalize_slot(metadata)

    def pop_next(
        self, *, out: NDArray[Any] | None = None
    ) -> tuple[NDArray[Any], Mapping[str, Any]] | None:
        """Take the oldest frame out, None when empty.

        The array belongs to the caller: nothing writes to it again.
        """
        with self._lock:
            if not self._frames:
                return None
            array, metadata = self._frames.popleft()
            self._used_bytes -= array.nbytes
        if out is not None:
            out[...] = array
            return out, metadata
        return array, metadata

    def peek_last(
        self, *, out: NDArray[Any] | None = None
    ) -> tuple[NDArray[Any], Mapping[str, Any]] | None:
        """Copy the newest frame without taking it out, None when empty."""
        return self.peek_nth_from_last(0, out=out)

    def peek_nth_from_last(
        self, n: int, *, out: NDArray[Any] | None = None
    ) -> tuple[NDArray[Any], Mapping[str, Any]] | None:
        """Copy the frame `n` before the newest, None when there is none."""
        with self._lock:
            if not 0 <= n < len(self._frames):
                return None
            array, metadata = self._frames[-1 - n]
        if out is not None:
            out[...] = array
            return out, dict(metadata)
        return array.copy(), dict(metadata)

    def clear(self) -> None:
        """Drop everything and forget an overflow."""
        with self._lock:
            self._frames.clear()
            self._pending.clear()
            self._used_bytes = 0
            self._overflow = False

    def __len__(self) -> int:
        return len(self._frames)

    @property
    def overflow_occurred(self) -> bool:
        """Whether a frame found no room since the last `clear`."""
        return self._overflow

    @property
    def overwrite_on_overflow(self) -> bool:
        """What happens when full: see the class."""
        return self._overwrite

    @overwrite_on_overflow.setter
    def overwrite_on_overflow(self, value: bool) -> None:
        with self._lock:
            if self._used_bytes:
                raise RuntimeError("the policy of a buffer that holds frames is fixed.")
            self._overwrite = value

    @property
    def size_bytes(self) -> int:
        """Most bytes of pixels held."""
        return self._size_bytes

    @property
    def size_mb(self) -> float:
        """Most mebibytes of pixels held."""
        return self._size_bytes / MIB

    @property
    def used_bytes(self) -> int:
        """Bytes of pixels held now."""
        return self._used_bytes

    @property
    def free_bytes(self) -> int:
        """Bytes left."""
        return self._size_bytes - self._used_bytes

    @property
    def free_mb(self) -> float:
        """Mebibytes left."""
        return self.free_bytes / MIB


class FrameExactCore(UniMMCore):  # type: ignore[misc]
    """A ``UniMMCore`` whose Python cameras write to a `FrameExactBuffer`.

    C++ cameras keep the circular buffer of Micro-Manager's own core. A Python camera
    with a method ``stop_sequence`` is called when its sequence is to end: it need not
    deliver another frame to notice.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._seq_buffer = FrameExactBuffer(DEFAULT_BUFFER_MIB)
        self._running: _RunningCamera | None = None

    @property
    def sequence_error(self) -> str:
        """What a Python camera raised in its present or last sequence, or nothing."""
        return self._running.error if self._running is not None else ""

    def _start_sequence(
        self, cam: Any, n_images: int | None, stop_on_overflow: bool
    ) -> None:
        self._running = _RunningCamera(cam)
        super()._start_sequence(self._running, n_images, stop_on_overflow)

    def _stop_acquisition_thread(self, timeout: float | None = 2) -> None:
        if self._acquisition_thread is not None and self._running is not None:
            self._running.ask_to_stop()
        super()._stop_acquisition_thread(timeout)

    def setCircularBufferMemoryFootprint(self, sizeMB: float) -> None:
        """Set the size of the current camera's buffer, mebibytes.

        Stops a running acquisition of a Python camera and drops its frames.
        """
        if not self.isPyDevice(self.getCameraDevice()):
            super().setCircularBufferMemoryFootprint(sizeMB)
            return
        if sizeMB <= 0:
            raise ValueError(f"a buffer of {sizeMB} MiB holds no frame.")
        if self.isSequenceRunning():
            self.stopSequenceAcquisition()
        self._seq_buffer = FrameExactBuffer(sizeMB)


class _RunningCamera:
    """A Python camera whose errors end its sequence and are kept.

    Otherwise they would end the core's thread and be printed, and the reader of the
    frames could not know why there are no more.
    """

    def __init__(self, camera: Any) -> None:
        self._camera = camera
        self.error = ""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._camera, name)

    def start_sequence(
        self, n: int | None, get_buffer: Callable[..., NDArray[Any]]
    ) -> Iterator[Mapping[str, Any]]:
        """Start the camera; see ``CameraDevice``."""
        return self._frames(self._camera.start_sequence(n, get_buffer))

    def _frames(
        self, frames: Iterator[Mapping[str, Any]]
    ) -> Iterator[Mapping[str, Any]]:
        """Pass frames on until there are no more, for whatever reason."""
        try:
            yield from frames
        except (BufferOverflowStop, BufferError):
            raise  # for the core
        except Exception as error:  # cameras raise what they like
            self.error = " ".join(str(error).split()) or repr(error)

    def ask_to_stop(self) -> None:
        """Call the camera's ``stop_sequence``, if it has one."""
        stop = getattr(self._camera, "stop_sequence", None)
        if callable(stop):
            stop()


class PatientMDA:
    """Lets pymmcore-plus fetch the last frame of every hardware-timed part.

    Where it fetches frames it asks for frames first and then whether the camera runs,
    and leaves a frame behind that came in between (0.18). There, and there only, a
    camera whose frames are not all fetched counts as running.

    Parameters
    ----------
    core : CMMCorePlus
        Its ``isSequenceRunning`` is replaced until `undo`.
    """

    def __init__(self, core: Any) -> None:
        self._core = core
        self._asked = core.isSequenceRunning
        core.isSequenceRunning = self._is_running

    def _is_running(self, *camera: str) -> bool:
        if self._asked(*camera):
            return True
        asking = sys._getframe(1).f_code.co_name  # noqa: SLF001
        fetches = asking.startswith("_exec_") and asking.endswith("_sequence")
        return fetches and self._core.getRemainingImageCount() > 0

    def undo(self) -> None:
        """Restore the core's own method. Idempotent."""
        self._core.__dict__.pop("isSequenceRunning", None)


def silence_at_exit(core: CMMCore) -> None:
    """Keep `core` from aborting the process when Python ends before it is closed.

    The core reports events from a thread of its own. If it reports one while the
    interpreter ends, the process aborts ("exception not rethrown").
    """
    atexit.register(_silence, weakref.ref(core))


def close_core(core: CMMCore, timeout_s: float = UNLOAD_S) -> bool:
    """Unload all devices and end the core's events. Idempotent.

    A driver that hangs would keep the process for ever: after `timeout_s` the core is
    left as it is, and the process ends without waiting for it, with exit code 1 unless
    it ends by `leave`.

    Returns
    -------
    bool
        Whether the devices were unloaded in time.
    """
    failed: list[Exception] = []

    def unload() -> None:
        try:
            core.unloadAllDevices()
            CMMCore.registerCallback(core, None)  # pymmcore-plus bars its own method
        except Exception as error:
            failed.append(error)

    thread = threading.Thread(target=unload, name="liveloc-unload", daemon=True)
    thread.start()
    thread.join(timeout_s)
    if failed:
        raise failed[0]
    if not thread.is_alive():
        return True
    if not _left:
        atexit.register(leave, 1)  # called first: before Python waits for the driver
    _left.append(core)  # else its end would be waited for as well
    _log.critical(
        "a driver of Micro-Manager hangs: the devices could not be unloaded within "
        "%g s. The program ends without them. Check that the laser is off, and "
        "switch the device that hangs off and on.",
        timeout_s,
    )
    return False


def leave(code: int) -> None:
    """End the process at once if a driver hangs, else return.

    Parameters
    ----------
    code : int
        Exit code; 0 becomes 1, since a device was not let go.
    """
    if _left:
        logging.shutdown()
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError, ValueError):
                stream.flush()
        os._exit(code or 1)


def _silence(reference: weakref.ref[CMMCore]) -> None:
    core = reference()
    if core is not None:
        CMMCore.registerCallback(core, None)
