import sys
from pathlib import Path

import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st

from liveloc.stream.camera_file import load_camera
from liveloc.stream.errors import SettingsError
from liveloc.stream.movies import open_movie
from liveloc.stream.pixel_size import (
    LEAST_NM,
    MOST_NM,
    check_pixel_size,
    from_ome,
    length_nm,
)
from liveloc.stream.session.settings import SessionSettings

sys.path.insert(0, str(Path(__file__).parent / "movies"))
from movie_files import ome_text, spots, write_imagej, write_micromanager, write_ome

FRAMES, _ = spots(frames=2)
PLANES = [(0, 0, 2, "")]


def pixel_size(path):
    with open_movie(path) as movie:
        return movie.pixel_size


@pytest.mark.parametrize(
    "size",
    [
        'PhysicalSizeX="0.13" PhysicalSizeXUnit="&#181;m"',
        'PhysicalSizeX="0.13" PhysicalSizeXUnit="&#xB5;m"',
        "PhysicalSizeX='0.13' PhysicalSizeXUnit='um'",
        'PhysicalSizeX = "0.13"',
        'PhysicalSizeX="1300" PhysicalSizeXUnit="\u00c5"',
        'PhysicalSizeX="1300" PhysicalSizeXUnit="\u212b"',
        'PhysicalSizeX="0.13" PhysicalSizeXUnit="\u03bcm" PhysicalSizeY="130" '
        'PhysicalSizeYUnit="nm"',
        'PhysicalSizeX="130000" PhysicalSizeXUnit="pm"',
        'PhysicalSizeX="1.3e-7" PhysicalSizeXUnit="m"',
        'PhysicalSizeX="0.00511811" PhysicalSizeXUnit="thou"',
    ],
)
def test_ome_sizes_in_every_spelling(tmp_path, size):
    path = tmp_path / "m.ome.tif"
    write_ome(path, FRAMES, ome_text(2, PLANES, size=size))
    found = pixel_size(path)
    assert found.nm == pytest.approx(130, rel=1e-5)
    assert found.source == "OME PhysicalSizeX"


@pytest.mark.parametrize(
    "unit, nm",
    {
        "um": 1e3,
        "\\u00B5m": 1e3,
        "micron": 1e3,
        "microns": 1e3,
        "micrometer": 1e3,
        "nm": 1.0,
        "nanometers": 1.0,
        "mm": 1e6,
        "cm": 1e7,
        "m": 1e9,
        "inch": 2.54e7,
        "inches": 2.54e7,
    }.items(),
)
def test_imagej_units(tmp_path, unit, nm):
    per = nm / 130
    per_unit = ((1, 130), (1, 130)) if unit.startswith("n") else (per, per)
    write_imagej(tmp_path / "m.tif", FRAMES, unit=unit, per_unit=per_unit)
    assert pixel_size(tmp_path / "m.tif").nm == pytest.approx(130, rel=1e-4)


def test_imagej_without_a_scale_says_nothing(tmp_path):
    write_imagej(tmp_path / "m.tif", FRAMES, unit="pixel")
    assert pixel_size(tmp_path / "m.tif").nm is None
    assert not pixel_size(tmp_path / "m.tif").remark


@pytest.mark.parametrize("per_cm", [(4294967295, 1), (10_000, 1), (100_000, 1)])
def test_micro_manager_zero_is_not_set_whatever_its_resolution_says(tmp_path, per_cm):
    path = tmp_path / "ds_MMStack_Pos0.ome.tif"
    write_micromanager(path, FRAMES, pixel_um=0.0, per_cm=per_cm)
    found = pixel_size(path)
    assert (found.nm, found.remark) == (None, "")
    write_micromanager(path, FRAMES, pixel_um=0.13, per_cm=per_cm)
    assert pixel_size(path).nm == pytest.approx(130)


def test_a_plain_resolution_is_taken_only_where_a_microscope_could_have_it(tmp_path):
    path = tmp_path / "m.tif"
    options = {"resolutionunit": "CENTIMETER", "photometric": "minisblack"}
    tifffile.imwrite(path, FRAMES, resolution=(1e7 / 130, 1e7 / 130), **options)
    found = pixel_size(path)
    assert found.nm == pytest.approx(130, rel=1e-5)
    assert found.source == "the TIFF's resolution"
    tifffile.imwrite(path, FRAMES, resolution=(96, 96), **options)
    assert pixel_size(path).nm is None


def test_what_cannot_be_taken_is_named(tmp_path):
    path = tmp_path / "m.tif"
    write_imagej(path, FRAMES, unit="m", per_unit=(10, 10))
    assert "0.1 m (ImageJ's scale, unit m), 1e+08 nm" in pixel_size(path).remark
    write_imagej(path, FRAMES, unit="furlong", per_unit=(10, 10))
    assert "'furlong'" in pixel_size(path).remark
    assert "unit is not known" in pixel_size(path).remark
    write_imagej(path, FRAMES, unit="um", per_unit=(10, 5))
    assert "100 nm wide and 200 nm high" in pixel_size(path).oblong
    per_cm = {"resolution": (1e5, 5e4), "resolutionunit": "CENTIMETER"}
    tifffile.imwrite(path, FRAMES, photometric="minisblack", **per_cm)
    assert "100 nm wide and 200 nm high" in pixel_size(path).oblong


def test_edges_without_a_unit_must_be_alike_too(tmp_path):
    path = tmp_path / "m.tif"
    tifffile.imwrite(path, FRAMES, resolution=(1, 2), resolutionunit=1)
    assert "0.5 times as high as wide" in pixel_size(path).oblong
    write_imagej(path, FRAMES, unit="pixel", per_unit=(1, 2))
    assert "0.5 times as high as wide" in pixel_size(path).oblong


@pytest.mark.parametrize(
    "nm, advice",
    [
        (0.1, "no microscope .* Is this in um"),
        (1e-7, "Is this in m"),
        (0, "5 to 2000"),
        (-100, "5 to 2000"),
        (float("nan"), "5 to 2000"),
        (float("inf"), "divided by the magnification"),
        (6500, "divided by the magnification"),
    ],
)
def test_a_size_that_no_microscope_has_is_refused_everywhere(tmp_path, nm, advice):
    with pytest.raises(SettingsError, match=rf"--pixel-size is .*{advice}"):
        check_pixel_size(nm, "--pixel-size")
    with pytest.raises(SettingsError, match=r"camera\.pixel_size_nm is"):
        SessionSettings().changed(camera__pixel_size_nm=nm)
    camera = tmp_path / "camera.yaml"
    shown = {"nan": ".nan", "inf": ".inf"}.get(f"{nm}", f"{nm:.9f}")
    camera.write_text(
        f"offset_adu: 100\ne_per_adu: 1\nread_noise_e: 1\npixel_size_nm: {shown}\n"
    )
    with pytest.raises(SettingsError, match=r"camera\.yaml: pixel_size_nm is"):
        load_camera(camera)


@given(nm=st.floats(LEAST_NM, MOST_NM), unit=st.sampled_from(["nm", "µm", "mm", "in"]))
def test_any_size_in_range_comes_back_from_any_unit(nm, unit):
    size = nm / length_nm(1, unit)
    about = {"PhysicalSizeX": repr(size), "PhysicalSizeXUnit": unit}
    found = from_ome(about)
    if not found.remark:  # rounding may leave the range at its ends
        assert found.nm == pytest.approx(nm)


@given(size=st.text(max_size=12) | st.floats().map(repr), unit=st.text(max_size=6))
def test_no_text_of_a_size_raises(size, unit):
    found = from_ome({"PhysicalSizeX": size, "PhysicalSizeXUnit": unit})
    assert found.nm is None or LEAST_NM <= found.nm <= MOST_NM
