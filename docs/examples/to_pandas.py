"""Read a table of localizations into pandas.

pandas does not come with liveloc: `pip install pandas`. Then, with the table of any
session:

    liveloc demo --session results
    python docs/examples/to_pandas.py results/localizations.arrow

polars, DuckDB, R and Julia read the file themselves: it is an Arrow stream.
"""

import sys

import pandas

from liveloc.stream import read_table

if __name__ == "__main__":
    table, metadata = read_table(sys.argv[1])  # a NumPy structured array
    rows = pandas.DataFrame(table)
    print(f"{len(rows)} localizations, pixels of {metadata['pixel_size_nm']} nm")

    sharp = rows[(rows.x_sigma_nm < 20) & (rows.y_sigma_nm < 20)]
    print(f"{len(sharp)} of them are known to better than 20 nm")

    by_frame = rows.groupby("frame").agg(
        emitters=("photons", "size"), photons=("photons", "median")
    )
    print(by_frame.describe().round(1))
