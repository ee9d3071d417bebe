"""Run the two graphs of a bundle on ONNX Runtime, in bounded memory."""

from __future__ import annotations

import platform
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from liveloc import __version__
from liveloc.stream.errors import SettingsError

from .maps import MAPS, WINDOW

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from .bundle import Bundle

# Memory of the shipped networks on a CPU, bytes per pixel: intermediate results are
# freed from frame to frame; photons, features and maps of a batch are held
# (`tests/model/test_frame_memory.py`).
FIRST_FRAME = 430
FURTHER_FRAME = 140
BATCH_BYTES = 1 << 30
WARM_UP_EDGE = 256  # pixels: enough for every part to have run once
TRIAL_PX = 32  # edge of the frame on which a network is tried out
PROVIDERS = {
    "tensorrt": "TensorrtExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "cpu": "CPUExecutionProvider",
}

# Features of frames t-1, t, t+1, each (c, rows, columns).
Window = tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]


class Backend(Protocol):
    """Runs the two halves of a network."""

    name: str

    def features(
        self,
        photons: NDArray[np.float32],
        read_variance: NDArray[np.float32] | None = None,
    ) -> NDArray[np.float32]:
        """Turn photons into features.

        Parameters
        ----------
        photons : NDArray[np.float32], shape (n, 1, h, w)
            Photons of n frames.
        read_variance : NDArray[np.float32], shape (1, 1, h, w)
            Read variance, photons squared, for a network that takes it.

        Returns
        -------
        NDArray[np.float32], shape (n, c, rows, columns)
        """
        ...

    def maps(self, windows: Sequence[Window]) -> NDArray[np.float32]:
        """Turn the features of n windows into (n, maps, rows, columns)."""
        ...


class OnnxBackend:
    """The exported graphs on ONNX Runtime.

    On a CPU frames run one by one: batches are no faster there (measured), and so no
    result can depend on how frames were batched.

    Parameters
    ----------
    bundle : Bundle
        Bundle whose graphs to run.
    provider : {"cpu", "cuda", "tensorrt"}
        Where to run them.
    threads : int
        Number of CPU threads; they sleep when idle, never spin, because camera and
        viewer share the cores.

    Raises
    ------
    SettingsError
        The provider is not installed, or fell back silently; or the graphs do not turn
        frames into maps.
    """

    def __init__(self, bundle: Bundle, provider: str = "cpu", threads: int = 2) -> None:
        if provider not in PROVIDERS:
            raise SettingsError(
                f"provider '{provider}' is unknown; use one of {', '.join(PROVIDERS)}."
            )
        self._batch = 1 if provider == "cpu" else 64
        name = bundle.spec.name
        self._frame = _session(bundle, "frame.onnx", provider, threads)
        self._context = _session(bundle, "context.onnx", provider, threads)
        if provider == "cpu":  # elsewhere a graph is rebuilt for each size
            self._try_out(name)
        self.name = f"onnxruntime-{provider}"

    def _try_out(self, model: str) -> None:
        """Run both graphs once on a small dark frame, to see that they fit together."""
        dark = np.zeros((1, 1, TRIAL_PX, TRIAL_PX), np.float32)
        sees_camera = "read_variance" in [i.name for i in self._frame.get_inputs()]
        try:
            found = self.features(dark, np.ones_like(dark) if sees_camera else None)
            maps = self.maps([(found[0], found[0], found[0])])
            if maps.ndim != 4 or maps.shape[1] != len(MAPS):
                raise ValueError(f"maps of shape {maps.shape}")
        except Exception as error:  # ONNX Runtime raises its own kinds
            raise _bad_graph(model, "frame.onnx and context.onnx", error) from None

    def features(
        self,
        photons: NDArray[np.float32],
        read_variance: NDArray[np.float32] | None = None,
    ) -> NDArray[np.float32]:
        """Turn photons into features; see `Backend.features`."""
        same = {} if read_variance is None else {"read_variance": read_variance}
        return self._run(self._frame, {"photons": photons}, same)

    def maps(self, windows: Sequence[Window]) -> NDArray[np.float32]:
        """Turn the features of n windows into (n, maps, rows, columns)."""
        frames = zip(*windows, strict=True)
        return self._run(self._context, dict(zip(WINDOW, frames, strict=True)))

    def _run(
        self,
        session: Any,
        inputs: Mapping[str, Sequence[NDArray[np.float32]] | NDArray[np.float32]],
        same: Mapping[str, NDArray[np.float32]] | None = None,
    ) -> NDArray[np.float32]:
        """Run a graph, `_batch` frames at a time; `same` goes with each batch."""
        n = len(next(iter(inputs.values())))
        outputs = [
            session.run(
                None,
                {name: _join(x[i : i + self._batch]) for name, x in inputs.items()}
                | dict(same or {}),
            )[0]
            for i in range(0, n, self._batch)
        ]
        result: NDArray[np.float32] = (
            outputs[0] if len(outputs) == 1 else np.concatenate(outputs)
        )
        return result


def _join(
    frames: Sequence[NDArray[np.float32]] | NDArray[np.float32],
) -> NDArray[np.float32]:
    """Return frames as one array, without a copy if there is only one."""
    if isinstance(frames, np.ndarray):
        return frames
    return frames[0][None] if len(frames) == 1 else np.stack(frames)


def check_memory(shape: tuple[int, int], memory_gib: float) -> None:
    """Refuse frames that need more memory than allowed.

    Parameters
    ----------
    shape : (height, width)
        Shape of a frame, pixels.
    memory_gib : float
        Memory allowed, GiB.

    Raises
    ------
    SettingsError
        They need more.
    """
    needed_gib = FIRST_FRAME * shape[0] * shape[1] / 2**30
    if needed_gib > memory_gib:
        raise SettingsError(
            f"frames of {shape[1]} x {shape[0]} pixels take about {needed_gib:.1f} GiB "
            f"of memory in the network, engine.memory_gib allows {memory_gib:g}. "
            "Choose a smaller ROI or, if the computer has enough, raise memory_gib."
        )


def frames_at_once(shape: tuple[int, int], most: int) -> int:
    """Return how many frames go into one batch: 1 to `most`, within 1 GiB."""
    pixels = shape[0] * shape[1]
    further = (BATCH_BYTES - FIRST_FRAME * pixels) // (FURTHER_FRAME * pixels)
    return max(1, min(most, 1 + further))


def warm_up_shape(shape: tuple[int, int]) -> tuple[int, int]:
    """Return the size of the corner of a frame that warms the network up."""
    return min(shape[0], WARM_UP_EDGE), min(shape[1], WARM_UP_EDGE)


def versions() -> dict[str, str]:
    """Return the versions of what computes the results."""
    return {
        "liveloc": __version__,
        "onnxruntime": onnxruntime.__version__,
        "numpy": np.__version__,
        "python": platform.python_version(),
        "system": platform.platform(),
    }


def usable_providers() -> list[str]:
    """Return the providers that work on this computer, best first."""
    offered: Sequence[str] = onnxruntime.get_available_providers()
    return [
        name
        for name, full in PROVIDERS.items()
        if full in offered and (name == "cpu" or _cuda_libraries_load())
    ]


def examine_inference() -> list[tuple[str, bool, str]]:
    """Return which providers work and what others lack: (name, works, detail)."""
    usable = usable_providers()
    version = f"ONNX Runtime {onnxruntime.__version__}"
    gpu = [name for name in usable if name != "cpu"]
    if gpu:
        return [("inference", True, f"{version}: {', '.join(usable)}")]
    return [
        ("inference", True, f"{version} on the CPU"),
        (
            "GPU",
            False,
            "no NVIDIA driver or CUDA libraries: networks run on the CPU. With an "
            "NVIDIA card, install its driver and 'onnxruntime-gpu[cuda,cudnn]'",
        ),
    ]


def _cuda_libraries_load() -> bool:
    """Return whether an NVIDIA driver and the CUDA libraries are installed.

    ONNX Runtime lists a provider that it was built with even where its
    libraries are missing, and then falls back to the CPU without an error.
    """
    import ctypes
    import sys

    windows = sys.platform == "win32"
    names = ("nvcuda.dll",) if windows else ("libcuda.so.1", "libcudart.so.13")
    try:
        for name in names:
            ctypes.CDLL(name)
    except OSError:
        return False
    return True


def _bad_graph(model: str, parts: str, error: Exception) -> SettingsError:
    reason = " ".join(str(error).split())[:200]
    return SettingsError(
        f"model '{model}': {parts} cannot be run ({reason}). The bundle was not made "
        "by 'liveloc train', or by another version: train or download it again."
    )


def _session(bundle: Bundle, part: str, provider: str, threads: int) -> Any:
    """Open one graph and check where it really runs."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    wanted = PROVIDERS[provider]
    if wanted not in onnxruntime.get_available_providers():
        raise SettingsError(
            f"provider '{provider}' is not in the installed ONNX Runtime. "
            "Run 'liveloc doctor' to see what works here, or use 'cpu'."
        )
    try:
        session = onnxruntime.InferenceSession(
            bundle.parts[part], options, providers=[wanted]
        )
    except Exception as error:  # ONNX Runtime raises its own kinds
        raise _bad_graph(bundle.spec.name, part, error) from None
    runs = session.get_providers()[0]
    if runs != wanted:
        raise SettingsError(
            f"provider '{provider}' did not start: ONNX Runtime fell back to {runs}. "
            "Run 'liveloc doctor' to see what is missing, or use 'cpu'."
        )
    return session
