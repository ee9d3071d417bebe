"""A field of blinking emitters under a control law: discrete, seeded, fast.

Fluorophores wait in the dark, are activated at a rate proportional to the power, emit
for an exponential on-time and return to the dark or bleach. On-times have no memory, so
that counts suffice. A law sees blocks of frames, some frames late.
"""

import math
from dataclasses import dataclass, field, replace

import numpy as np

from liveloc.bridge.control.laws.controller import Reading

FRAME_S = 0.01
AREA_UM2 = 1.28 * 1.28 * 100  # 128 x 128 pixels of 100 nm


@dataclass(frozen=True)
class Field:
    """What lies under the objective; frames are 10 ms."""

    fluorophores: int = 30_000
    on_time_frames: float = 6.0
    bleach_probability: float = 0.25
    power_for_half: float = 5.0  # gives 0.5 per um2 while all fluorophores are left
    spontaneous: float = 0.0  # emitters per um2 that are on without any light
    area_um2: float = AREA_UM2
    noise: float = 0.03  # of the density of one frame

    @property
    def activation(self):
        """Chance per dark fluorophore, frame and unit of power."""
        lit = self.on_time_frames + 1  # frames in which an emission is seen
        return 0.5 * self.area_um2 / lit / self.power_for_half / self.fluorophores


@dataclass
class Trace:
    """One value per frame."""

    per_um2: np.ndarray
    power: np.ndarray
    dark: np.ndarray
    target: np.ndarray
    wanted: list = field(default_factory=list)

    def means(self, start, stop=None, frames=50):
        """Means over blocks of frames, relative to the target."""
        part = slice(start, stop)
        ratio = self.per_um2[part] / self.target[part]
        whole = len(ratio) // frames * frames
        return ratio[:whole].reshape(-1, frames).mean(1)


def run(
    law,
    frames,
    *,
    target=0.5,
    seed=0,
    ticks_per_s=10.0,
    delay_frames=4,
    sample=None,
    power=0.0,
    lowest=0.0,
    highest=50.0,
    changes=(),
    guard=None,
    bias=1.0,
):
    """Close the loop over `frames` frames.

    `changes` are (frame, {name: value}): of a `Field`, or `target`, `delay_frames`,
    `bias`, which multiplies what the law is told, or `dark`: nobody is asked and the
    laser is at 0. The last frame of a block is `delay_frames` old when the answer to it
    reaches the laser. `guard` is called as
    guard(law, reading, now_s) and answers the power; without it the law's answer is
    only limited.
    """
    sample = sample or Field()
    rng = np.random.default_rng(seed)
    activation = sample.activation
    dark, on = sample.fluorophores, 0
    density, powers = np.empty(frames), np.empty(frames)
    darks, targets = np.empty(frames), np.empty(frames)
    seen = np.empty(frames)
    every = round(1 / (ticks_per_s * FRAME_S))
    changes = sorted(changes, key=lambda change: change[0])
    waiting, wanted, closed = [], [], False
    last_seq, last_t = -1, None
    for k in range(frames):
        while changes and changes[0][0] <= k:
            given = dict(changes.pop(0)[1])
            target = given.pop("target", target)
            bias = given.pop("bias", bias)
            delay_frames = given.pop("delay_frames", delay_frames)
            closed = given.pop("dark", closed)
            sample = replace(sample, **given)
        while waiting and waiting[0][0] <= k:
            power = waiting.pop(0)[1]
        if closed:
            power, waiting = 0.0, []
        fresh = rng.binomial(dark, -math.expm1(-activation * power))
        fresh += rng.poisson(
            sample.spontaneous * sample.area_um2 / (sample.on_time_frames + 1)
        )
        fresh = min(fresh, dark)
        count = on + fresh
        # Fresh ones live through half a frame on the average: two steps of one half.
        off = rng.binomial(on, -math.expm1(-1 / sample.on_time_frames))
        off += rng.binomial(fresh, -math.expm1(-0.5 / sample.on_time_frames))
        on = count - off
        bleached = rng.binomial(off, sample.bleach_probability)
        dark += off - bleached - fresh
        density[k] = count / sample.area_um2
        seen[k] = max(0.0, bias * density[k] * (1 + sample.noise * rng.normal()))
        powers[k], darks[k], targets[k] = power, dark, target
        if (k + 1) % every or closed:
            continue
        first, t_s = last_seq + 1, (k + 1) * FRAME_S
        reading = Reading(
            t_s=t_s,
            dt_s=0.0 if last_t is None else t_s - last_t,
            first_seq=first,
            last_seq=k,
            frames=k + 1 - first,
            per_um2=float(seen[first : k + 1].mean()),
            sigma_per_um2=float(
                np.sqrt(density[first : k + 1].mean() * 0.05 / sample.area_um2 / every)
            ),
            area_um2=sample.area_um2,
            # The laser has what was commanded up to now, delays are in the frames.
            power=waiting[-1][1] if waiting else power,
            target_per_um2=target,
            lowest=lowest,
            highest=highest,
            age_s=delay_frames * FRAME_S,
        )
        last_seq, last_t = k, t_s
        if guard is not None:
            answer = guard(law, reading, t_s + delay_frames * FRAME_S)
        else:
            answer = law.control(reading)
            answer = reading.power if answer is None else answer
        wanted.append(answer)
        waiting.append((k + 1 + delay_frames, min(max(answer, lowest), highest)))
    return Trace(density, powers, darks, targets, wanted)
