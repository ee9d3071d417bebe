"""Are predicted uncertainties true? Errors over sigma in a simulated session.

liveloc demo --headless --frames 3000 --session demo
python tests/benchmarks/sigma_calibration.py demo
"""

import argparse
from pathlib import Path

import numpy as np

from liveloc.model.metrics import match
from liveloc.stream.table import read_table

MEDIAN_OF_NORMAL = 0.6745  # of |x| for a standard normal x


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("session", type=Path)
    folder = parser.parse_args().session
    table, _ = read_table(folder / "localizations.arrow")
    truth, _ = read_table(folder / "truth.arrow")
    found, real = match(table, truth)
    for axis in "xyz":
        error = table[f"{axis}_nm"][found] - truth[f"{axis}_nm"][real]
        ratio = error / table[f"{axis}_sigma_nm"][found]
        robust = np.median(np.abs(ratio)) / MEDIAN_OF_NORMAL
        print(f"{axis}: robust {robust:.2f}, standard deviation {ratio.std():.2f}")


if __name__ == "__main__":
    main()
