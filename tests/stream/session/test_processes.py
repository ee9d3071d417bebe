"""Child processes of a session."""

import os
import sys

import pytest

from liveloc.stream.session.processes import GENTLY, Child


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


@pytest.fixture(scope="module")
def ended(tmp_path_factory):
    """Return a child that has ended, and its log."""
    log = tmp_path_factory.mktemp("child") / "log"
    child = Child("doctor", ["--help"], log)
    child.stop()
    return child, log


@pytest.mark.parametrize(
    ("printed", "words"),
    [
        ("starting\nliveloc: no camera\n\n", "no camera"),
        (
            'shown\nX connection to ":7" lost\r\n      after 391 requests.\r\n',
            'X connection to ":7" lost after 391 requests.',
        ),
        ("  File x\n    raise\n", "raise"),
        ("  alone\n", "alone"),
        ("", ""),
    ],
)
def test_last_words_are_the_last_line_and_what_it_continues(ended, printed, words):
    child, log = ended
    log.write_text(printed)
    assert child.last_words() == words
