"""How fluorophores switch on, blink and bleach, frame by frame.

::

                405 nm power x rate           excitation x rate
        dark  ─────────────────────►  emitting  ─────────────► bleached
          ▲                            ▲   │  │
          │                            └───┘  │
          │                       short dark  │
          └──────────── back to dark ─────────┘

Times are continuous: the first and the last frame of an emission are partly lit, as
on a real camera. An emitting fluorophore lives on a clock that runs in proportion to
the excitation: half the power gives half the photons per frame for twice as long, the
same photons altogether. Activation and short dark states go by the frame.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, kw_only=True)
class Photophysics:
    """Numbers of a photoactivatable fluorophore.

    Attributes
    ----------
    activation_per_mw : float
        Activations per dark fluorophore, frame and mW of 405 nm light.
    on_time_frames : float
        Mean of the exponential on-time, at the excitation `reference_mw`.
    bleach_probability : float
        Chance that an emission is the last one; 0.25 gives four on average.
    photons : float
        Mean detected photons of a fully lit frame, at the excitation `reference_mw`.
    photon_spread : float
        Relative standard deviation between emissions (gamma distributed).
    reference_mw : float
        Excitation power at which on-time and photons are as given.
    spontaneous_per_mw : float
        Activations per dark fluorophore, frame and mW of excitation light.
    blink_probability : float
        Chance that an on-time is followed by a short dark state and another on-time of
        the same emission.
    blink_frames : float
        Mean of the exponential time in the short dark state; no light changes it.
    """

    activation_per_mw: float
    on_time_frames: float
    bleach_probability: float
    photons: float
    photon_spread: float
    reference_mw: float = 50.0
    spontaneous_per_mw: float = 0.0
    blink_probability: float = 0.0
    blink_frames: float = 2.0


@dataclass(slots=True)
class _Rows:
    """Fluorophores in one state, a row each."""

    index: NDArray[np.int64]
    on: NDArray[np.float64]  # excitation clock
    off: NDArray[np.float64]  # excitation clock; in a short dark state: its end, frames
    photons: NDArray[np.float64]  # per fully lit frame

    def chosen(self, rows: NDArray[np.bool_]) -> _Rows:
        """Take the rows that are True."""
        return _Rows(
            self.index[rows], self.on[rows], self.off[rows], self.photons[rows]
        )

    @staticmethod
    def joined(parts: list[_Rows]) -> _Rows:
        """Put tables under each other."""
        return _Rows(
            np.concatenate([part.index for part in parts]),
            np.concatenate([part.on for part in parts]),
            np.concatenate([part.off for part in parts]),
            np.concatenate([part.photons for part in parts]),
        )


@dataclass(frozen=True, slots=True)
class _Clock:
    """One frame: its number, and the excitation clock at its beginning and end."""

    frame: int
    begin: float
    end: float

    def read(self, frames: NDArray[Any]) -> NDArray[np.float64]:
        """Read the excitation clock at times in frames."""
        return self.begin + (frames - self.frame) * (self.end - self.begin)

    def frames(self, clock: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the time in frames at which the excitation clock had this reading."""
        return self.frame + (clock - self.begin) / (self.end - self.begin)


def _no_rows() -> _Rows:
    none = np.empty(0)
    return _Rows(np.empty(0, np.int64), none, none, none)


class Fluorophores:
    """The states of all fluorophores of a sample.

    Deterministic for a given generator and sequence of powers.

    Parameters
    ----------
    count : int
        All of them dark at first.
    physics : Photophysics
        Their numbers.
    rng : np.random.Generator
        Owned by this object from now on.
    """

    def __init__(
        self, count: int, physics: Photophysics, rng: np.random.Generator
    ) -> None:
        self._physics = physics
        self._rng = rng
        self._pool = np.arange(count)  # the first `dark` entries are dark
        self._dark = count
        self._bleached = 0
        self._clock = _Clock(-1, 0.0, 0.0)
        self._lit = _no_rows()
        self._resting = _no_rows()

    @property
    def dark(self) -> int:
        """Fluorophores that can be activated."""
        return self._dark

    @property
    def emitting(self) -> int:
        """Fluorophores that are on at the end of the last frame."""
        return len(self._lit.index)

    @property
    def resting(self) -> int:
        """Fluorophores in a short dark state at the end of the last frame."""
        return len(self._resting.index)

    @property
    def bleached(self) -> int:
        """Fluorophores gone for good."""
        return self._bleached

    def expose(
        self,
        power_mw: float,
        excitation_mw: float | None = None,
        on_time_factor: float = 1.0,
    ) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Live through one frame at one power of each laser.

        A fluorophore that goes dark can be activated from the next frame on.

        Parameters
        ----------
        power_mw : float
            405 nm.
        excitation_mw : float, optional
            `Photophysics.reference_mw` if not given.
        on_time_factor : float
            Factor on the on-times, at the same photons per frame.

        Returns
        -------
        tuple[NDArray[np.int64], NDArray[np.float64]], both of shape (n,)
            Fluorophores that emitted during the frame and the expected number of
            photons detected from each.
        """
        reference_mw = self._physics.reference_mw
        excitation_mw = reference_mw if excitation_mw is None else excitation_mw
        begin = self._clock.end
        passes = excitation_mw / reference_mw / on_time_factor
        self._clock = clock = _Clock(self._clock.frame + 1, begin, begin + passes)
        fresh = self._activate(power_mw, excitation_mw)
        periods = self._live(_Rows.joined([self._lit, fresh]))
        lit = np.minimum(periods.off, clock.end) - np.maximum(periods.on, clock.begin)
        photons = periods.photons * (lit * on_time_factor)
        if self._physics.blink_probability > 0:
            return _per_fluorophore(periods.index, photons)
        return periods.index, photons

    def _activate(self, power_mw: float, excitation_mw: float) -> _Rows:
        """Switch some on during this frame."""
        rng, physics, clock = self._rng, self._physics, self._clock
        rate = physics.activation_per_mw * power_mw
        rate += physics.spontaneous_per_mw * excitation_mw
        chance = -np.expm1(-rate)
        count = int(rng.binomial(self._dark, chance))
        index = self._take_dark(count)
        # Exponential waiting time, given that it ended within the frame.
        share = rng.random(count)
        wait = -np.log1p(-share * chance) / rate if rate > 0 else share
        on = clock.read(clock.frame + wait)
        off = on + rng.exponential(physics.on_time_frames, count)
        photons = np.full(count, physics.photons)
        if physics.photon_spread > 0:
            shape = physics.photon_spread**-2
            photons *= rng.gamma(shape, 1 / shape, count)
        return _Rows(index, on, off, photons)

    def _take_dark(self, count: int) -> NDArray[np.int64]:
        """Take `count` of the dark ones out of the pool, at random."""
        taken = np.empty(count, np.int64)
        for i in range(count):
            place = int(self._rng.integers(self._dark))
            self._dark -= 1
            taken[i] = self._pool[place]
            self._pool[place] = self._pool[self._dark]
        return taken

    def _live(self, lit: _Rows) -> _Rows:
        """Let on-times begin and end during the frame; return all of them."""
        ended = lit.off <= self._clock.end
        self._lit = lit.chosen(~ended)
        if self._physics.blink_probability == 0:
            self._end(lit.index[ended])
            return lit
        periods, over = [lit], lit.chosen(ended)
        while len((back := self._blink(over)).index):
            ended = back.off <= self._clock.end
            self._lit = _Rows.joined([self._lit, back.chosen(~ended)])
            periods.append(back)
            over = back.chosen(ended)
        return _Rows.joined(periods)

    def _blink(self, over: _Rows) -> _Rows:
        """Send some to a short dark state; return all that are back in this frame."""
        chance, frames = self._physics.blink_probability, self._physics.blink_frames
        blinks = self._rng.random(len(over.index)) < chance
        self._end(over.index[~blinks])
        rest = over.chosen(blinks)
        if len(rest.index):
            dark = self._rng.exponential(frames, len(rest.off))
            rest.off = self._clock.frames(rest.off) + dark
            self._resting = _Rows.joined([self._resting, rest])
        awake = self._resting.off <= self._clock.frame + 1
        back = self._resting.chosen(awake)
        self._resting = self._resting.chosen(~awake)
        back.on = self._clock.read(back.off)
        back.off = back.on + self._rng.exponential(
            self._physics.on_time_frames, len(back.on)
        )
        return back

    def _end(self, index: NDArray[np.int64]) -> None:
        """Bleach some of those whose emission ended, return the others to dark."""
        gone = self._rng.random(len(index)) < self._physics.bleach_probability
        self._bleached += int(gone.sum())
        back = index[~gone]
        self._pool[self._dark : self._dark + len(back)] = back
        self._dark += len(back)


def _per_fluorophore(
    index: NDArray[np.int64], photons: NDArray[np.float64]
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Add up several on-times of a fluorophore within a frame."""
    once, place = np.unique(index, return_inverse=True)
    return once, np.asarray(np.bincount(place, photons, len(once)), np.float64)
