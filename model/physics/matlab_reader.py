"""Reads a MATLAB file of version 5 to 7 in a process of its own.

Run as a program: SciPy's reader can end the process on a damaged file. Writes the
numbers that are wanted as ``.npz`` to its standard output, each under its path:
``SXY/cspline/coeff``; elements of a cell or a list are numbered.
"""

from __future__ import annotations

import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Any

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
    array = np.asarray(value)
    if array.dtype.kind == "O":
        for k, item in enumerate(array.ravel()[:MOST_ELEMENTS]):
            yield from leaves(item, wanted, (*path, str(k)))
    elif array.dtype.kind in "biuf":
        yield "/".join(path), array


def main() -> None:
    """Read ``argv[1]``; its variables are ``argv[2]``, wanted names ``argv[3]``."""
    from scipy.io import loadmat

    with suppress(ImportError, ValueError, OSError):
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (MOST_BYTES, MOST_BYTES))
    variables, wanted = (names.split(",") for names in sys.argv[2:4])
    found = loadmat(sys.argv[1], variable_names=variables, simplify_cells=True)
    kept = {name: found[name] for name in variables if name in found}
    np.savez(sys.stdout.buffer, **dict(leaves(kept, {*wanted, *variables})))


if __name__ == "__main__":
    try:
        main()
    except Exception as error:
        sys.exit(f"{type(error).__name__}: {error}")
