"""Memory needed to localize, and batches that stay within a bound.

On a CPU the network's intermediate results are freed from one frame to the next; what
grows with the number of frames in a batch are their photons, features and maps.
"""

from __future__ import annotations

from liveloc.stream.errors import SettingsError

# Bytes per pixel, of the shipped networks on a CPU: `tests/model/test_frame_memory.py`.
FIRST_FRAME = 430
FURTHER_FRAME = 140
BATCH_BYTES = 1 << 30
WARM_UP_EDGE = 256  # pixels: enough for every part to have run once


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
