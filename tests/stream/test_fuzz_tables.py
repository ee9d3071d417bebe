import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).resolve().parent))
import fuzz_readers
import fuzz_tables


@pytest.mark.parametrize("name", fuzz_tables.MINE)
def test_damaged_files_are_read_or_refused_in_words(tmp_path, name):
    count = 3 if name in fuzz_tables.SLOW else 25
    ends = fuzz_readers.fuzz(name, tmp_path, count=count, seed=0)
    assert ends["read"] + ends["refused"] == count
