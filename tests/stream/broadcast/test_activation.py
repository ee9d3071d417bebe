"""What people read of density and laser while a session runs."""

from __future__ import annotations

import io
from typing import Any

import pytest
from rich.console import Console

from liveloc.stream.broadcast.status import Activation
from liveloc.stream.console import terminal

LASER = {
    "power": 12.34,
    "unit": "mW",
    "law": "ratio",
    "target_per_um2": 0.5,
    "reason": "as the law wants",
    "frame_to_laser_p50_ms": 40.0,
    "frame_to_laser_p99_ms": 77.0,
    "late": 3,
}


def status(**laser: Any) -> dict[str, Any]:
    return {"density_per_um2": 0.481, "laser": {**LASER, **laser}}


def test_density_target_and_power_are_read_and_said() -> None:
    seen = Activation.read(status())
    assert seen == Activation(
        per_um2=0.481,
        target_per_um2=0.5,
        power=12.34,
        unit="mW",
        reason="as the law wants",
        frame_to_laser_p99_ms=77.0,
        late=3,
    )
    assert str(seen) == "0.48 of 0.5/um2  12.3 mW"


def test_without_a_laser_there_is_nothing_to_say() -> None:
    for laser in (None, 4, [LASER], "on"):
        assert Activation.read({"density_per_um2": 0.4, "laser": laser}) is None
    assert Activation.read({"density_per_um2": 0.4}) is None


def test_what_is_not_known_is_not_said() -> None:
    unaimed = Activation.read(status(target_per_um2=0.0, frame_to_laser_p99_ms=0.0))
    assert unaimed is not None
    assert unaimed.frame_to_laser_p99_ms is None
    assert str(unaimed) == "0.48/um2  12.3 mW"
    assert str(Activation.read({"laser": LASER})) == "12.3 mW"
    assert str(Activation.read({"laser": {}})) == ""


@pytest.mark.parametrize(
    "odd", [None, "5", True, float("nan"), float("inf"), -1.0, 10**400, 1e300, [1]]
)
def test_odd_numbers_are_left_out(odd: Any) -> None:
    names = ("power", "target_per_um2", "frame_to_laser_p99_ms", "late")
    seen = Activation.read({"density_per_um2": odd, "laser": dict.fromkeys(names, odd)})
    assert seen == Activation()


def test_odd_words_become_one_short_line() -> None:
    seen = Activation.read(status(unit="m\x1b[31mW" * 99, reason="a\nb\x00" * 999))
    assert seen is not None
    assert len(seen.unit) <= 8
    assert len(seen.reason) <= 256
    assert seen.unit.isprintable()
    assert seen.reason.isprintable()
    assert Activation.read(status(unit=3, reason=None)) is not None


@pytest.mark.parametrize(
    ("power", "words"),
    [(0.0, "0"), (0.0123, "0.012"), (5, "5.00"), (12.34, "12.3"), (1234.5, "1234")],
)
def test_powers_of_any_size_are_short(power: float, words: str) -> None:
    seen = Activation.read(status(power=power))
    assert seen is not None
    assert seen.power_text == f"{words} mW"


@pytest.mark.parametrize("width", [80, 120])
def test_the_progress_bar_shows_them_and_takes_no_markup(
    monkeypatch: pytest.MonkeyPatch, width: int
) -> None:
    shown = io.StringIO()
    console = Console(file=shown, force_terminal=True, width=width, no_color=True)
    monkeypatch.setattr(terminal, "out", console)
    with terminal.progress_bar("acquiring", 800) as advance:
        advance(100, 2000)
        advance(700, 14000, str(Activation.read(status(unit="[bold]"))))
    assert "700/800" in shown.getvalue()
    assert "14000 localizations" in shown.getvalue()
    assert "0.48 of 0.5/um2  12.3 [bold]" in shown.getvalue()
