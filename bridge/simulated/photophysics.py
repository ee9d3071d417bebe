"""How fluorophores switch on, blink and bleach, frame by frame.

::

                405 nm power x rate              on-time over
        dark  ─────────────────────►  emitting  ─────────────► bleached
          ▲                                           │
          └────────────── back to dark ───────────────┘

Times are continuous, in frames: the first and the last frame of an emission are
partly lit, as on a real camera.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

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
        Mean of the exponential on-time.
    bleach_probability : float
        Chance that an emission is the last one; 0.25 gives four on average.
    photons : float
        Mean detected photons of a fully lit frame.
    photon_spread : float
        Relative standard deviation between emissions (gamma distributed).
    """

    activation_per_mw: float
    on_time_frames: float
    bleach_probability: float
    photons: float
    photon_spread: float


@dataclass(slots=True)
class _Emissions:
    """Emissions under way, one row each."""

    index: NDArray[np.int64]
    on: NDArray[np.float64]  # frames
    off: NDArray[np.float64]  # frames
    photons: NDArray[np.float64]  # per fully lit frame


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
        self._frame = 0
        none = np.empty(0)
        self._lit = _Emissions(np.empty(0, np.int64), none, none, none)

    @property
    def dark(self) -> int:
        """Fluorophores that can be activated."""
        return self._dark

    @property
    def emitting(self) -> int:
        """Fluorophores that are on at the end of the last frame."""
        return len(self._lit.index)

    @property
    def bleached(self) -> int:
        """Fluorophores gone for good."""
        return self._bleached

    def expose(self, power_mw: float) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Live through one frame at one power.

        A fluorophore that goes dark can be activated from the next frame on.

        Returns
        -------
        tuple[NDArray[np.int64], NDArray[np.float64]], both of shape (n,)
            Fluorophores that emitted during the frame and the expected number of
            photons detected from each.
        """
        frame, lit = self._frame, self._activate(power_mw)
        lit_share = np.minimum(lit.off, frame + 1) - np.maximum(lit.on, frame)
        ended = lit.off <= frame + 1
        self._end(lit.index[ended])
        on = ~ended
        self._lit = _Emissions(lit.index[on], lit.on[on], lit.off[on], lit.photons[on])
        self._frame += 1
        return lit.index, lit.photons * lit_share

    def _activate(self, power_mw: float) -> _Emissions:
        """Switch some on during this frame; return all emissions of the frame."""
        rng, physics = self._rng, self._physics
        rate = physics.activation_per_mw * power_mw
        chance = -np.expm1(-rate)
        fresh = int(rng.binomial(self._dark, chance))
        index = self._take_dark(fresh)
        # Exponential waiting time, given that it ended within the frame.
        share = rng.random(fresh)
        wait = -np.log1p(-share * chance) / rate if rate > 0 else share
        on = self._frame + wait
        off = on + rng.exponential(physics.on_time_frames, fresh)
        photons = np.full(fresh, physics.photons)
        if physics.photon_spread > 0:
            shape = physics.photon_spread**-2
            photons *= rng.gamma(shape, 1 / shape, fresh)
        old = self._lit
        return _Emissions(
            np.concatenate([old.index, index]),
            np.concatenate([old.on, on]),
            np.concatenate([old.off, off]),
            np.concatenate([old.photons, photons]),
        )

    def _take_dark(self, count: int) -> NDArray[np.int64]:
        """Take `count` of the dark ones out of the pool, at random."""
        taken = np.empty(count, np.int64)
        for i in range(count):
            place = int(self._rng.integers(self._dark))
            self._dark -= 1
            taken[i] = self._pool[place]
            self._pool[place] = self._pool[self._dark]
        return taken

    def _end(self, index: NDArray[np.int64]) -> None:
        """Bleach some of those whose emission ended, return the others to dark."""
        gone = self._rng.random(len(index)) < self._physics.bleach_probability
        self._bleached += int(gone.sum())
        back = index[~gone]
        self._pool[self._dark : self._dark + len(back)] = back
        self._dark += len(back)
