import numpy as np
import pytest

from liveloc.bridge.control.settling import judge


def test_a_density_that_comes_and_stays():
    density = np.concatenate([np.full(200, 0.1), np.full(1000, 0.52)])
    judged = judge(density, 0.5)
    # 42 of 50 frames at 0.52 and the rest at 0.1 make 0.453, 41 make 0.444
    assert judged.settled_after_frames == 242
    assert judged.within_10_percent_fraction == 1.0
    assert judged.overshoot_percent == pytest.approx(4.0)


def test_half_of_the_blocks_are_elsewhere():
    later = np.repeat(np.tile([1.0, 1.3], 10), 50)
    judged = judge(np.concatenate([np.ones(50), later]), 1.0)
    assert judged.settled_after_frames == 50
    assert judged.within_10_percent_fraction == 0.5
    assert judged.overshoot_percent == pytest.approx(30.0)


@pytest.mark.parametrize("frames", [0, 49, 300])
def test_a_density_that_never_comes(frames):
    judged = judge(np.full(frames, 0.1), 0.5)
    assert judged.settled_after_frames is None
    assert judged.within_10_percent_fraction == 0.0
    assert judged.overshoot_percent == 0.0
