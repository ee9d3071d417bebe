import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import tifffile

from liveloc.stream.errors import SettingsError, SourceError
from liveloc.stream.movies import open_movie

sys.path.insert(0, str(Path(__file__).parent))
from movie_files import (
    centres,
    ome_text,
    spots,
    write_dax,
    write_imagej,
    write_micromanager,
    write_ndtiff,
    write_ome,
)

FRAMES, PLACES = spots()
GREY = {"photometric": "minisblack"}


def micromanager(folder):
    name = "ds_MMStack_Pos0{}.ome.tif"
    first, second = folder / name.format(""), folder / name.format("_1")
    write_micromanager(first, FRAMES[:6], planned=12)
    write_micromanager(second, FRAMES[6:], planned=12, first=6)
    return first, second


def ome_set(folder):
    planes = [(0, 0, 6, "a.ome.tif"), (6, 0, 6, "b.ome.tif")]
    write_ome(folder / "a.ome.tif", FRAMES[:6], ome_text(12, planes))
    only = '<OME><BinaryOnly MetadataFile="a.ome.tif" UUID="urn:uuid:0"/></OME>'
    write_ome(folder / "b.ome.tif", FRAMES[6:], only)
    return folder / "a.ome.tif", folder / "b.ome.tif"


def andor(folder):
    tifffile.imwrite(folder / "movie.tif", FRAMES[:6], **GREY)
    tifffile.imwrite(folder / "movie_X2.tif", FRAMES[6:], **GREY)
    return (folder / "movie.tif", folder / "movie_X2.tif")


def ndtiff(folder):
    write_ndtiff(folder, (FRAMES[:6], FRAMES[6:]))
    return folder / "ds_NDTiffStack.tif", folder / "ds_NDTiffStack_1.tif"


SETS = {"micro-manager": micromanager, "ome": ome_set, "andor": andor, "nd": ndtiff}


@pytest.mark.parametrize("kind", SETS)
@pytest.mark.parametrize("given", [0, 1])
def test_a_movie_in_two_files_is_whole_from_either(tmp_path, kind, given):
    files = SETS[kind](tmp_path)
    if kind == "andor" and given:
        with pytest.raises(SettingsError, match=r"is a part of movie\.tif, which lies"):
            open_movie(files[1])
        return
    with open_movie(files[given]) as movie:
        assert len(movie) == 12
        read = np.stack([movie.read(index) for index in range(12)])
        assert "read whole, 12 frames" in " ".join(movie.remarks)
    assert (read == FRAMES).all()
    assert np.median(np.hypot(*(centres(read) - PLACES).T)) < 0.2


@pytest.mark.parametrize("kind", ["micro-manager", "ome", "nd"])
def test_a_missing_first_file_is_named(tmp_path, kind):
    files = SETS[kind](tmp_path)
    files[0].unlink()
    with pytest.raises(SettingsError, match=r"needs|needed.* beside it") as refused:
        open_movie(files[1])
    assert files[0].name in str(refused.value)


@pytest.mark.parametrize("kind", ["ome", "nd"])
def test_a_missing_second_file_is_named(tmp_path, kind):
    files = SETS[kind](tmp_path)
    files[1].unlink()
    with pytest.raises(SettingsError, match=r"needs .*beside it") as refused:
        open_movie(files[0])
    assert files[1].name in str(refused.value)


def test_a_missing_file_between_two_of_micro_manager_is_named(tmp_path):
    files = micromanager(tmp_path)
    files[1].rename(tmp_path / "ds_MMStack_Pos0_2.ome.tif")
    with pytest.raises(SettingsError, match=r"Pos0_1\.ome\.tif, which is needed"):
        open_movie(files[0])


def test_a_last_file_that_may_be_missing_is_remarked(tmp_path):
    first, second = micromanager(tmp_path)
    second.unlink()
    renamed = tmp_path / "cell.tif"
    shutil.copy(first, renamed)
    for path in (first, renamed):
        with open_movie(path) as movie:
            assert len(movie) == 6
            assert "planned 12 frames, holds 6" in movie.remarks[0]
    shutil.copy(first, second)  # named like the second, but an acquisition of its own
    with open_movie(second) as movie:
        assert len(movie) == 6


def test_a_renamed_second_file_is_refused(tmp_path):
    _, second = micromanager(tmp_path)
    renamed = second.rename(tmp_path / "cell.tif")
    with pytest.raises(SettingsError, match=r"not frame 0.*under their own names"):
        open_movie(renamed)


def test_andor_parts_with_a_gap_name_what_is_missing(tmp_path):
    first, second = andor(tmp_path)
    second.rename(tmp_path / "movie_X3.tif")
    with pytest.raises(SettingsError, match=r"movie_X2\.tif, which is needed"):
        open_movie(first)


def test_other_files_of_a_similar_name_are_named(tmp_path):
    tifffile.imwrite(tmp_path / "cell.tif", FRAMES[:6], **GREY)
    tifffile.imwrite(tmp_path / "cell-file002.tif", FRAMES[6:], **GREY)
    with open_movie(tmp_path / "cell.tif") as movie:
        assert len(movie) == 6
        assert movie.remarks[0].startswith("cell-file002.tif beside it may be parts")


def images(folder, numbers=range(12)):
    folder.mkdir()
    for number in numbers:
        name = f"img_{number:09d}_Default_000.tif"
        tifffile.imwrite(folder / name, FRAMES[number % 12], **GREY)
    return folder


def test_a_folder_of_images_is_a_movie_and_one_of_them_names_the_others(tmp_path):
    folder = images(tmp_path / "images")
    with open_movie(folder) as movie:
        assert len(movie) == 12
        read = np.stack([movie.read(index) for index in range(12)])
    assert (read == FRAMES).all()
    with open_movie(folder / "img_000000003_Default_000.tif") as movie:
        assert len(movie) == 1
        assert "img_000000000_Default_000.tif" in movie.remarks[0]
        assert "and 9 more" in movie.remarks[0]


def test_a_folder_of_images_that_is_not_one_series_is_refused(tmp_path):
    with pytest.raises(SettingsError, match="number 2 is missing"):
        open_movie(images(tmp_path / "gap", [0, 1, 3]))
    two = images(tmp_path / "two", [0, 1])
    (two / "img_000000001_Default_000.tif").rename(two / "img_000000001_Default_1.tif")
    with pytest.raises(SettingsError, match=r"differ in 2 numbers.*which is time"):
        open_movie(two)
    (two / "other.tif").write_bytes(b"")
    with pytest.raises(SettingsError, match="TIFF files of several names"):
        open_movie(two)


def test_a_cut_imagej_stack_is_refused_with_what_it_holds(tmp_path):
    path = tmp_path / "m.tif"
    write_imagej(path, FRAMES, truncate=True)
    with open_movie(path) as movie:
        assert all((movie.read(i) == FRAMES[i]).all() for i in range(12))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(SettingsError, match=r"says that it holds 12 .* room for 5"):
        open_movie(path)


def test_pages_and_description_that_disagree(tmp_path):
    path = tmp_path / "m.tif"
    fewer = {b"images=12": b"images=06", b"frames=12": b"frames=06"}
    write_imagej(path, FRAMES, words=fewer)
    with open_movie(path) as movie:
        assert len(movie) == 12
        assert movie.remarks == (
            "ImageJ's description says 6 frames, 12 are there and read",
        )
    more = {b"images=12": b"images=24", b"frames=12": b"frames=24"}
    write_imagej(path, FRAMES, words=more)
    with pytest.raises(SettingsError, match="says 24 frames, the file holds 12"):
        open_movie(path)


@pytest.mark.parametrize("listed", [12, 200])
def test_ome_that_was_stopped_early_gives_what_was_taken(tmp_path, listed, caplog):
    path = tmp_path / "m.ome.tif"
    planes = [(t, t, 1, "") for t in range(listed)]
    write_ome(path, FRAMES, ome_text(200, planes))
    with open_movie(path) as movie:
        assert movie.remarks == ("planned 200 frames, holds 12",)
        assert all((movie.read(i) == FRAMES[i]).all() for i in range(12))
    assert not caplog.records


def test_ome_without_a_plane_in_the_middle_is_refused(tmp_path):
    planes = [(0, 0, 5, ""), (6, 6, 6, "")]
    write_ome(tmp_path / "m.ome.tif", FRAMES, ome_text(12, planes))
    with pytest.raises(SettingsError, match="frame 5 of 12 is not in the file"):
        open_movie(tmp_path / "m.ome.tif")


def test_ome_order_is_that_of_the_xml(tmp_path):
    planes = [(t, 11 - t, 1, "") for t in range(12)]
    write_ome(tmp_path / "m.ome.tif", FRAMES, ome_text(12, planes))
    with open_movie(tmp_path / "m.ome.tif") as movie:
        assert all((movie.read(i) == FRAMES[11 - i]).all() for i in range(12))


def test_an_entity_bomb_is_refused(tmp_path):
    bomb = '<!DOCTYPE b [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;">]>'
    text = ome_text(12, [(0, 0, 12, "")]).replace("?>", f"?>{bomb}", 1)
    write_ome(tmp_path / "m.ome.tif", FRAMES, text)
    with pytest.raises(SettingsError, match="declares a document type"):
        open_movie(tmp_path / "m.ome.tif")


def test_several_cameras_are_named(tmp_path):
    path = tmp_path / "ds_MMStack_Pos0.ome.tif"
    write_micromanager(path, FRAMES, channels=2)
    with pytest.raises(SettingsError, match="2 channels, or cameras that recorded"):
        open_movie(path)


def test_a_micro_manager_index_that_does_not_fit_is_damage(tmp_path):
    path, _ = micromanager(tmp_path)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(SettingsError, match="index lists 6 frames, and does not fit"):
        open_movie(path)


@pytest.mark.parametrize("options", [{}, {"imagej": True}, {"ome": True}])
def test_frames_of_one_row_stay_frames(tmp_path, options):
    line = FRAMES[:, 7:8]
    path = tmp_path / ("m.ome.tif" if "ome" in options else "m.tif")
    axes = {"metadata": {"axes": "TYX"}} if options else {}
    tifffile.imwrite(path, line, **GREY, **options, **axes)
    with open_movie(path) as movie:
        assert (movie.shape, len(movie)) == ((1, 40), 12)
        assert (movie.read(5) == line[5]).all()


def test_signed_counts_of_imagej_are_the_cameras(tmp_path):
    line = {b"vunit=GV\n": b"vunit=GV\n"}
    path = tmp_path / "m.tif"
    about = {"cf": 0, "c0": -32768, "c1": 1, "vunit": "GV"}
    write_imagej(path, FRAMES + 32768, metadata=about, words=line)
    with open_movie(path) as movie:
        assert all((movie.read(i) == FRAMES[i]).all() for i in range(12))
        assert "32768 ADU subtracted" in movie.remarks[0]
    write_imagej(path, FRAMES, metadata=about | {"c0": -50, "c1": 0.46})
    with open_movie(path) as movie:
        assert (movie.read(3) == FRAMES[3]).all()
        assert "(-50 + 0.46 * count GV), which is not applied" in movie.remarks[0]


def test_times_of_imagej_have_units(tmp_path):
    path = tmp_path / "m.tif"
    for unit, step in {"ms": 20, "sec": 0.02, "min": 0.02 / 60}.items():
        write_imagej(path, FRAMES, metadata={"finterval": step, "tunit": unit})
        with open_movie(path) as movie:
            assert movie.interval_ms == pytest.approx(20)


def test_inverted_images_are_refused(tmp_path):
    tifffile.imwrite(tmp_path / "m.tif", FRAMES, photometric="miniswhite")
    with pytest.raises(SettingsError, match=r"inverted.*Save it with 0 as black"):
        open_movie(tmp_path / "m.tif")


@pytest.mark.parametrize("compression", ["lzw", "zstd", "packbits", "lzma"])
def test_compressed_frames_are_the_same(tmp_path, compression):
    tifffile.imwrite(tmp_path / "m.tif", FRAMES, compression=compression, **GREY)
    with open_movie(tmp_path / "m.tif") as movie:
        assert all((movie.read(i) == FRAMES[i]).all() for i in range(12))


def test_twelve_packed_bits_are_the_same(tmp_path):
    tifffile.imwrite(tmp_path / "m.tif", FRAMES[0], bitspersample=12, **GREY)
    with open_movie(tmp_path / "m.tif") as movie:
        assert (movie.read(0) == FRAMES[0]).all()


def test_a_damaged_frame_leaves_the_others(tmp_path):
    path = tmp_path / "m.tif"
    tifffile.imwrite(path, FRAMES, compression="zlib", metadata=None, **GREY)
    with tifffile.TiffFile(path) as tiff:
        offset = tiff.pages[6].dataoffsets[0]
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(b"\0" * 16)
    with open_movie(path) as movie:  # although frame 6 is one of those looked at
        assert all((movie.read(i) == FRAMES[i]).all() for i in range(6))
        with pytest.raises(SourceError, match="frame 6 cannot be read"):
            movie.read(6)


@pytest.mark.parametrize(
    "changes, complaint",
    [
        ({"number of frames": "unknown"}, r"'number of frames' is 'unknown'; a whole"),
        ({"x_start": "left"}, r"'x_start' is 'left'; a whole number"),
        ({"x_start": "17.5"}, r"'x_start' is '17\.5'; a whole number"),
        ({"number of frames": "13"}, "says 13 frames"),
        ({"x_start": "3\nx_start = 4"}, r"'x_start' appears twice, as '3' and as '4'"),
    ],
)
def test_inf_numbers_that_are_none_name_the_key(tmp_path, changes, complaint):
    write_dax(tmp_path / "m.dax", FRAMES, **changes)
    with pytest.raises(SettingsError, match=complaint):
        open_movie(tmp_path / "m.dax")


def test_inf_numbers_in_other_spellings(tmp_path):
    write_dax(tmp_path / "m.dax", FRAMES, x_start="17.0", y_start="9")
    with open_movie(tmp_path / "m.dax") as movie:
        assert movie.roi_origin == (16, 8)
    write_dax(tmp_path / "m.dax", FRAMES, **{"number of frames": None})
    with open_movie(tmp_path / "m.dax") as movie:
        assert len(movie) == 12
        assert "does not say the number of frames: 12" in movie.remarks[0]
    write_dax(tmp_path / "m.dax", FRAMES[:0], **{"number of frames": 0})
    with pytest.raises(SettingsError, match=r"m\.dax: holds no frames"):
        open_movie(tmp_path / "m.dax")


def test_picasso_raw_is_read_with_its_text(tmp_path):
    (tmp_path / "m.raw").write_bytes(FRAMES.astype("<u2").tobytes())
    about = "Byte Order: <\nData Type: uint16\nFrames: 12\nHeight: 24\nWidth: 40\n"
    (tmp_path / "m.yaml").write_text(about)
    with open_movie(tmp_path / "m.raw") as movie:
        assert all((movie.read(i) == FRAMES[i]).all() for i in range(12))
    (tmp_path / "m.yaml").write_text(about.replace("12", "13"))
    with pytest.raises(SettingsError, match="says 13 frames"):
        open_movie(tmp_path / "m.raw")


def test_numbers_that_are_no_counts_are_read_where_any_light_will_do(tmp_path):
    light = FRAMES.astype(np.float32) / 7
    tifffile.imwrite(tmp_path / "m.tif", light, **GREY)
    with open_movie(tmp_path / "m.tif", counts=False) as movie:
        assert all((movie.read(i) == light[i]).all() for i in range(12))
    with pytest.raises(SettingsError, match="with fractions"):
        open_movie(tmp_path / "m.tif")
