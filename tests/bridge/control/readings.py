"""Readings for the tests of this folder."""

from dataclasses import replace

from liveloc.bridge.control.laws.controller import Reading

READING = Reading(
    t_s=10.0,
    dt_s=0.1,
    first_seq=0,
    last_seq=9,
    frames=10,
    per_um2=0.5,
    sigma_per_um2=0.01,
    area_um2=100.0,
    power=5.0,
    target_per_um2=0.5,
    lowest=0.0,
    highest=50.0,
)


def at(t_s, **changes):
    seq = round(t_s * 100)
    return replace(READING, t_s=t_s, first_seq=seq - 9, last_seq=seq, **changes)
