"""The two sockets of the frame stream, with every bound set."""

from __future__ import annotations

from typing import TYPE_CHECKING

import zmq

if TYPE_CHECKING:
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
