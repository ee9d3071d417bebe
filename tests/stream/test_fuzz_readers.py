import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).resolve().parent))
import fuzz_readers


@pytest.mark.parametrize("name", fuzz_readers.READERS)
def test_damaged_files_are_read_or_refused_in_words(tmp_path, name):
    ends = fuzz_readers.fuzz(name, tmp_path, count=40, seed=0)
    assert ends["read"] + ends["refused"] == 40
    assert ends["refused"]
