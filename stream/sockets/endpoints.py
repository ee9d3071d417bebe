"""Which addresses a socket may use."""

from __future__ import annotations

import ipaddress

from ..errors import SettingsError

FRAMES_AT = "tcp://127.0.0.1:5555"  # of an engine that was started alone
LOCALIZATIONS_AT = "tcp://127.0.0.1:5556"
FREE = "tcp://127.0.0.1:0"  # takes a free port


def loopback(endpoint: str) -> str:
    """Check that `endpoint` never leaves this machine.

    Returns
    -------
    str
        The endpoint with ``localhost`` spelled as an address. The port may be
        ``*`` or 0: any free one.

    Raises
    ------
    SettingsError
        Not ``tcp://ADDRESS:PORT``, or another address than this machine's own.
    """
    host, colon, port = endpoint.removeprefix("tcp://").rpartition(":")
    free = port in ("*", "0")
    known = port.isascii() and port.isdigit() and int(port) < 65536
    if not endpoint.startswith("tcp://") or not colon or not (free or known):
        raise SettingsError(
            f"endpoint '{endpoint}' is not tcp://ADDRESS:PORT. "
            "Use for example tcp://127.0.0.1:5555."
        )
    host = "127.0.0.1" if host == "localhost" else host
    try:
        address = ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        address = None
    if address is None or not address.is_loopback:
        raise SettingsError(
            f"endpoint '{endpoint}' can be reached from other machines, which needs "
            "keys, and this version has none. Use tcp://127.0.0.1:PORT, and an ssh "
            "tunnel between two machines."
        )
    return f"tcp://{host}:{'*' if free else port}"
