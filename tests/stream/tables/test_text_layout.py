"""Text tables as programs and spreadsheets write them."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from liveloc.stream.errors import SettingsError
from liveloc.stream.tables.opening import open_pieces, read_table
from liveloc.stream.tables.pieces import remarks_on

NAMES = ("id", "frame", "x [nm]", "y [nm]")
ROWS = [(k, 1 + k // 3, 450.25 + 10 * k, 80.75 + k) for k in range(30)]


def text(rows=ROWS, names=NAMES, separator=",", point=".", end="\n", last=""):
    lines = [separator.join(f'"{name}"' for name in names)]
    lines += [
        separator.join(str(v).replace(".", point) for v in row) + last for row in rows
    ]
    return end.join(lines) + end


LAYOUTS = {
    "plain": text().encode(),
    "semicolons": text(separator=";").encode(),
    "decimal commas": text(separator=";", point=",").encode(),
    "tabs": text(separator="\t").encode(),
    "tabs, decimal commas": text(separator="\t", point=",").encode(),
    "sep line": b"sep=;\r\n" + text(separator=";", end="\r\n").encode(),
    "quoted sep line": b'"sep=\t"\n' + text(separator="\t").encode(),
    "UTF-8 with a mark": text().encode("utf-8-sig"),
    "UTF-16": text(separator="\t", end="\r\n").encode("utf-16"),
    "UTF-16 without a mark": text().encode("utf-16-le"),
    "UTF-16, the other end first": text().encode("utf-16-be"),
    "UTF-32": text().encode("utf-32"),
    "Latin-1": text([(*row, "\u00b5") for row in ROWS], (*NAMES, "note \u00b5")).encode(
        "latin-1"
    ),
    "commas at the end of lines": text(last=",").encode(),
    "old Macintosh": text(end="\r").encode(),
    "a header quoted as a whole": (
        '"' + text().replace('"', '""').replace("\n", '"\n', 1)
    ).encode(),
    "quoted numbers with decimal commas": text(
        [(*row[:2], f'"{row[2]}"', f'"{row[3]}"') for row in ROWS], point=","
    ).encode(),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_gives_the_same_rows(tmp_path, layout):
    path = tmp_path / "t.csv"
    path.write_bytes(LAYOUTS[layout])
    rows, metadata = read_table(path, 100.0)
    assert metadata["dialect"] == "thunderstorm"
    assert rows["frame"].tolist() == [k // 3 for k in range(30)]
    assert np.allclose(rows["x_nm"], [400.25 + 10 * k for k in range(30)])
    assert np.allclose(rows["y_nm"], [30.75 + k for k in range(30)])
    assert "remarks" not in metadata


REFUSED = {
    "decimal commas between commas": (
        text(point=",").encode(),
        r"6 cells and its header 4.*decimal commas",
    ),
    "thousands or decimals": (
        b"frame;x_nm;y_nm\n1;1,234;5,678\n",
        r"'1,234' may be.*decimal comma or thousands",
    ),
    "spaces": (b"frame x_nm y_nm\n1 2 3\n", "neither commas, semicolons nor tabs"),
    "a column twice": (
        b"frame,x_nm,y_nm,x_nm\n0,1,2,3\n",
        "2 columns are named 'x_nm'",
    ),
    "a spreadsheet": (b"PK\x03\x04\x14\0\x06\0", "a ZIP archive.*spreadsheet as CSV"),
    "zeros": (bytes(100), "is not a text table"),
    "blank": (b" \n\n", "is empty"),
    "no names": (b"\n1,2,3\n", "line 1 is empty"),
    "Nanoimager": (
        b"Channel,Frame,X (nm),Y (nm),Z (nm),Photons,Background\n0,1,2,3,4,5,6\n",
        "table of Nanoimager, which is not read. Export it as ThunderSTORM",
    ),
    "Elyra": (
        b"Index\tFirst Frame\tPosition X [nm]\tPosition Y [nm]\n1\t1\t2\t3\n",
        "table of Zeiss Elyra",
    ),
    "SMAP": (b"frame,xnm,ynm,znm\n1,2,3,4\n", "table of SMAP"),
    "DECODE": (b"# DECODE EmitterSet\n# {}\n# {}\nx,y\n", r"comment \(DECODE\)"),
    "frames from 0": (text([(1, 0, 5, 6)]).encode(), r'from 0\? Then write {"frame_b'),
    "half a frame": (b"frame,x_nm,y_nm\n1.5,2,3\n", "1.5 is not a whole number"),
    "no frame": (b"frame,x_nm,y_nm\n,2,3\n", "frame number nan"),
    "a frame beyond all": (b"frame,x_nm,y_nm\n1e30,2,3\n", "frame number 1e"),
    "a short row": (b"frame,x_nm,y_nm\n0,1,2\n0,1\n", "not a table of numbers"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_cannot_be_read_is_refused_in_one_line(tmp_path, kind):
    content, complaint = REFUSED[kind]
    path = tmp_path / "t.csv"
    path.write_bytes(content)
    with pytest.raises(SettingsError, match=complaint) as refusal:
        read_table(path, 100.0)
    assert "\n" not in str(refusal.value)
    assert str(refusal.value).startswith(str(path))


def test_rows_without_a_position_are_left_out_and_counted(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text(
        "frame,x_nm,y_nm,photons\n0,1,2,9\n0,NaN,2,9\n1,1,,9\n1,inf,2,9\n1,1e30,2,9\n"
        "2,3,4,9\n"
    )
    rows, metadata = read_table(path)
    assert rows["x_nm"].tolist() == [1, 3]
    assert metadata["remarks"] == "4 rows without a position left out"
    pieces = open_pieces(path)
    assert np.concatenate(list(pieces.read())).tobytes() == rows.tobytes()
    assert (pieces.left_out, remarks_on(pieces)) == (4, metadata["remarks"])


@pytest.mark.parametrize(
    "unknown", ["", "NaN", "nan", "NA", "#N/A", "null", "-nan(ind)", "1.#QNAN", "#NUM!"]
)
def test_an_unknown_uncertainty_is_nan(tmp_path, unknown):
    path = tmp_path / "t.csv"
    path.write_text(f"frame,x_nm,y_nm,x_sigma_nm\n0,1,2,3\n1,1,2,{unknown}\n")
    rows, _ = read_table(path)
    assert rows["x_sigma_nm"][0] == 3
    assert np.isnan(rows["x_sigma_nm"][1])


@pytest.mark.parametrize(
    "unit, per", [("nm", 1.0), ("um", 1e3), ("\u00b5m", 1e3), ("px", 160.0)]
)
def test_positions_may_have_another_unit(tmp_path, unit, per):
    path = tmp_path / "t.csv"
    names = "frame", f"x [{unit}]", f"y [{unit}]", f"uncertainty [{unit}]"
    path.write_bytes(text([(1, 1600 / per, 800 / per, 16 / per)], names).encode("utf8"))
    rows, _ = read_table(path, 160.0)
    assert rows["x_nm"][0] == pytest.approx(1600 - 80)
    assert rows["y_nm"][0] == pytest.approx(800 - 80)
    assert rows["x_sigma_nm"][0] == pytest.approx(16)


def test_counts_are_not_taken_for_photons(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text(text([(1, 2, 3, 4)], (*NAMES[1:], "intensity [ADU]")))
    rows, metadata = read_table(path, 100.0)
    assert np.isnan(rows["photons"][0])
    assert "'intensity [ADU]' is not in photons" in metadata["remarks"]


def test_the_file_beside_a_table_says_from_which_frame_it_counts(tmp_path):
    path, beside = tmp_path / "t.csv", tmp_path / "t.csv-metadata.json"
    path.write_text(text([(1, 0, 5, 6), (2, 7, 5, 6)]))
    beside.write_text(json.dumps({"frame_base": "0", "pixel_size_nm": "100"}))
    assert read_table(path)[0]["frame"].tolist() == [0, 7]


@pytest.mark.parametrize(
    "said, complaint",
    [
        (
            '{"pixel_size_nm": "-3"}',
            r"pixel_size_nm is '-3', must be that of a micro",
        ),
        ('{"pixel_size_nm": "0.16"}', "pixel_size_nm is '0.16', must be that of"),
        ('{"pixel_size_nm": "wide"}', "pixel_size_nm is 'wide'"),
        ('{"shape": "[1]"}', r"shape is '\[1\]', must be \[height, width\]"),
        ('{"roi_origin": "[[[["}', "roi_origin is"),
        ('{"frame_base": "7"}', "frame_base is '7', must be 0 or 1"),
        ('{"shape": "[1, 2]", "shape": "[3, 4]"}', "'shape' appears twice"),
        ("[" * 100_000, "is not a JSON object"),
        ("7", "is not a JSON object"),
    ],
)
def test_what_the_file_beside_a_table_says_is_checked(tmp_path, said, complaint):
    path, beside = tmp_path / "t.csv", tmp_path / "t.csv-metadata.json"
    path.write_text("frame,x_nm,y_nm\n0,1,2\n")
    beside.write_text(said)
    with pytest.raises(SettingsError, match=complaint):
        read_table(path)


def test_a_table_of_rapidstorm_names_its_columns_in_xml(tmp_path):
    field = '<field identifier="{}" syntax="x" unit="{}" />'
    names = ("Position-0-0", "Position-1-0", "ImageNumber-0-0", "Amplitude-0-0")
    units = ("nanometer", "nanometer", "frame", "A/D count")
    fields = "".join(field.format(*pair) for pair in zip(names, units, strict=True))
    path = tmp_path / "t.txt"
    table = f'# <localizations repetitions="variable">{fields}</localizations>\n'
    path.write_text(table + "9657.4 24533.5 0 33290.1\n16754.9 18770 7 21275.4\n")
    rows, _ = read_table(path)
    assert rows["frame"].tolist() == [0, 7]
    assert rows["x_nm"].tolist() == pytest.approx([9657.4, 16754.9])
    assert np.isnan(rows["photons"]).all()
    path.write_text(table.replace("nanometer", "micrometer", 1) + "1 2 3 4\n")
    with pytest.raises(SettingsError, match="Position-0-0 is in 'micrometer'"):
        read_table(path)
    path.write_text(table[:80] + "\n1 2 3 4\n")
    with pytest.raises(SettingsError, match="header of rapidSTORM is damaged"):
        read_table(path)


@given(
    separator=st.sampled_from(",;\t|"),
    comma=st.booleans(),
    encoding=st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-16-be", "latin-1"]),
    end=st.sampled_from(["\n", "\r\n"]),
    values=st.lists(st.integers(1, 10**7), min_size=1, max_size=9),
)
def test_a_position_is_read_as_it_was_written(
    tmp_path_factory, separator, comma, encoding, end, values
):
    path = tmp_path_factory.mktemp("t") / "t.csv"
    point = "," if comma and separator != "," else "."
    rows = [(1, f"{v / 100:.2f}", "0.25") for v in values]
    content = text(rows, ("frame", "x_nm", "y_nm"), separator, point, end)
    path.write_bytes(content.encode(encoding))
    found, _ = read_table(path)
    assert np.allclose(found["x_nm"], [v / 100 for v in values])
