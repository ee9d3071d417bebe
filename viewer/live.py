"""What the window shows, without a window: image, figures and state of a session."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from ..stream.activation import Activation, finite
from ..stream.broadcast import Reset, Rows, Status
from .reconstruction import SUPER_PIXEL_NM, Reconstruction, fitting_super_pixel

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..stream.broadcast import Update

State = Literal["waiting", "live", "silent", "ended"]

SILENCE_S = 3.0  # an engine says something several times a second


@dataclass(frozen=True, slots=True)
class Figures:
    """The numbers of the status line; None where the engine did not say.

    Attributes
    ----------
    frames : int
        Exposures of the camera so far.
    fps : float
        Frames per second of late.
    localizations : int
        Rows in the table.
    lost : dict[str, int]
        Frames lost, by name.
    latency_ms : float
        From frame arrival to published localizations, median of late.
    activation : Activation
        Density and activation laser; None without a laser.
    """

    frames: int | None = None
    fps: float | None = None
    localizations: int | None = None
    lost: dict[str, int] = field(default_factory=dict)
    latency_ms: float | None = None
    activation: Activation | None = None

    @classmethod
    def read(cls, status: Mapping[str, Any]) -> Figures:
        """Take what is usable from an engine's status; what is odd is left out.

        Read are the keys named like the attributes; ``lost`` by name; `Activation`
        says what it reads.
        """
        return cls(
            frames=_count(status.get("frames")),
            fps=finite(status.get("fps")),
            localizations=_count(status.get("localizations")),
            lost=_losses(status.get("lost")),
            latency_ms=finite(status.get("latency_ms")),
            activation=Activation.read(status),
        )


class LiveSession:
    """Follows one engine: through waiting, sessions, silence and their ends.

    Parameters
    ----------
    super_pixel_nm : float
        Aimed at; see `fitting_super_pixel`.
    min_probability, max_sigma_nm : float
        As for `Reconstruction`.

    Attributes
    ----------
    reconstruction : Reconstruction or None
        None until a session says its field.
    sessions : int
        Fields shown so far; a changed number means that the old view is void.
    """

    def __init__(
        self,
        *,
        super_pixel_nm: float = SUPER_PIXEL_NM,
        min_probability: float = 0.0,
        max_sigma_nm: float | None = None,
    ) -> None:
        self._aim_nm = super_pixel_nm
        self._filters: dict[str, Any] = {
            "min_probability": min_probability,
            "max_sigma_nm": max_sigma_nm,
        }
        self.reconstruction: Reconstruction | None = None
        self.figures = Figures()
        self.sessions = 0
        self.rows = 0
        self._stream_id = b""
        self._ended = ""
        self._heard = False

    @property
    def revision(self) -> tuple[int, int]:
        """Changes whenever the image does."""
        image = self.reconstruction
        return (self.sessions, image.revision if image is not None else 0)

    @property
    def end_status(self) -> str:
        """How the session ended (``ok``, ``aborted``, ...); empty while it lasts."""
        return self._ended

    @property
    def complete(self) -> bool:
        """Whether the session has ended and every row it published is in the image."""
        published = self.figures.localizations or 0
        return bool(self._ended and self.sessions and self.rows >= published)

    def state(self, silent_s: float) -> State:
        """Say where the session stands, `silent_s` after the engine's last word."""
        if self._ended:
            return "ended"
        if not self._heard:
            return "waiting"
        return "silent" if silent_s > SILENCE_S else "live"

    def apply(self, update: Update) -> None:
        """Take in one update of the subscriber, in the order they came.

        Raises
        ------
        SettingsError
            The session's metadata do not say its field.
        """
        self._heard = True
        if isinstance(update, Reset):
            self._begin(update)
        elif isinstance(update, Rows):
            if self.reconstruction is not None:
                self.reconstruction.add(update.localizations)
            self.rows += len(update.localizations)
        elif isinstance(update, Status):
            self._read_status(update.values)

    def _begin(self, reset: Reset) -> None:
        """Start an empty image; everything of the session follows as rows."""
        image = Reconstruction.from_metadata(reset.metadata, **self._filters)
        fitting = fitting_super_pixel(image.shape, image.pixel_size_nm, self._aim_nm)
        image = Reconstruction(
            image.shape,
            image.pixel_size_nm,
            roi_origin=image.roi_origin,
            super_pixel_nm=fitting,
            **self._filters,
        )
        old = self.reconstruction
        same_field = old is not None and old.extent_nm == image.extent_nm
        if old is not None and same_field and reset.stream_id == self._stream_id:
            old.clear()  # the same session told once more: keep the user's view
        else:
            self.reconstruction = image
            self.sessions += 1
        if self._stream_id:  # else a status may have come first, and still holds
            self._ended = ""
        if self._stream_id and reset.stream_id != self._stream_id:
            self.figures = Figures()
        self._stream_id = reset.stream_id
        self.rows = 0

    def _read_status(self, values: Mapping[str, Any]) -> None:
        self.figures = Figures.read(values)
        self._ended = str(values.get("ended") or "")


def _count(value: Any) -> int | None:
    number = finite(value)
    return None if number is None else int(number)


def _losses(value: Any) -> dict[str, int]:
    if not isinstance(value, dict):
        return {}
    counted = {str(name): _count(frames) or 0 for name, frames in value.items()}
    return {name: frames for name, frames in counted.items() if frames}
