import subprocess
import sys

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from liveloc.stream.errors import RecordingError, SettingsError
from liveloc.stream.localizations import LOCALIZATION, empty
from liveloc.stream.tables.arrow import TableWriter, from_batch, to_batch
from liveloc.stream.tables.opening import read_table

METADATA = {"pixel_size_nm": "100.0", "roi_origin": "[0, 0]", "shape": "[64, 64]"}


def numbered(first, count):
    """Rows that say which they are."""
    rows = empty(count)
    for name in LOCALIZATION.names:
        rows[name] = np.arange(first, first + count) % 60_000
    return rows


def write(path, sizes, metadata=METADATA):
    with TableWriter(path, metadata) as table:
        for size in sizes:
            table.append(numbered(table.rows, size))
    return path.read_bytes()


def test_arrow_reads_a_closed_table_with_units_and_conventions(tmp_path):
    write(tmp_path / "t.arrow", [3, 4])
    with pa.ipc.open_stream(str(tmp_path / "t.arrow")) as stream:
        table = stream.read_all()
    assert table.num_rows == 7
    assert table.column("x_nm").type == pa.float32()
    said = {k.decode(): v.decode() for k, v in table.schema.metadata.items()}
    assert said["axis_order"] == "x = column, y = row"
    assert said["frame_base"] == "0"
    assert METADATA.items() <= said.items()


def test_the_same_appends_give_the_same_bytes(tmp_path):
    backwards = dict(reversed(METADATA.items()))
    assert write(tmp_path / "a.arrow", [3, 0, 9]) == write(
        tmp_path / "b.arrow", [3, 0, 9], backwards
    )


def test_a_batch_keeps_every_bit():
    rng = np.random.default_rng(1)
    rows = np.frombuffer(rng.bytes(LOCALIZATION.itemsize * 50), LOCALIZATION)
    assert from_batch(to_batch(rows)).tobytes() == rows.tobytes()


def test_metadata_without_a_pixel_size_are_refused(tmp_path):
    with pytest.raises(SettingsError, match=r"lack pixel_size_nm, shape.*stream_meta"):
        TableWriter(tmp_path / "t.arrow", {"roi_origin": "[0, 0]"})


def test_an_existing_table_is_never_overwritten(tmp_path):
    before = write(tmp_path / "t.arrow", [3])
    with pytest.raises(SettingsError, match="exists and is not overwritten"):
        TableWriter(tmp_path / "t.arrow", METADATA)
    assert (tmp_path / "t.arrow").read_bytes() == before


def test_every_prefix_gives_its_whole_batches_and_never_more(tmp_path):
    sizes = [2, 3, 4]
    data = write(tmp_path / "t.arrow", sizes)
    # Every length around the end of the schema and of each batch, every seventh else:
    # Arrow pads to eight bytes, so that all remainders come up.
    ends = [len(write(tmp_path / f"{n}.arrow", sizes[:n])) for n in range(4)]
    near = {end + step for end in ends for step in range(-32, 33)}
    torn, seen = tmp_path / "torn.arrow", set()
    for length in sorted({*range(0, len(data), 7), *near} & {*range(len(data))}):
        torn.write_bytes(data[:length])
        try:
            rows, metadata = read_table(torn)
        except SettingsError as error:
            assert "schema is torn" in str(error) or length < 4
            continue
        seen.add(len(rows))
        assert rows.tobytes() == numbered(0, len(rows)).tobytes()
        assert metadata["complete"] == "no"
    assert seen == {0, 2, 5, 9}


@settings(
    deadline=None,
    max_examples=60,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    sizes=st.lists(st.integers(0, 7), max_size=6),
    cut=st.integers(0, 200),
    data=st.data(),
)
def test_going_on_after_a_crash_gives_the_table_of_an_undisturbed_run(
    tmp_path, sizes, cut, data
):
    path, whole = tmp_path / "t.arrow", sum(sizes)
    path.unlink(missing_ok=True)
    undisturbed = write(path, sizes)
    ends = np.cumsum([0, *sizes]).tolist()
    done = data.draw(st.sampled_from(ends))
    schema_and_done = len(write_prefix(tmp_path, sizes, done))
    path.write_bytes(undisturbed[: max(schema_and_done, len(undisturbed) - cut)])
    with TableWriter(path, METADATA, resume_rows=done) as table:
        assert table.rows == done
        for size in sizes[ends.index(done) :]:
            table.append(numbered(table.rows, size))
        assert table.read_rows(0, whole + 9).tobytes() == numbered(0, whole).tobytes()
    assert path.read_bytes() == undisturbed


def write_prefix(folder, sizes, rows):
    """Bytes of a table that was killed after `rows` rows, without its end marker."""
    path = folder / "prefix.arrow"
    path.unlink(missing_ok=True)
    with TableWriter(path, METADATA) as table:
        for size in sizes:
            if table.rows == rows:
                break
            table.append(numbered(table.rows, size))
    return path.read_bytes()[:-8]


def test_resuming_inside_a_batch_keeps_the_rows_before(tmp_path):
    path = tmp_path / "t.arrow"
    write(path, [5, 5])
    with TableWriter(path, METADATA, resume_rows=7) as table:
        assert table.append(numbered(7, 4)) == 7
    rows, metadata = read_table(path)
    assert rows["frame"].tolist() == list(range(11))
    assert metadata["complete"] == "yes"


def test_resuming_nothing_starts_a_table(tmp_path):
    with TableWriter(tmp_path / "t.arrow", METADATA, resume_rows=0) as table:
        table.append(numbered(0, 2))
    assert len(read_table(tmp_path / "t.arrow")[0]) == 2


def test_resuming_more_rows_than_there_are_is_refused(tmp_path):
    write(tmp_path / "t.arrow", [5])
    with pytest.raises(SettingsError, match="holds 5 rows, but 6 are recorded as done"):
        TableWriter(tmp_path / "t.arrow", METADATA, resume_rows=6)


def test_resuming_the_table_of_another_stream_is_refused(tmp_path):
    write(tmp_path / "t.arrow", [5], METADATA | {"stream_id": "aa"})
    with pytest.raises(SettingsError, match="table of stream aa, not of bb"):
        TableWriter(tmp_path / "t.arrow", METADATA | {"stream_id": "bb"}, resume_rows=5)


@given(
    sizes=st.lists(st.integers(1, 5), min_size=1, max_size=8),
    first=st.integers(0, 45),
    count=st.integers(0, 45),
)
@settings(
    deadline=None,
    max_examples=50,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_rows_are_served_from_the_file_while_it_grows(tmp_path, sizes, first, count):
    path = tmp_path / "t.arrow"
    path.unlink(missing_ok=True)
    with TableWriter(path, METADATA) as table:
        for size in sizes:
            table.append(numbered(table.rows, size))
        expected = numbered(0, sum(sizes))[first : first + count]
        assert table.read_rows(first, count).tobytes() == expected.tobytes()


KILLED = """
import sys, time
import numpy as np
from liveloc.stream.localizations import empty
from liveloc.stream.tables.arrow import TableWriter
table = TableWriter(sys.argv[1], {metadata!r})
while True:
    rows = empty(600)
    rows["frame"] = np.arange(table.rows, table.rows + 600)
    table.append(rows)
    print(table.rows, flush=True)
    time.sleep(0.001)
"""


def test_killing_the_writer_loses_no_row_it_reported(tmp_path):
    path = tmp_path / "t.arrow"
    script = KILLED.format(metadata=METADATA)
    child = subprocess.Popen(
        [sys.executable, "-c", script, path], stdout=subprocess.PIPE, cwd=tmp_path
    )
    with child:
        reported = 0
        for _ in range(20):
            reported = int(child.stdout.readline())
        child.kill()
        rest = child.stdout.read().split(b"\n")
        reported = int(rest[-2]) if len(rest) > 1 else reported
    rows, metadata = read_table(path)
    assert len(rows) >= reported
    assert (rows["frame"] == np.arange(len(rows))).all()
    assert metadata["complete"] == "no"


def test_a_full_disk_is_reported_and_leaves_whole_batches(tmp_path):
    resource = pytest.importorskip("resource", reason="limits file sizes, POSIX only")
    path = tmp_path / "t.arrow"
    with TableWriter(path, METADATA) as table:
        table.append(numbered(0, 100))
        before, limits = path.stat().st_size, resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (before + 100, limits[1]))
        try:
            with pytest.raises(RecordingError, match=r"refused .* after row 100: only"):
                table.append(numbered(100, 100))
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        assert path.stat().st_size == before
        table.append(numbered(100, 7))
    assert read_table(path)[0].tobytes() == numbered(0, 107).tobytes()


def test_an_arrow_stream_of_something_else_names_its_columns(tmp_path):
    path = tmp_path / "t.arrow"
    other = pa.table({"temperature": [1.0]})
    with pa.ipc.new_stream(str(path), other.schema) as stream:
        stream.write_table(other)
    with pytest.raises(SettingsError, match=r"temperature'; a localization table has"):
        read_table(path)


@pytest.mark.parametrize("content", [b"", b"ARROW1\0\0", b"\xff\xff\xff\xff\xff\xff"])
def test_what_is_no_table_is_refused_by_name(tmp_path, content):
    path = tmp_path / "t.arrow"
    path.write_bytes(content)
    with pytest.raises(SettingsError, match=r"t\.arrow: (is not an Arrow|the schema)"):
        read_table(path)
    with pytest.raises(SettingsError, match=r"gone\.arrow: no such file"):
        read_table(tmp_path / "gone.arrow")
