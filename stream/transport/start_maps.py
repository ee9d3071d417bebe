"""The maps of a camera, which travel in parts of their own behind a START."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import zmq

from ..camera_maps import PIXEL, pack_maps, with_maps
from ..errors import MessageError
from .messages import Start
from .wire import decode, encode

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from ..sockets.limits import Limits


def encode_start(message: Start) -> list[bytes | memoryview]:
    """Pack a START and its maps, a part each."""
    return [encode(message), *pack_maps(message.start.calibration)]


def check_start(message: Start, limits: Limits) -> None:
    """Refuse a START that an engine would refuse.

    Raises
    ------
    MessageError
        It, its maps, or a value in it, is larger than an engine accepts.
    """
    decoded = decode(encode(message), limits)
    if isinstance(decoded, Start):
        complete(decoded, message.start.calibration.maps)


def receive_start(socket: zmq.Socket[bytes], message: Start) -> Start:
    """Receive the maps that belong to a START, the rest of its message.

    Raises
    ------
    MessageError
        Reason ``parts`` or ``nbytes``: more or fewer parts, or of another size;
        ``maps``: a map is damaged or has impossible values.
    """
    found = {}
    for name in message.maps:
        if not socket.getsockopt(zmq.RCVMORE):
            raise MessageError("parts", f"the camera map {name} is missing")
        values = np.empty(message.start.shape, PIXEL)
        size = socket.recv_into(values.data)
        if size != values.nbytes:
            raise MessageError(
                "nbytes",
                f"the camera map {name} came with {size} bytes, needs {values.nbytes}",
            )
        found[name] = values
    if socket.getsockopt(zmq.RCVMORE):
        raise MessageError("parts", f"more parts than the {len(found)} camera maps")
    return complete(message, found)


def complete(message: Start, maps: Mapping[str, NDArray[Any]]) -> Start:
    """Put the maps that came in parts of their own into a START.

    Raises
    ------
    MessageError
        Reason ``maps``: one is missing, damaged, or has impossible values.
    """
    start = message.start
    if not message.maps:
        return message
    try:
        whole = with_maps(
            start.calibration, message.maps, maps, start.shape, start.roi_origin
        )
    except ValueError as error:
        raise MessageError("maps", f"camera calibration: {error}") from None
    return replace(message, start=replace(start, calibration=whole), maps={})
