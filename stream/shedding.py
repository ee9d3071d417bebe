"""When a full queue sheds frames: in whole blocks, for the three-frame windows."""

from __future__ import annotations

BLOCK = 32  # frames shed at a time: the three-frame windows of the others stay whole


class Shedding:
    """Decides which frames a bounded queue sheds.

    Attributes
    ----------
    in_block : int
        Frames shed so far in the present block, 0 while the queue takes frames.
    """

    def __init__(self) -> None:
        self.in_block = 0

    def sheds(self, waiting: int, capacity: int) -> bool:
        """Whether to shed the next frame.

        Once the queue is full, at least `BLOCK` frames are shed, and all until half of
        its room is free.

        Parameters
        ----------
        waiting, capacity : int
            Frames in the queue, and the most it may hold.
        """
        if self.in_block:
            if self.in_block >= BLOCK and waiting <= capacity // 2:
                self.in_block = 0
                return False
        elif waiting < capacity:
            return False
        self.in_block += 1
        return True
