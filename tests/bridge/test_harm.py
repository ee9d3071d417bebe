"""Each harm once; ``python tests/bridge/harm.py 20`` does it twenty times."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
import harm

pytestmark = pytest.mark.timeout(180)  # three processes

IN_THE_SUITE = (
    "engine killed",
    "asked to end",
    "laser raises once",
    "laser reads nan",
    "laser hangs, with a shutter",
    "camera stalls",
    "camera pulled out",
)


@pytest.mark.parametrize("case", IN_THE_SUITE)
def test_the_laser_is_safe_in_time_and_the_recording_whole(case, tmp_path):
    outcome, wrong = harm.run(case, tmp_path / "session")
    assert not wrong, f"{wrong}: {outcome}"
