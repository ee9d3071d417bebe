"""A view as a file: read back, refused where it is wrong, drawn without a window."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import tifffile
import yaml

from liveloc.stream.errors import SettingsError
from liveloc.stream.localizations import Localizations, empty
from liveloc.stream.tables.arrow import TableWriter
from liveloc.viewer import DisplaySettings
from liveloc.viewer.data.document import Document
from liveloc.viewer.data.drift_curve import Drift
from liveloc.viewer.data.selection import Selection
from liveloc.viewer.image.viewport import Viewport
from liveloc.viewer.view_file import View
from liveloc.viewer.views.document_sheet import render_view, save_picture

if TYPE_CHECKING:
    from pathlib import Path

FIELD = {"shape": "[32, 24]", "roi_origin": "[3, 5]", "pixel_size_nm": "100.0"}
PART = Viewport(left_nm=700.0, top_nm=900.0, pixel_nm=7.5, shape=(120, 160))
DRIFT = Drift(np.array([0, 100]), np.array([0.0, 40.0]), np.array([5.0, -15.0]))


def table(rows: int = 4000) -> Localizations:
    random = np.random.default_rng(rows)
    made = empty(rows)
    made["frame"] = np.arange(rows) // 40
    made["x_nm"] = random.normal(1300, 200, rows)
    made["y_nm"] = random.normal(1400, 150, rows)
    made["z_nm"] = random.normal(0, 200, rows)
    made["photons"] = random.uniform(100, 5000, rows)
    for name in ("x_sigma_nm", "y_sigma_nm", "z_sigma_nm"):
        made[name] = random.uniform(8, 20, rows)
    return made


@pytest.fixture
def session(tmp_path: Path) -> Path:
    folder = tmp_path / "cell 1"
    folder.mkdir()
    with TableWriter(folder / "localizations.arrow", FIELD) as writer:
        writer.append(table())
    return folder


def shown() -> Document:
    document = Document(FIELD)
    document.add(table())
    document.select(Selection(photons=(1000.0, None), frame=(None, 80)))
    document.correct(DRIFT)
    return document


@pytest.mark.parametrize("mode", ["sigma", "fixed", "histogram", "density"])
@pytest.mark.parametrize("viewport", [PART, None])
def test_a_picture_made_from_its_file_is_the_picture(
    tmp_path: Path, session: Path, mode: str, viewport: Viewport | None
) -> None:
    document = shown()
    look = DisplaySettings(mode=mode, depth_range_nm=(-200.0, 250.0), gamma=0.5)
    View.of(document, look, viewport, session).save(tmp_path / "v.yaml")
    render_view(View.load(tmp_path / "v.yaml"), tmp_path / "v.png")
    save_picture(tmp_path / "wanted.png", document, look, viewport)
    document.close()
    wanted = (tmp_path / "wanted.png").read_bytes()
    assert (tmp_path / "v.png").read_bytes() == wanted


def test_a_view_is_read_back_as_it_was_and_moves_with_its_table(
    tmp_path: Path, session: Path
) -> None:
    document = shown()
    look = DisplaySettings(mode="fixed", limit=3.5, colour="intensity")
    view = View.of(document, look, PART, session)
    view.save(session / "views" / "v.yaml")
    document.close()
    plain = yaml.safe_load((session / "views" / "v.yaml").read_text())
    assert plain["source"] == ".."
    assert plain["selection"] == {"photons": [1000.0, None], "frame": [None, 80]}
    session.rename(tmp_path / "moved")
    again = View.load(tmp_path / "moved" / "views" / "v.yaml")
    assert again.source.resolve() == (tmp_path / "moved").resolve()
    assert (again.look, again.selection) == (look, view.selection)
    assert again.viewport == PART
    assert again.drift is not None
    assert again.drift.as_dict() == DRIFT.as_dict()
    render_view(again, tmp_path / "v.tif")
    with tifffile.TiffFile(tmp_path / "v.tif") as file:
        assert file.asarray()[0].shape == PART.shape
        assert file.imagej_metadata is not None
        said = file.imagej_metadata["Info"]
    assert "upper_left_corner_nm: 700, 900" in said
    assert 'selection: {"photons": [1000, null], "frame": [null, 80]}' in said
    assert "drift: corrected, up to 40.0 nm" in said


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("{}", "'source' is missing"),
        ("source: a\nlok: {}", "unknown setting 'lok'. Did you mean 'look'?"),
        ("source: a\nlook: {gama: 1}", "look: unknown setting 'gama'. Did you mean"),
        ("source: a\nselection: {photon: [1, 2]}", "Did you mean 'photons'?"),
        ("source: a\nselection: {photons: [2, 1]}", "needs [low, high]"),
        ("source: a\nselection: {photons: 5}", "selection.photons is 5"),
        ("source: a\nlook: {mode: dots}", "look.mode is 'dots'"),
        ("source: a\nlook: {intensity_map: rainbowfish}", "'rainbowfish' does not"),
        ("source: a\nlook: {gamma: 0}", "gamma is 0"),
        ("source: a\nlook: {depth_range_nm: [3, 3]}", "[low, high] are needed"),
        ("source: a\nlook: {percentile: 101}", "percentile is 101"),
        (
            "source: a\nviewport: {left_nm: 0, top_nm: 0, pixel_nm: 1, shape: [0, 4]}",
            "shape is [0, 4]",
        ),
        ("source: a\nviewport: {left_nm: 0}", "viewport.top_nm' is missing"),
        ("source: a\ndrift: {frames: [3, 1], x_nm: [0, 0], y_nm: [0, 0]}", "ascending"),
        ("source: a\nliveloc_view: 2", "liveloc_view is 2"),
        ("source: [", "not YAML"),
    ],
)
def test_what_is_wrong_in_a_view_is_named(
    tmp_path: Path, text: str, complaint: str
) -> None:
    path = tmp_path / "v.yaml"
    path.write_text(text)
    with pytest.raises(SettingsError) as error:
        View.load(path)
    assert complaint in str(error.value)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


def test_a_table_that_is_gone_and_a_name_that_says_nothing_are_told(
    tmp_path: Path, session: Path
) -> None:
    gone = View(source=tmp_path / "gone.arrow")
    with pytest.raises(SettingsError, match="no such file"):
        render_view(gone, tmp_path / "v.png")
    with pytest.raises(SettingsError, match=r"ends in one of \.png"):
        render_view(View(source=session), tmp_path / "v.jpeg")
    assert not list(tmp_path.glob("v.*"))
