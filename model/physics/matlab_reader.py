"""Reads a MATLAB file, of version 5 to 7 or 7.3, in a process of its own.

Run as a program: on a damaged file SciPy's reader can end the process, and HDF5 can
damage its memory. Writes the numbers that are wanted as ``.npz`` to its standard
output, each under its path: ``SXY/cspline/coeff``; elements of a cell are numbered.
"""

from __future__ import annotations

import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

MOST_BYTES = 8 << 30  # of memory: beyond, a file is damaged
MOST_ELEMENTS = 1000  # of a cell


def leaves(
    value: Any, wanted: set[str], path: tuple[str, ...] = ()
) -> Iterator[tuple[str, Any]]:
    """Yield (path, numbers) of everything wanted in nested structs and cells."""
    if isinstance(value, dict):
        for name in value:
            if name in wanted:
                yield from leaves(value[name], wanted, (*path, name))
        return
    if not isinstance(value, list):
        array = np.asarray(value)
        if array.dtype.kind in "biuf":
            yield "/".join(path), array
        value = array.ravel() if array.dtype.kind == "O" else []
    for k, item in enumerate(value[:MOST_ELEMENTS]):
        yield from leaves(item, wanted, (*path, str(k)))


def from_hdf5(file: Any, item: Any, wanted: set[str]) -> Any:
    """Read one variable of version 7.3: axes in MATLAB's order, cells as lists.

    Fields of an array of structs are datasets of references, so an array of one
    struct reads as that struct.
    """
    if isinstance(item, h5py.Group):
        return {
            name: from_hdf5(file, item[name], wanted) for name in item if name in wanted
        }
    if item.dtype == h5py.ref_dtype:
        references = np.ravel(item[()])[:MOST_ELEMENTS]
        return [from_hdf5(file, file[reference], wanted) for reference in references]
    return np.asarray(item[()]).T


def main() -> None:
    """Read ``argv[1]``: what has one of the names in ``argv[2]``."""
    with suppress(ImportError, ValueError, OSError):
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (MOST_BYTES, MOST_BYTES))
    path, wanted = sys.argv[1], set(sys.argv[2].split(","))
    if h5py.is_hdf5(path):
        with h5py.File(path) as file:
            found = from_hdf5(file, file, wanted)
    else:
        from scipy.io import loadmat

        found = loadmat(path, variable_names=list(wanted), simplify_cells=True)
    np.savez(sys.stdout.buffer, **dict(leaves(found, wanted)))


if __name__ == "__main__":
    try:
        main()
    except Exception as error:
        sys.exit(f"{type(error).__name__}: {error}")
