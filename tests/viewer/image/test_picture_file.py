"""Files for people and other programs: read back with readers of our own or others."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ElementTree
from typing import TYPE_CHECKING

import numpy as np
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from liveloc.stream.errors import RecordingError, SettingsError
from liveloc.stream.localizations import Localizations, empty
from liveloc.stream.tables.arrow import TableWriter
from liveloc.stream.tables.coordinates import DIALECTS
from liveloc.stream.tables.opening import read_table
from liveloc.viewer import DisplaySettings, Reconstruction, save_picture
from liveloc.viewer.data.document import Document
from liveloc.viewer.data.drift_curve import Drift
from liveloc.viewer.data.export_table import save_table
from liveloc.viewer.data.selection import Selection
from liveloc.viewer.image.lettering import scale_bar, write
from liveloc.viewer.image.viewport import Viewport

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray


def read_png(path: Path) -> tuple[NDArray[np.uint8], dict[str, str], float]:
    """Read a PNG: pixels, texts, and the edge of a pixel in nm."""
    with Image.open(path) as image:
        assert image.format == "PNG" and image.mode == "RGB"
        per_inch, down = image.info["dpi"]
        assert per_inch == down
        return np.asarray(image), dict(image.text), 25.4e6 / per_inch


def filled(depth: float = 0.0) -> Reconstruction:
    random = np.random.default_rng(1)
    rows = empty(3000)
    rows["x_nm"] = random.normal(1000, 300, 3000)
    rows["y_nm"] = random.normal(800, 100, 3000)
    rows["z_nm"] = depth * (rows["x_nm"] - 1000)
    image = Reconstruction((16, 24), 100.0, roi_origin=(2, 3))
    image.add(rows)
    return image


def test_a_saved_picture_is_large_has_a_bar_of_true_length_and_says_its_pixel(
    tmp_path: Path,
) -> None:
    image = filled()
    target = tmp_path / "new folder" / "reconstruction.png"
    image.save_png(target)
    read, said, edge_nm = read_png(target)
    assert max(read.shape) >= 900
    zoom = read.shape[1] / image.counts.shape[1]
    pixel_nm = image.super_pixel_nm / zoom
    white = (read == 255).all(axis=2)
    longest = max(_longest_run(line) for line in white[read.shape[0] // 2 :])
    assert longest * pixel_nm == pytest.approx(scale_bar(2400.0).length_nm, rel=0.01)
    assert edge_nm == pytest.approx(pixel_nm, rel=1e-6)
    assert f"{image.counted} localizations" in said["Description"]
    assert f"pixel {pixel_nm:g} nm" in said["Description"]
    assert list(target.parent.iterdir()) == [target]
    assert image._repr_png_() == target.read_bytes()  # what a notebook shows


def _longest_run(line: NDArray[np.bool_]) -> int:
    edges = np.flatnonzero(np.diff(np.r_[0, line.astype(np.int8), 0]))
    return int((edges[1::2] - edges[::2]).max(initial=0))


def test_depth_is_shown_with_a_colour_bar(tmp_path: Path) -> None:
    flat, deep = tmp_path / "flat.png", tmp_path / "deep.png"
    filled(depth=0.5).save_png(flat, DisplaySettings(colour="intensity"))
    filled(depth=0.5).save_png(deep)
    corner = slice(-200, -10), slice(5, 60)
    colours = read_png(deep)[0][corner].reshape(-1, 3)
    plain = read_png(flat)[0][corner].reshape(-1, 3)
    assert len(np.unique(colours, axis=0)) > 50
    assert len(np.unique(plain, axis=0)) < 10


def test_a_tiny_field_still_gives_a_picture(tmp_path: Path) -> None:
    image = Reconstruction((1, 40), 100.0)
    image.save_png(tmp_path / "line.png")
    rgb, _, _ = read_png(tmp_path / "line.png")
    assert rgb.shape[1] >= 900


@pytest.mark.parametrize("depth", [0.0, 0.5])
def test_a_tiff_holds_the_counts_and_their_scale(tmp_path: Path, depth: float) -> None:
    image = filled(depth)
    image.save_tiff(tmp_path / "a.tif")
    image.save_tiff(tmp_path / "b.tif")
    assert (tmp_path / "a.tif").read_bytes() == (tmp_path / "b.tif").read_bytes()
    with tifffile.TiffFile(tmp_path / "a.tif") as file:
        planes = file.asarray()
        tags = file.pages[0].tags
        imagej = file.imagej_metadata
    counts = planes[0] if depth else planes
    assert counts.dtype == np.float32
    assert np.array_equal(counts, image.counts)
    if depth:
        assert np.array_equal(planes[1], image.mean_depth_nm(), equal_nan=True)
    numerator, denominator = tags["XResolution"].value
    assert denominator / numerator == pytest.approx(image.super_pixel_nm / 1000.0)
    assert imagej is not None
    assert imagej["unit"] == "um"
    assert "upper_left_corner_nm: 150, 250" in imagej["Info"]


FIELD = {"shape": "[16, 24]", "roi_origin": "[2, 3]", "pixel_size_nm": "100.0"}
PART = Viewport(left_nm=600.0, top_nm=500.0, pixel_nm=12.5, shape=(40, 60))
DRIFT = Drift(np.array([0, 100]), np.array([0.0, 40.0]), np.array([5.0, -15.0]))


def grid() -> Localizations:
    """Emitters at the centres of camera pixels, one each, those in row r r+1 times."""
    y, x = np.mgrid[3:19, 2:26].reshape(2, -1)
    rows = empty(x.size).repeat(y - 2)
    rows["x_nm"], rows["y_nm"] = 100.0 * x.repeat(y - 2), 100.0 * y.repeat(y - 2)
    rows["frame"] = np.arange(len(rows)) % 100
    rows["photons"] = np.arange(len(rows))
    rows["z_nm"] = 50.0
    rows["x_sigma_nm"] = rows["y_sigma_nm"] = 8.0
    return rows


@pytest.fixture
def document() -> Iterator[Document]:
    made = Document(FIELD)
    made.add(grid())
    yield made
    made.close()


@pytest.mark.parametrize("name", ["a.tif", "a.ome.tif"])
@pytest.mark.parametrize("mode", ["histogram", "fixed", "sigma"])
def test_what_lies_on_a_camera_pixels_centre_is_there_in_every_image(
    tmp_path: Path, document: Document, name: str, mode: str
) -> None:
    """The half pixel: binned back to camera pixels, each emitter is in its own."""
    look = DisplaySettings(mode=mode, width_nm=8.0)
    field = Viewport.covering(document.rect, 12.5)
    save_picture(tmp_path / name, document, look, field)
    counts = tifffile.imread(tmp_path / name)[0]
    assert counts.shape == (16 * 8, 24 * 8)
    camera = counts.reshape(16, 8, 24, 8).sum(axis=(1, 3))
    wanted = np.broadcast_to(np.arange(1, 17)[:, None], (16, 24))
    assert np.allclose(camera, wanted, rtol=1e-3)
    inner = counts[8 * 5 : 8 * 6, 8 * 7 : 8 * 8]  # one camera pixel, its own centre
    places = np.arange(8) - 3.5
    assert abs((inner.sum(axis=0) * places).sum() / inner.sum()) <= 0.51
    assert abs((inner.sum(axis=1) * places).sum() / inner.sum()) <= 0.51


def test_an_ome_tiff_says_pixel_channels_and_origin(
    tmp_path: Path, document: Document
) -> None:
    path = tmp_path / "a.ome.tif"
    save_picture(path, document, DisplaySettings(mode="sigma"), PART)
    with tifffile.TiffFile(path) as file:
        planes, text = file.asarray(), file.ome_metadata
        assert file.is_ome
    assert planes.dtype == np.float32
    assert planes.shape == (2, 40, 60)
    assert planes[1][planes[0] > 0.1] == pytest.approx(50.0, abs=0.01)
    assert np.isnan(planes[1][planes[0] == 0]).all()
    assert text is not None
    name = "{http://www.openmicroscopy.org/Schemas/OME/2016-06}"
    root = ElementTree.fromstring(text)
    pixels = next(root.iter(f"{name}Pixels"))
    for axis, size in (("X", 60), ("Y", 40)):
        assert pixels.get(f"Size{axis}") == str(size)
        assert float(pixels.get(f"PhysicalSize{axis}", "")) == pytest.approx(0.0125)
        assert pixels.get(f"PhysicalSize{axis}Unit") == "µm"
    channels = [channel.get("Name") for channel in root.iter(f"{name}Channel")]
    assert channels == ["localizations", "mean z in nm"]
    plane = next(root.iter(f"{name}Plane"))
    assert float(plane.get("PositionX", "")) == pytest.approx(0.60625)
    assert float(plane.get("PositionY", "")) == pytest.approx(0.50625)
    description = next(root.iter(f"{name}Description")).text or ""
    assert "upper_left_corner_nm: 600, 500" in description


def test_a_picture_of_a_part_is_that_part_and_says_what_is_shown(
    tmp_path: Path, document: Document
) -> None:
    document.select(Selection(photons=(500.0, None)))
    document.correct(DRIFT)
    save_picture(tmp_path / "a.png", document, DisplaySettings(), PART)
    read, texts, edge_nm = read_png(tmp_path / "a.png")
    assert read.shape == (*PART.shape, 3)
    said = "\n".join(texts.values())
    for text in (
        "pixel 12.5 nm, upper left corner at x 600 nm, y 500 nm",
        'selection: {"photons": [500, null]}',
        "drift: corrected, up to 40.0 nm",
        "drawn_as: sigma",
    ):
        assert text in said
    assert edge_nm == pytest.approx(12.5, rel=1e-6)


def test_the_whole_field_of_a_document_is_drawn_large(
    tmp_path: Path, document: Document
) -> None:
    save_picture(tmp_path / "a.png", document)
    read, _, _ = read_png(tmp_path / "a.png")
    assert max(read.shape) >= 900
    assert read.shape[0] * 24 == read.shape[1] * 16


def test_density_is_in_localizations_per_area(
    tmp_path: Path, document: Document
) -> None:
    save_picture(
        tmp_path / "a.tif", document, DisplaySettings(mode="density", width_nm=60), PART
    )
    with tifffile.TiffFile(tmp_path / "a.tif") as file:
        density = file.asarray()[0]
        assert file.imagej_metadata is not None
        assert file.imagej_metadata["Labels"][0] == "localizations per um2"
    rows = (PART.rect[2] / 100 + PART.rect[3] / 100) / 2 - 2  # of the middle
    assert density.mean() == pytest.approx(100 * rows, rel=0.1)  # 1 per 0.01 um2


def test_the_end_of_the_name_decides(tmp_path: Path, document: Document) -> None:
    for name, kind in (
        ("a.PNG", b"\x89PNG"),
        ("a.tif", b"II*\0"),
        ("b.ome.tiff", b"II*\0"),
    ):
        save_picture(tmp_path / "new" / name, document)
        assert (tmp_path / "new" / name).read_bytes().startswith(kind)
    assert b"OME" in (tmp_path / "new" / "b.ome.tiff").read_bytes()
    with pytest.raises(SettingsError, match=r"ends in one of \.png"):
        save_picture(tmp_path / "a.bmp", document)
    huge = Viewport(left_nm=0.0, top_nm=0.0, pixel_nm=0.01, shape=(20_000, 10))
    with pytest.raises(SettingsError, match="at most 16384 a side"):
        save_picture(tmp_path / "a.png", document, DisplaySettings(), huge)


def test_an_empty_document_gives_an_empty_picture(tmp_path: Path) -> None:
    with_nothing = Document(FIELD)
    save_picture(tmp_path / "a.png", with_nothing)
    save_picture(tmp_path / "a.tif", with_nothing, DisplaySettings(), PART)
    assert not tifffile.imread(tmp_path / "a.tif").any()
    assert save_table(with_nothing, tmp_path / "a.csv") == 0
    assert save_table(with_nothing, tmp_path / "a.arrow") == 0
    assert len(read_table(tmp_path / "a.arrow")[0]) == 0
    with_nothing.close()


def as_shown(rect: tuple[float, float, float, float] | None) -> Localizations:
    """Do by hand what selection, drift and rectangle do."""
    rows = grid()
    rows = rows[(rows["photons"] >= 500) & (rows["frame"] <= 90)]
    dx, dy = DRIFT.at(rows["frame"])
    rows["x_nm"] -= dx.astype(np.float32)
    rows["y_nm"] -= dy.astype(np.float32)
    if rect is None:
        return rows
    left, right, top, bottom = rect
    x, y = rows["x_nm"], rows["y_nm"]
    return rows[(x >= left) & (x < right) & (y >= top) & (y < bottom)]


@pytest.mark.parametrize("rect", [None, (600.0, 1400.0, 700.0, 1900.0)])
def test_the_saved_table_is_what_is_shown(
    tmp_path: Path,
    document: Document,
    rect: tuple[float, float, float, float] | None,
) -> None:
    document.select(Selection(photons=(500.0, None), frame=(None, 90.0)))
    document.correct(DRIFT)
    wanted = as_shown(rect)
    assert save_table(document, tmp_path / "a.arrow", rect) == len(wanted) > 50
    rows, metadata = read_table(tmp_path / "a.arrow")
    assert np.array_equal(rows["photons"], wanted["photons"])
    assert rows["x_nm"] == pytest.approx(wanted["x_nm"], abs=1e-3)
    assert json.loads(metadata["selection"]) == document.selection.as_dict()
    assert json.loads(metadata["drift_subtracted"]) == DRIFT.as_dict()
    assert ("rectangle_nm" in metadata) == (rect is not None)
    assert metadata["shape"] == FIELD["shape"]
    assert metadata["complete"] == "yes"
    assert list(tmp_path.iterdir()) == [tmp_path / "a.arrow"]


@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_saved_text_table_is_read_back(
    tmp_path: Path, document: Document, dialect: str
) -> None:
    path = tmp_path / "a.csv"
    written = save_table(document, path, dialect=dialect)
    rows, metadata = read_table(path)
    assert written == len(rows) == len(grid())
    assert rows["x_nm"] == pytest.approx(grid()["x_nm"], abs=0.02)
    assert metadata["dialect"] == dialect
    assert "selection" not in metadata
    names = sorted(entry.name for entry in tmp_path.iterdir())
    assert names == ["a.csv", "a.csv-metadata.json"]


def test_rows_are_numbered_through_all_pieces_of_a_text_table(tmp_path: Path) -> None:
    document = Document({**FIELD, "shape": "[200, 200]"})
    rows = empty(70_000)
    rows["x_nm"], rows["frame"] = 1000.0, np.arange(70_000)
    document.add(rows)
    save_table(document, tmp_path / "a.csv")
    document.close()
    lines = (tmp_path / "a.csv").read_text().splitlines()
    numbers = [int(line.split(",")[0]) for line in lines[1:]]
    assert numbers == list(range(1, 70_001))


def test_a_table_that_cannot_be_saved_leaves_nothing_and_says_why(
    tmp_path: Path, document: Document, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(SettingsError, match=r"ends in \.arrow or \.csv"):
        save_table(document, tmp_path / "a.xlsx")
    with pytest.raises(SettingsError, match="known are liveloc, thunderstorm"):
        save_table(document, tmp_path / "a.csv", dialect="excel")

    def full(*_: object) -> None:
        raise RecordingError("no space left")

    monkeypatch.setattr(TableWriter, "append", full)
    (tmp_path / "a.arrow").write_bytes(b"of before")
    with pytest.raises(RecordingError, match="no space left"):
        save_table(document, tmp_path / "a.arrow")
    assert (tmp_path / "a.arrow").read_bytes() == b"of before"
    assert list(tmp_path.iterdir()) == [tmp_path / "a.arrow"]


@given(st.floats(1.0, 1e7))
def test_a_scale_bar_is_round_and_fits(width_nm: float) -> None:
    bar = scale_bar(width_nm)
    assert width_nm / 10.1 <= bar.length_nm <= width_nm / 4 * 1.002
    assert f"{bar.length_nm:.6e}"[0] in "125"
    value, unit = bar.label.split()
    assert float(value) * {"nm": 1, "µm": 1000}[unit] == pytest.approx(bar.length_nm)


def test_every_letter_that_we_write_has_a_shape_of_its_own() -> None:
    drawn = []
    for letter in "0123456789nmµz.+-\uffff":  # the last one has no glyph
        rgb = np.zeros((40, 40, 3), np.uint8)
        write(rgb, letter, 16.0, (5.0, 30.0), "ls")
        assert (rgb == 255).sum() > 3
        drawn.append(rgb.tobytes())
    assert len(set(drawn)) == len(drawn)


@pytest.mark.parametrize("place", [(-5.0, 4.0), (9.0, 12.0), (50.0, 50.0), (-90.0, 4)])
def test_letters_beyond_the_edge_are_cut_off(place: tuple[float, float]) -> None:
    rgb = np.zeros((10, 12, 3), np.uint8)
    write(rgb, "100 nm", 9.0, place, "ls")  # raises nothing
    assert rgb.any() == (place[0] in (-5.0, 9.0))
