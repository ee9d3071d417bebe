import os
from pathlib import Path

import numpy as np
import pytest
import tifffile

from liveloc.stream.calibration import CameraCalibration
from liveloc.stream.errors import SettingsError, SourceError
from liveloc.stream.frames import Frame, FrameHeader, StreamStart
from liveloc.stream.movies import open_movie
from liveloc.stream.recording.segments import SegmentWriter

MOVIE = np.random.default_rng(3).integers(0, 65_536, (10, 16, 12)).astype(np.uint16)


def data(name):
    root = Path(__file__).resolve().parents[4] / "shared" / "data"
    path = Path(os.environ.get("LIVELOC_DATA", root)) / name
    if not path.exists():
        pytest.skip(f"{path} is missing; set LIVELOC_DATA")
    return path


def page_by_page(path, frames, **options):
    with tifffile.TiffWriter(path, bigtiff=True) as tiff:
        for frame in frames:
            tiff.write(frame, contiguous=False, **options)


WRITERS = {
    "stack": lambda path: tifffile.imwrite(path, MOVIE),
    "big-endian": lambda path: tifffile.imwrite(path, MOVIE, byteorder=">"),
    "bigtiff": lambda path: tifffile.imwrite(path, MOVIE, bigtiff=True),
    "deflate": lambda path: tifffile.imwrite(path, MOVIE, compression="zlib"),
    "tiled": lambda path: tifffile.imwrite(path, MOVIE, tile=(16, 16)),
    "imagej": lambda path: tifffile.imwrite(path, MOVIE, imagej=True),
    "z-stack": lambda path: tifffile.imwrite(
        path, MOVIE, imagej=True, metadata={"axes": "ZYX"}
    ),
    "ome": lambda path: tifffile.imwrite(path, MOVIE, ome=True),
    "pages": lambda path: page_by_page(path, MOVIE),
    "plain pages": lambda path: page_by_page(path, MOVIE, metadata=None),
    "i4": lambda path: tifffile.imwrite(path, MOVIE.astype("i4")),
    "f4 counts": lambda path: tifffile.imwrite(path, MOVIE.astype("f4")),
    "f8 big-endian": lambda path: tifffile.imwrite(
        path, MOVIE.astype("f8"), byteorder=">"
    ),
}


@pytest.mark.parametrize("kind", WRITERS)
def test_every_kind_of_stack_gives_the_same_counts(tmp_path, kind):
    path = tmp_path / "m.tif"
    WRITERS[kind](path)
    with open_movie(path) as movie:
        assert (movie.shape, movie.dtype, len(movie)) == ((16, 12), "u2", 10)
        for index in (9, 0, 4):
            frame = movie.read(index)
            assert frame.dtype == np.dtype("<u2")
            assert frame.flags.c_contiguous and frame.flags.owndata
            assert (frame == MOVIE[index]).all()
        with pytest.raises(IndexError, match="frame 10 of 10"):
            movie.read(10)


def test_bytes_stay_bytes_and_one_image_is_a_movie(tmp_path):
    small = (MOVIE[0] % 256).astype(np.uint8)
    tifffile.imwrite(tmp_path / "m.tif", small)
    with open_movie(tmp_path / "m.tif") as movie:
        assert (movie.dtype, len(movie)) == ("u1", 1)
        assert (movie.read(0) == small).all()


def test_imagej_says_pixel_size_and_interval(tmp_path):
    tifffile.imwrite(
        tmp_path / "m.tif",
        MOVIE,
        imagej=True,
        resolution=(1 / 0.108, 1 / 0.108),
        metadata={"axes": "TYX", "unit": "um", "finterval": 0.03},
    )
    with open_movie(tmp_path / "m.tif") as movie:
        assert movie.pixel_size_nm == pytest.approx(108, rel=1e-5)
        assert movie.interval_ms == pytest.approx(30)


def test_ome_says_pixel_size_and_interval(tmp_path):
    tifffile.imwrite(
        tmp_path / "m.ome.tif",
        MOVIE,
        metadata={
            "axes": "TYX",
            "PhysicalSizeX": 117.0,
            "PhysicalSizeXUnit": "nm",
            "TimeIncrement": 50.0,
            "TimeIncrementUnit": "ms",
        },
    )
    with open_movie(tmp_path / "m.ome.tif") as movie:
        assert movie.pixel_size_nm == pytest.approx(117)
        assert movie.interval_ms == pytest.approx(50)


def test_micro_manager_says_pixel_size_exposure_and_region(tmp_path):
    about = '{"PixelSizeUm": 0.1, "Exposure-ms": 20, "ROI": "128-64-12-16"}'
    tag = (51123, "s", 0, about, True)
    page_by_page(tmp_path / "m.tif", MOVIE, metadata=None, extratags=[tag])
    with open_movie(tmp_path / "m.tif") as movie:
        assert movie.pixel_size_nm == pytest.approx(100)
        assert movie.exposure_ms == 20
        assert movie.roi_origin == (128, 64)


def test_a_file_without_units_says_nothing(tmp_path):
    tifffile.imwrite(tmp_path / "m.tif", MOVIE, resolution=(72, 72))
    with open_movie(tmp_path / "m.tif") as movie:
        assert movie.pixel_size_nm is None
        assert movie.interval_ms is None
        assert movie.calibration is None


def rgb(path):
    tifffile.imwrite(path, np.zeros((16, 12, 3), "u1"), photometric="rgb")


def palette(path):
    tifffile.imwrite(
        path, np.zeros((16, 12), "u1"), colormap=np.zeros((3, 256), np.uint16)
    )


def channels(path):
    tifffile.imwrite(
        path, MOVIE.reshape(5, 2, 16, 12), imagej=True, metadata={"axes": "TCYX"}
    )


def two_channels(path):
    tifffile.imwrite(path, MOVIE[:2], imagej=True, metadata={"axes": "CYX"})


def two_sizes(path):
    with tifffile.TiffWriter(path) as tiff:
        tiff.write(MOVIE[0])
        tiff.write(MOVIE[0, :8])


@pytest.mark.parametrize(
    "write, complaint",
    [
        (rgb, "is a colour image"),
        (palette, "is a colour image"),
        (channels, "has the axes .*which is time"),
        (two_channels, r"has the axes \{'C': 2\}.*Save one channel"),
        (two_sizes, "images of several kinds"),
        (lambda p: tifffile.imwrite(p, MOVIE + 0.5), "with fractions, but camera"),
        (lambda p: tifffile.imwrite(p, MOVIE.astype("i4") - 70_000), "from -6"),
        (lambda p: tifffile.imwrite(p, MOVIE.astype("f4") * np.nan), "fractions"),
        (lambda p: tifffile.imwrite(p, MOVIE.astype("c8")), "not camera counts"),
        (lambda p: p.write_bytes(b""), "not a movie"),
        (lambda p: p.write_bytes(b"\x89PNG\r\n"), r"not a movie .*It reads TIFF"),
        (lambda p: p.write_bytes(b"II*\0"), "damaged or incomplete TIFF"),
        (lambda p: None, "no such file"),
    ],
)
def test_what_is_no_movie_is_refused_with_the_reason(tmp_path, write, complaint):
    path = tmp_path / "m.tif"
    write(path)
    with pytest.raises(SettingsError, match=rf"m\.tif: .*{complaint}"):
        open_movie(path)


def test_ome_in_several_files_is_read_whole_or_names_what_is_missing(tmp_path):
    xml = (
        '<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06">'
        '<Image ID="I:0">'
        '<Pixels ID="P:0" DimensionOrder="XYZCT" Type="uint16" SizeX="12" SizeY="16" '
        'SizeZ="1" SizeC="1" SizeT="20"><Channel ID="C:0" SamplesPerPixel="1"/>'
    )
    for part, name in enumerate(("a.ome.tif", "b.ome.tif")):
        xml += (
            f'<TiffData IFD="0" FirstT="{10 * part}" PlaneCount="10">'
            f'<UUID FileName="{name}">urn:uuid:{part}</UUID></TiffData>'
        )
    xml += "</Pixels></Image></OME>"
    for name, frames in (("a.ome.tif", MOVIE), ("b.ome.tif", MOVIE[::-1])):
        tifffile.imwrite(tmp_path / name, frames, description=xml, metadata=None)
    whole = np.concatenate([MOVIE, MOVIE[::-1]])
    for name in ("a.ome.tif", "b.ome.tif"):
        with open_movie(tmp_path / name) as movie:
            assert len(movie) == 20
            assert all((movie.read(i) == whole[i]).all() for i in range(20))
            assert "from a.ome.tif, b.ome.tif" in movie.remarks[0]
    (tmp_path / "b.ome.tif").unlink()
    with pytest.raises(SettingsError, match=r"a\.ome\.tif: .*needs b\.ome\.tif beside"):
        open_movie(tmp_path / "a.ome.tif")


@pytest.mark.filterwarnings("ignore")  # tifffile's own, about the damage
@pytest.mark.parametrize("kind", ["stack", "deflate", "imagej", "ome", "plain pages"])
def test_a_movie_that_was_cut_off_is_never_read_as_a_shorter_one(tmp_path, kind):
    whole, cut = tmp_path / "whole.tif", tmp_path / "cut.tif"
    WRITERS[kind](whole)
    content = whole.read_bytes()
    for length in [*range(0, len(content), 97), len(content) - 1]:
        cut.write_bytes(content[:length])
        try:
            movie = open_movie(cut)
        except SettingsError as error:
            assert "cut.tif" in str(error)
            continue
        with movie:  # only what stands behind the frames is lost
            assert len(movie) == 10
            assert all((movie.read(i) == MOVIE[i]).all() for i in range(10))


def dax(path, frames=MOVIE, order=">", **facts):
    path.write_bytes(frames.astype(order + "u2").tobytes())
    name = {">": "big", "<": "little"}[order]
    lines = {
        "binning": "1 x 1",
        "data type": f"16 bit integers (binary, {name} endian)",
        "frame dimensions": "12 x 16",
        "number of frames": len(frames),
        "x_start": 33,
        "y_start": 17,
    } | facts
    text = "".join(f"{key} = {value}\n" for key, value in lines.items())
    path.with_suffix(".inf").write_text(text)


@pytest.mark.parametrize("order", "<>")
def test_dax_in_both_byte_orders(tmp_path, order):
    dax(tmp_path / "m.dax", order=order)
    with open_movie(tmp_path / "m.dax") as movie:
        assert (movie.shape, movie.dtype, len(movie)) == ((16, 12), "u2", 10)
        assert movie.roi_origin == (32, 16)
        assert all((movie.read(i) == MOVIE[i]).all() for i in range(10))


@pytest.mark.parametrize(
    "facts, complaint",
    [
        ({"number of frames": 11}, r"has 3840 bytes, but m\.inf says 11 frames"),
        ({"frame dimensions": "12"}, r"'frame dimensions' is '12', not 256 x 256"),
        ({"data type": "32 bit floats"}, "data type is '32 bit floats'; only 16 bit"),
    ],
)
def test_dax_that_does_not_fit_its_description_is_refused(tmp_path, facts, complaint):
    dax(tmp_path / "m.dax", **facts)
    with pytest.raises(SettingsError, match=complaint):
        open_movie(tmp_path / "m.dax")


def test_dax_without_inf_names_the_file_it_needs(tmp_path):
    (tmp_path / "m.dax").write_bytes(MOVIE.tobytes())
    with pytest.raises(SettingsError, match=r"needs m\.inf beside it"):
        open_movie(tmp_path / "m.dax")


def test_a_recording_is_a_movie_with_all_it_knows(tmp_path):
    start = StreamStart(
        stream_id=bytes(16),
        shape=(16, 12),
        dtype="u2",
        pixel_size_nm=123,
        calibration=CameraCalibration(e_per_adu=0.5),
        exposure_ms=9,
        interval_ms=10,
        roi_origin=(5, 6),
    )
    with SegmentWriter(tmp_path / "stream", start) as writer:
        for seq, pixels in enumerate(MOVIE):
            header = FrameHeader(seq=seq * 2, camera_frame=seq, t_ns=seq)
            writer.append(Frame(header, pixels))
    with open_movie(tmp_path) as movie:
        assert len(movie) == 10
        assert (movie.read(7) == MOVIE[7]).all()
        assert (movie.pixel_size_nm, movie.interval_ms) == (123, 10)
        assert movie.roi_origin == (5, 6)
        assert movie.calibration == start.calibration
    (tmp_path / "empty").mkdir()
    with pytest.raises(SettingsError, match="holds no recording"):
        open_movie(tmp_path / "empty")


def test_a_damaged_frame_is_an_error_and_the_next_is_not(tmp_path):
    path = tmp_path / "m.tif"
    page_by_page(path, MOVIE, compression="zlib", metadata=None)
    with tifffile.TiffFile(path) as tiff:
        offset = tiff.pages[5].dataoffsets[0]
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(b"\0" * 16)
    with open_movie(path) as movie:
        with pytest.raises(SourceError, match=r"m\.tif: frame 5"):
            movie.read(5)
        assert (movie.read(6) == MOVIE[6]).all()


@pytest.mark.data
@pytest.mark.parametrize(
    "name, shape, length, median",
    [
        ("octane_eosactin_palm_a/frames.tif", (327, 328), 100, 1980),
        ("pmhc_af647_real/frames.tif", (128, 128), 10, 235),
        ("smlm2013_tubulins_ld/frames.tif", (256, 256), 41, 99),
        ("storm_analysis/test.dax", (256, 256), 10, None),
        ("storm_analysis/test_low_snr.dax", (300, 400), 2, None),
        ("storm_analysis/test_bg_sub.dax", (256, 256), 5, None),
        ("locan_formats/images.tif", (128, 128), 5, None),
    ],
)
def test_real_movies_open(name, shape, length, median):
    with open_movie(data(name)) as movie:
        assert (movie.shape, movie.dtype, len(movie)) == (shape, "u2", length)
        frames = np.stack([movie.read(index) for index in range(0, length, 9)])
    if median is not None:
        assert np.median(frames) == pytest.approx(median, rel=0.1)
    assert frames.max() < 65_535 and np.median(frames) < 5_000  # byte order is right


@pytest.mark.data
def test_dax_emitters_are_where_their_list_says():
    path = data("storm_analysis/test.dax")
    truth = np.loadtxt(
        path.with_name("test_olist.csv"), delimiter=",", skiprows=1, usecols=(0, 1, 2)
    )
    with open_movie(path) as movie:
        first = movie.read(0).astype(float)
    x, y = (truth[truth[:, 0] == 1][:, 1:] - 1).T.round().astype(int)
    inside = (x >= 0) & (x < 256) & (y >= 0) & (y < 256)
    there = np.median(first[y[inside], x[inside]])
    swapped = np.median(first[x[inside], y[inside]])
    assert there > 1.5 * swapped
    assert swapped == pytest.approx(np.median(first), rel=0.1)


@pytest.mark.data
def test_offset_corrected_floats_are_refused():
    with pytest.raises(SettingsError, match=r"float32 from -.*fractions.*own counts"):
        open_movie(data("slb_saaf647_real/frames.tif"))


@pytest.mark.data
def test_imagej_micrometres_of_a_real_file():
    with open_movie(data("deepstorm_thunderstorm_sim/frames.tif")) as movie:
        assert movie.pixel_size_nm == pytest.approx(100)
