"""A few faults of the campaign; `campaign.py` runs as many as one likes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

CAMPAIGN = Path(__file__).with_name("campaign.py")


@pytest.mark.skipif(sys.platform != "linux", reason="stops processes, reads /proc")
@pytest.mark.timeout(300)
def test_a_short_campaign_finds_nothing() -> None:
    result = subprocess.run(
        [sys.executable, str(CAMPAIGN), "--seed", "718", "--count", "5"],
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    assert "5 faults in" in result.stdout
