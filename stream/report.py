"""The report of a job, as in ``report.json``: its keys and their types.

A dictionary with known keys rather than a class: which keys there are, and in which
order, depends on the job that writes it, and both are kept in the file.
"""

from __future__ import annotations

from typing import Any, TypedDict


class FrameBalance(TypedDict):
    """Where every exposure of the camera went, see `balance.Balance`."""

    camera: int
    localized: int
    lost: dict[str, int]
    unexplained: int


class SessionReport(TypedDict, total=False):
    """What became of every frame, how fast, and with what.

    Attributes
    ----------
    frames : FrameBalance
    localizations : int
        Rows in the table.
    fps : float
        Frames localized per second.
    latency_ms, latency_after_neighbour_ms : dict[str, float]
        Percentiles by name, from the arrival of a frame, or of the next one, to its
        published localizations.
    density_per_um2 : float
        Emitters per um2 and frame, mean.
    session : str
        Its folder.
    stream_id : str
        Hexadecimal.
    status, reason : str
        ``ok``, ``aborted``, ``lost`` or ``failed``, and why.
    stopped_by : str
        How the user ended it; empty if it ended by itself.
    alarms : list[dict]
        See `Alarms.as_list`.
    rejected : dict[str, int]
        Messages that the engine refused, by reason.
    camera, engine, laser, bridge, viewer : dict
        What each reported; None for a part that is missing.
    processes : dict[str, str]
        How each ended, in words.
    feedback, accuracy : dict
        How well the density was held, and the score against a simulated truth.
    not_made : dict[str, str]
        Parts that could not be made, with the reason.
    """

    frames: FrameBalance
    localizations: int
    fps: float
    latency_ms: dict[str, float]
    latency_after_neighbour_ms: dict[str, float]
    density_per_um2: float
    session: str
    stream_id: str
    status: str
    reason: str
    stopped_by: str
    alarms: list[dict[str, Any]]
    rejected: dict[str, int]
    camera: dict[str, Any]
    engine: dict[str, Any]
    laser: dict[str, Any] | None
    bridge: dict[str, Any] | None
    viewer: dict[str, Any]
    processes: dict[str, str]
    feedback: dict[str, Any] | None
    accuracy: dict[str, Any] | None
    not_made: dict[str, str]
