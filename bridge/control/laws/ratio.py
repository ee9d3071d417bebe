"""Power from the ratio of density and power: the default control law.

Density is gain times power, averaged over the on-time; the gain falls as the sample
bleaches. The law estimates the gain as filtered density over equally filtered power and
returns ``target / gain``. See docs/control.md for the derivation.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from .controller import Options, Positive

if TYPE_CHECKING:
    from .controller import Reading

ENOUGH_EMITTERS = 5.0  # seen in the memory of the filter, to trust the gain
REACH = 3.0  # times the power whose effect is visible, while the gain is not trusted
SURPRISE = 2.0  # standard errors beyond which the past is forgotten
SETTLING = 10.0  # times `averaging_s` before a drift is believed
LARGEST_CHANGE = 0.3  # of the logarithm of a slope, on its way from past to present
LARGEST_LAG = 0.3  # of log gain behind its mean; more is a step, not bleaching
SMALLEST = 1e-12
ROUNDING = 1e-9


class RatioOptions(Options):
    """Options of `RatioLaw`.

    Attributes
    ----------
    on_time_s : float
        Approximate mean on-time, s; a factor of three either way is fine.
    latency_s : float
        Shortest time from the readout of a frame to the laser's response, s; for a
        reading that is older at its decision its age counts.
    averaging_s : float
        Memory of the estimated gain, s, beyond what the length of a block needs.
    bleaching_s : float
        Time over which the drift of the gain is measured, s.
    floor : float
        Lowest power from which the gain is estimated, as a fraction of the highest.
    """

    on_time_s: Positive = 0.06
    latency_s: Positive = 0.04
    averaging_s: Positive = 0.03
    bleaching_s: Positive = 7.0
    floor: Annotated[float, Field(gt=0, le=0.1)] = 1e-3


class _OnTimeFilter:
    """Power as the density sees it: averaged over the on-time.

    Parameters
    ----------
    on_time_s : float
        Time constant.
    power : float
        Initial power, assumed constant before `t_s`.
    t_s : float
        Present time on a monotonic clock, s.
    """

    def __init__(self, on_time_s: float, power: float, t_s: float) -> None:
        self._on_time_s = on_time_s
        self._state, self._t_s = power, t_s
        self._powers: list[tuple[float, float]] = []  # (until, power), by time

    def hold(self, power: float, until_s: float) -> None:
        """Note the power in force from the last noted time on."""
        self._powers.append((until_s, power))

    def advance(self, t_s: float) -> float:
        """Go on to a time; return the mean of the filtered power on the way."""
        total, began = 0.0, self._t_s
        while self._t_s < t_s:
            until, power = self._powers[0] if self._powers else (t_s, self._state)
            span = min(until, t_s) - self._t_s
            if span > 0:
                left = math.exp(-span / self._on_time_s)
                away = self._state - power
                total += power * span + away * self._on_time_s * (1 - left)
                self._state = power + away * left
                self._t_s += span
            if until <= t_s and self._powers:
                self._powers.pop(0)
            elif span <= 0:  # too short for floating point
                break
        return total / (self._t_s - began) if self._t_s > began else self._state


class _Drift:
    """Slope of a noisy log gain, from its mean and the mean of its mean."""

    def __init__(self, memory_s: float) -> None:
        self._memory_s, self._half_s = memory_s, memory_s / 2
        self._once = self._twice = 0.0

    @property
    def per_s(self) -> float:
        """The present slope; bleaching makes it negative.

        A constant density takes as many fluorophores every second, so that the gain
        falls along a line and its logarithm ever faster. The means show the
        slope about `memory_s` ago.
        """
        past = (self._once - self._twice) / self._half_s
        change = min(max(-past * self._memory_s, -LARGEST_CHANGE), LARGEST_CHANGE)
        return past * math.exp(change)

    def restart(self, value: float) -> None:
        """Forget the slope."""
        self._once = self._twice = value

    def follow(self, value: float, dt_s: float) -> None:
        """Take a value in; a step moves the means along and leaves the slope."""
        lag = value - self._once
        step = lag - min(max(lag, -LARGEST_LAG), LARGEST_LAG)
        self._once += step
        self._twice += step
        share = -math.expm1(-dt_s / self._half_s)
        self._once += share * (value - self._once)
        self._twice += share * (self._once - self._twice)


class RatioLaw:
    """Returns the power at which the present gain leads to the target.

    Parameters
    ----------
    options : RatioOptions, optional
        Times of the sample and of the instrument.
    """

    def __init__(self, options: RatioOptions | None = None) -> None:
        self._options = options or RatioOptions()
        self._filter: _OnTimeFilter | None = None
        self._drift = _Drift(self._options.bleaching_s)
        self._last: Reading | None = None
        self._density = self._power = 0.0  # filtered alike
        self._visible = 0.0  # power that the newest block shows
        self._block_s = 0.0
        self._settled_s = 0.0

    def control(self, reading: Reading) -> float | None:
        """Return the power to set; a reading seen before only renews the target."""
        if reading.target_per_um2 <= 0:
            self._filter = None
            return reading.lowest
        floor = max(reading.lowest, self._options.floor * reading.highest)
        last = self._last
        if last is None or self._filter is None or reading.last_seq < last.last_seq:
            self._begin(reading, floor)
        elif reading.last_seq > last.last_seq and reading.t_s > last.t_s:
            self._learn(self._filter, last, reading, floor)
        return self._answer(reading, floor)

    def _begin(self, reading: Reading, floor: float) -> None:
        """Start the clock; without any knowledge, the present power may be right."""
        power = max(reading.power, floor)
        self._filter = _OnTimeFilter(self._options.on_time_s, power, reading.t_s)
        self._filter.hold(power, reading.t_s + self._latency_s(reading))
        if self._power == 0.0:
            self._density = 1 / reading.area_um2  # worth one emitter
            self._power = self._density * power / reading.target_per_um2
        self._visible, self._settled_s, self._last = power, 0.0, reading
        self._drift.restart(self._log_gain())

    def _log_gain(self) -> float:
        return math.log(self._density / self._power)

    def _learn(
        self, seen: _OnTimeFilter, last: Reading, reading: Reading, floor: float
    ) -> None:
        """Compare the density of a block with the power that it is the effect of."""
        dt_s = reading.t_s - last.t_s
        power = max(reading.power, floor)
        seen.hold(power, reading.t_s + self._latency_s(reading))
        frames = reading.last_seq - reading.first_seq + 1
        share = min(1.0, frames / (reading.last_seq - last.last_seq))
        seen.advance(reading.t_s - share * dt_s)  # over frames that no reading covers
        self._visible, self._block_s = seen.advance(reading.t_s), share * dt_s
        self._density *= math.exp(self._drift.per_s * dt_s)
        weight = self._weight(reading)
        new = weight * self._information(reading)
        old = (1 - new) * self._trust(reading)
        density = old * self._density + new * reading.per_um2
        self._density = max(density, SMALLEST)
        self._power = old * self._power + new * self._visible
        self._last = reading
        in_range = self._keep_in_range(reading, floor)
        self._follow_drift(dt_s, in_range, self._block_s / weight)

    def _latency_s(self, reading: Reading) -> float:
        """Return the time from the readout of the newest frame to the answer to it."""
        return max(self._options.latency_s, reading.age_s)

    def _information(self, reading: Reading) -> float:
        """Return how much a block shows of the gain: 0 if it was dark, as predicted.

        Such a block does not erase what is known of the gain.
        """
        predicted = self._density / self._power * self._visible
        emitters = max(predicted, reading.per_um2) * reading.area_um2
        return min(1.0, emitters / ENOUGH_EMITTERS)

    def _weight(self, reading: Reading) -> float:
        """Weight of a new block.

        The longer a block and the later the answer, the less of its noise is left when
        that acts: answering to it only adds to the next block's noise.
        """
        options, block_s = self._options, self._block_s
        response_s = options.on_time_s + options.latency_s
        late_s = max(self._latency_s(reading) - response_s, 0.0)
        return block_s / (
            options.averaging_s + late_s + block_s * (1 + block_s / response_s / 2)
        )

    def _trust(self, reading: Reading) -> float:
        """How far the past still counts: 1, or less after a surprise."""
        predicted = max(self._density / self._power * self._visible, SMALLEST)
        times = self._block_s / self._options.on_time_s
        # Relative variance of the mean of a correlated count.
        shot = 2 / times * (1 + math.expm1(-times) / times)
        variance = shot / (predicted * reading.area_um2)
        variance += (reading.sigma_per_um2 / predicted) ** 2
        surprise = abs(reading.per_um2 / predicted - 1) / math.sqrt(variance)
        return min(1.0, (SURPRISE / surprise) ** 2) if surprise > 0 else 1.0

    def _keep_in_range(self, reading: Reading, floor: float) -> bool:
        """Keep the gain where the laser can answer to it: no wind-up."""
        target, highest = reading.target_per_um2, reading.highest
        wanted = target * self._power / self._density
        possible = min(max(wanted, floor), highest)
        if possible == wanted:
            return True
        self._density = target * self._power / possible
        return False

    def _follow_drift(self, dt_s: float, in_range: bool, memory_s: float) -> None:
        """Follow the drift, but not the search for the gain at the beginning."""
        self._settled_s = self._settled_s + dt_s if in_range else 0.0
        if self._settled_s < max(SETTLING * self._options.averaging_s, memory_s):
            self._drift.restart(self._log_gain())
        else:
            self._drift.follow(self._log_gain(), dt_s)

    def _answer(self, reading: Reading, floor: float) -> float:
        options = self._options
        # The answer acts after the latency, and shows within the on-time and a block.
        ahead_s = self._latency_s(reading) + options.on_time_s + self._block_s
        wanted = reading.target_per_um2 * self._power / self._density
        wanted *= math.exp(-self._drift.per_s * ahead_s)
        if self._density * reading.area_um2 < ENOUGH_EMITTERS:
            wanted = min(wanted, REACH * self._visible)
        if wanted >= reading.highest * (1 - ROUNDING):
            return reading.highest
        return reading.lowest if wanted <= floor * (1 + ROUNDING) else wanted
