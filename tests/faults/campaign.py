"""Random faults against small real sessions: is the report true every time?

    python tests/faults/campaign.py --seed 7
    python tests/faults/campaign.py --seed 7 --only kill --count 20
    python tests/faults/campaign.py --seed 7 --number 42 --keep folder

The faults of a seed are always the same. For each, one line says what was done, whether
everything was as it must be, and how long it took. The exit code is 1 if anything was
not; its folder is then kept, and its command line repeats it. Linux only: it stops and
kills processes, looks for orphans in /proc, and fills small disks where it may mount
any.
"""

from __future__ import annotations

import argparse
import random
import shutil
import sys
import tempfile
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import files
import sessions
from checks import run_liveloc

# How often each kind comes; the rest of a hundred are files.
WEIGHTS = {
    "kill": 22,
    "pause": 14,
    "signal": 14,
    "disk": 8,
    "flood": 12,
    "torn": 18,
    "input": 12,
}
MOST_S = 100.0  # longest that a fault may take


@dataclass(frozen=True)
class Fault:
    """One fault of a campaign: what is done, and with which numbers."""

    number: int
    kind: str
    parameters: dict[str, Any]

    def __str__(self) -> str:
        said = " ".join(f"{name}={value}" for name, value in self.parameters.items())
        return f"#{self.number:<3} {self.kind:7} {said}"


def faults(seed: int, count: int) -> list[Fault]:
    """Return the faults of a seed; a longer campaign begins with those of a shorter."""
    chosen = []
    for number in range(1, count + 1):
        rng = random.Random(f"{seed} {number}")
        kind = rng.choices(list(WEIGHTS), list(WEIGHTS.values()))[0]
        draw = sessions.DRAW.get(kind) or files.DRAW[kind]
        chosen.append(Fault(number, kind, draw(rng)))
    return chosen


class Campaign:
    """Runs faults beside each other and counts what was wrong."""

    def __init__(self, root: Path, seed: int) -> None:
        self.root, self.seed = root, seed
        self.base = root / "recorded"
        self.wrong: list[Fault] = []
        self.kinds: Counter[str] = Counter()
        self._saying = threading.Lock()

    def record(self) -> None:
        """Record the session whose files are torn later."""
        done = run_liveloc(
            *("demo", "--headless", "--frames", "150", "--size", "64", "--record"),
            *("--session", str(self.base)),
            log=self.root / "recorded.log",
            mark="recorded",
            timeout_s=MOST_S,
        )
        if done.code != 0:
            raise SystemExit(f"the undisturbed session ended with {done.code}: {done}")

    def run(self, fault: Fault) -> None:
        """Run one fault and say what came of it."""
        folder = self.root / f"{fault.number}"
        folder.mkdir()
        began = time.monotonic()
        try:
            if fault.kind in sessions.DRAW:
                complaints = sessions.run(fault.kind, fault.parameters, folder)
            else:
                complaints = files.run(fault.kind, fault.parameters, folder, self.base)
        except Exception as error:  # of the campaign itself: a violation, too
            complaints = [f"the campaign failed: {error!r}"]
        took_s = time.monotonic() - began
        with self._saying:
            self.kinds[fault.kind] += 1
            verdict = "ok" if not complaints else "; ".join(complaints)
            print(f"{fault}  {took_s:.1f} s  {verdict}", flush=True)
            if complaints:
                self.wrong.append(fault)
        if not complaints:
            shutil.rmtree(folder, ignore_errors=True)


def main() -> int:
    """Run a campaign; return 1 if anything was not as it must be."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--only", choices=list(WEIGHTS), help="faults of this kind")
    parser.add_argument("--number", type=int, help="this fault of the seed alone")
    parser.add_argument("--workers", type=int, default=2, help="at the same time")
    parser.add_argument("--keep", type=Path, help="folder for what is kept")
    asked = parser.parse_args()
    if sys.platform != "linux":
        print("the campaign stops processes and reads /proc: Linux only")
        return 2
    if asked.keep is not None:
        asked.keep.mkdir(parents=True, exist_ok=True)
    root = Path(tempfile.mkdtemp(prefix=f"campaign-{asked.seed}-", dir=asked.keep))
    campaign = Campaign(root, asked.seed)
    chosen = [
        fault
        for fault in faults(asked.seed, max(asked.count, asked.number or 0))
        if asked.only in (None, fault.kind) and asked.number in (None, fault.number)
    ]
    if any(fault.kind in files.DRAW for fault in chosen):
        campaign.record()
    began = time.monotonic()
    with ThreadPoolExecutor(asked.workers) as workers:
        list(workers.map(campaign.run, chosen))
    kinds = ", ".join(f"{n} {kind}" for kind, n in sorted(campaign.kinds.items()))
    print(
        f"{len(chosen)} faults in {time.monotonic() - began:.0f} s ({kinds}): "
        f"{len(campaign.wrong)} with a violation"
    )
    for fault in campaign.wrong:
        print(
            f"  --seed {asked.seed} --number {fault.number}: {root / str(fault.number)}"
        )
    if not campaign.wrong:
        shutil.rmtree(root, ignore_errors=True)
    return 1 if campaign.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
