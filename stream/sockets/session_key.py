"""What the processes of one session know and no other program does.

`run` makes two keys: one for the frames, which engine and bridge know, and one for
the localizations, which engine and viewers know. They travel to its children through
the environment, never on a command line, where every user of the machine could read
them. No message carries a key itself, only what is computed from it.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ..errors import SettingsError

if TYPE_CHECKING:
    import zmq

FRAMES_KEY = "LIVELOC_FRAMES_KEY"  # environment variables
VIEWING_KEY = "LIVELOC_VIEWING_KEY"
PROOF_BYTES = 16
SENDER_PROOF = "sender"  # of START
ENGINE_PROOF = "engine"  # of the answers to it

_KEY_BYTES = 32
_USER = b"liveloc"


@dataclass(frozen=True, slots=True)
class SessionKey:
    """A random secret, and what is shown instead of it.

    Attributes
    ----------
    secret : bytes
        32 random bytes.
    """

    secret: bytes = field(repr=False)

    @classmethod
    def new(cls) -> SessionKey:
        """Make a new random key."""
        return cls(secrets.token_bytes(_KEY_BYTES))

    @classmethod
    def read(cls, text: str, source: str) -> SessionKey:
        """Read a key as `text` writes it; `source` names where it stood.

        Raises
        ------
        SettingsError
            Not 64 hexadecimal digits.
        """
        try:
            secret = bytes.fromhex(text.strip())
        except ValueError:
            secret = b""
        if len(secret) != _KEY_BYTES:
            raise SettingsError(
                f"{source} holds no session key: {2 * _KEY_BYTES} hexadecimal digits "
                "are needed. Remove it, or take the key of the running session."
            )
        return cls(secret)

    @classmethod
    def from_environment(cls, name: str) -> SessionKey | None:
        """Take a key out of the environment, so that no other program inherits it."""
        text = os.environ.pop(name, "")
        return cls.read(text, f"the environment variable {name}") if text else None

    @property
    def text(self) -> str:
        """The key in hexadecimal digits, for the environment of a child."""
        return self.secret.hex()

    def proof(self, word: str, *parts: bytes) -> bytes:
        """Return 16 bytes that only a holder of the key can compute.

        Parameters
        ----------
        word : str
            What is proven, so that no proof serves for another.
        *parts : bytes
            What it is bound to, each of a fixed length.
        """
        text = b"\0".join((word.encode(), *parts))
        return hmac.digest(self.secret, text, hashlib.sha256)[:PROOF_BYTES]

    def proves(self, proof: bytes | None, word: str, *parts: bytes) -> bool:
        """Whether `proof` is the one of a holder of this key."""
        return proof is not None and hmac.compare_digest(
            proof, self.proof(word, *parts)
        )

    @property
    def _password(self) -> bytes:
        return self.proof("password").hex().encode()

    def show(self, socket: zmq.Socket[bytes]) -> None:
        """Let a socket send the key's password to its peer."""
        socket.plain_username = _USER
        socket.plain_password = self._password

    def opens(self, credentials: list[bytes]) -> bool:
        """Whether a peer sent the key's password."""
        return len(credentials) == 2 and hmac.compare_digest(
            credentials[1], self._password
        )
