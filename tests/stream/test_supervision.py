"""Child processes of a session."""

import os
import sys

import pytest

from liveloc.stream.supervision import GENTLY, Child


@pytest.mark.skipif(sys.platform == "win32", reason="niceness is a thing of Unix")
def test_a_gentle_child_gets_its_time_after_the_others(tmp_path):
    for gently in (False, True):
        # "--supervised" alone ends at once: what counts is how it was started.
        child = Child("doctor", ["--help"], tmp_path / "log", gently=gently)
        try:
            here = os.getpriority(os.PRIO_PROCESS, 0)
            there = os.getpriority(os.PRIO_PROCESS, child.pid)
        finally:
            child.stop()
        assert there == (GENTLY if gently else here)
