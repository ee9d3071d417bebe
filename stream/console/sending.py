"""A recording sent to an engine, as a camera would."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..errors import SettingsError, StreamError
from ..transport.sender import FrameSender
from ..transport.transmission import transmit
from .terminal import say

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..density import BlockDensity
    from ..movies.replay import ReplaySource
    from ..sockets.session_key import SessionKey

ENGINE_WAIT_S = 10.0  # for an engine that is being started


def send_recording(
    source: ReplaySource,
    endpoint: str,
    key: SessionKey | None,
    on_density: Callable[[BlockDensity], None] | None = None,
) -> int:
    """Send a recording to an engine; return the exit code.

    Raises
    ------
    SettingsError
        No engine answers.
    StreamError
        The engine refuses the stream.
    """
    with FrameSender(endpoint, source.start, on_density=on_density, key=key) as sender:
        if not sender.wait_connected(ENGINE_WAIT_S):
            if sender.refusal:
                raise StreamError(
                    f"the engine at {endpoint} refuses the stream: {sender.refusal}"
                )
            raise SettingsError(
                f"no engine answers at {endpoint}. Start one with 'liveloc engine', or "
                "use --out to let replay start its own."
            )
        end = transmit(source, sender)
    say(f"sent {end.sent} of {end.last_seq + 1} frames: {end.status} {end.reason}")
    return 0 if end.status == "ok" else 1
