"""The two sockets of the frame stream, with every bound set."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import zmq

from .camera_maps import PIXEL
from .errors import MessageError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from .limits import Limits


def router(
    context: zmq.Context[zmq.Socket[bytes]], limits: Limits
) -> zmq.Socket[bytes]:
    """Make the ROUTER socket of a receiver."""
    socket = context.socket(zmq.ROUTER)
    socket.setsockopt(zmq.ROUTER_MANDATORY, 1)
    socket.setsockopt(zmq.MAXMSGSIZE, limits.payload_bytes)
    socket.setsockopt(zmq.RCVHWM, limits.queued_messages)
    socket.setsockopt(zmq.SNDHWM, 4 * limits.queued_messages)
    socket.setsockopt(zmq.HANDSHAKE_IVL, round(limits.handshake_s * 1000))
    return socket


def dealer(
    context: zmq.Context[zmq.Socket[bytes]], limits: Limits
) -> zmq.Socket[bytes]:
    """Make the DEALER socket of a sender."""
    socket = context.socket(zmq.DEALER)
    socket.setsockopt(zmq.IMMEDIATE, 1)
    socket.setsockopt(zmq.SNDHWM, limits.queued_messages)
    socket.setsockopt(zmq.RCVHWM, 4 * limits.queued_messages)
    socket.setsockopt(zmq.MAXMSGSIZE, limits.start_bytes)
    socket.setsockopt(zmq.RECONNECT_IVL, 100)
    socket.setsockopt(zmq.RECONNECT_IVL_MAX, 500)
    socket.setsockopt(zmq.CONNECT_TIMEOUT, 2000)
    socket.setsockopt(zmq.HANDSHAKE_IVL, round(limits.handshake_s * 1000))
    # A dead connection is noticed by libzmq, too, and made anew.
    socket.setsockopt(zmq.HEARTBEAT_IVL, 1000)
    socket.setsockopt(zmq.HEARTBEAT_TIMEOUT, 5000)
    return socket


def receive_maps(
    socket: zmq.Socket[bytes], names: Iterable[str], shape: tuple[int, int]
) -> dict[str, NDArray[Any]]:
    """Receive the rest of a message: one float32 image for each name.

    Raises
    ------
    MessageError
        Reason ``parts`` or ``nbytes``: more or fewer parts, or of another size.
    """
    found = {}
    for name in names:
        if not socket.getsockopt(zmq.RCVMORE):
            raise MessageError("parts", f"the camera map {name} is missing")
        values = np.empty(shape, PIXEL)
        size = socket.recv_into(values.data)
        if size != values.nbytes:
            raise MessageError(
                "nbytes",
                f"the camera map {name} came with {size} bytes, needs {values.nbytes}",
            )
        found[name] = values
    if socket.getsockopt(zmq.RCVMORE):
        raise MessageError("parts", f"more parts than the {len(found)} camera maps")
    return found
