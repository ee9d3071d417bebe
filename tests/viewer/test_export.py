"""Files for people and other programs: read back with readers of our own or others."""

from __future__ import annotations

import struct
import zlib
from typing import TYPE_CHECKING

import numpy as np
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st

from liveloc.stream.localizations import empty
from liveloc.viewer import Look, Reconstruction
from liveloc.viewer.lettering import scale_bar, text_mask
from liveloc.viewer.png import encode_png

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray


def decode_png(data: bytes) -> tuple[NDArray[np.uint8], dict[bytes, bytes]]:
    """Read the PNG that we write, checking each chunk's sum."""
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    chunks: dict[bytes, bytes] = {}
    place = 8
    while place < len(data):
        (size,) = struct.unpack_from(">I", data, place)
        kind = data[place + 4 : place + 8]
        body = data[place + 8 : place + 8 + size]
        (check,) = struct.unpack_from(">I", data, place + 8 + size)
        assert check == zlib.crc32(kind + body)
        chunks[kind] = chunks.get(kind, b"") + body
        place += 12 + size
    assert list(chunks)[-1] == b"IEND"
    width, height, *kind_of_pixels = struct.unpack(">IIBBBBB", chunks[b"IHDR"])
    assert kind_of_pixels == [8, 2, 0, 0, 0]
    lines = np.frombuffer(zlib.decompress(chunks[b"IDAT"]), np.uint8)
    lines = lines.reshape(height, 1 + 3 * width)
    assert not lines[:, 0].any()
    return lines[:, 1:].reshape(height, width, 3), chunks


def filled(depth: float = 0.0) -> Reconstruction:
    random = np.random.default_rng(1)
    rows = empty(3000)
    rows["x_nm"] = random.normal(1000, 300, 3000)
    rows["y_nm"] = random.normal(800, 100, 3000)
    rows["z_nm"] = depth * (rows["x_nm"] - 1000)
    image = Reconstruction((16, 24), 100.0, roi_origin=(2, 3))
    image.add(rows)
    return image


@given(height=st.integers(1, 30), width=st.integers(1, 30), seed=st.integers(0, 2**31))
def test_a_png_holds_exactly_the_picture(height: int, width: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    rgb = random.integers(0, 256, (height, width, 3), np.uint8)
    read, chunks = decode_png(encode_png(rgb, pixel_nm=20.0))
    assert np.array_equal(read, rgb)
    assert struct.unpack(">IIB", chunks[b"pHYs"]) == (50_000_000, 50_000_000, 1)


def test_what_is_no_rgb_picture_is_refused() -> None:
    with pytest.raises(ValueError, match="needs uint8 RGB"):
        encode_png(np.zeros((4, 4, 4), np.uint8))


def test_a_saved_picture_is_large_has_a_bar_of_true_length_and_says_its_pixel(
    tmp_path: Path,
) -> None:
    image = filled()
    target = tmp_path / "new folder" / "reconstruction.png"
    image.save_png(target)
    read, chunks = decode_png(target.read_bytes())
    assert max(read.shape) >= 900
    zoom = read.shape[1] / image.counts.shape[1]
    pixel_nm = image.super_pixel_nm / zoom
    white = (read == 255).all(axis=2)
    longest = max(_longest_run(line) for line in white[read.shape[0] // 2 :])
    assert longest * pixel_nm == pytest.approx(scale_bar(2400.0).length_nm, rel=0.01)
    assert f"{image.counted} localizations".encode() in chunks[b"tEXt"]
    assert f"pixel {pixel_nm:g} nm".encode() in chunks[b"tEXt"]
    assert list(target.parent.iterdir()) == [target]
    assert image._repr_png_() == target.read_bytes()  # what a notebook shows


def _longest_run(line: NDArray[np.bool_]) -> int:
    edges = np.flatnonzero(np.diff(np.r_[0, line.astype(np.int8), 0]))
    return int((edges[1::2] - edges[::2]).max(initial=0))


def test_depth_is_shown_with_a_colour_bar(tmp_path: Path) -> None:
    flat, deep = tmp_path / "flat.png", tmp_path / "deep.png"
    filled(depth=0.5).save_png(flat, Look(colour="intensity"))
    filled(depth=0.5).save_png(deep)
    corner = slice(-200, -10), slice(5, 60)
    colours = decode_png(deep.read_bytes())[0][corner].reshape(-1, 3)
    plain = decode_png(flat.read_bytes())[0][corner].reshape(-1, 3)
    assert len(np.unique(colours, axis=0)) > 50
    assert len(np.unique(plain, axis=0)) < 10


def test_a_tiny_field_still_gives_a_picture(tmp_path: Path) -> None:
    image = Reconstruction((1, 40), 100.0)
    image.save_png(tmp_path / "line.png")
    rgb, _ = decode_png((tmp_path / "line.png").read_bytes())
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


@given(st.floats(1.0, 1e7))
def test_a_scale_bar_is_round_and_fits(width_nm: float) -> None:
    bar = scale_bar(width_nm)
    assert width_nm / 10.1 <= bar.length_nm <= width_nm / 4 * 1.002
    assert f"{bar.length_nm:.6e}"[0] in "125"
    value, unit = bar.label.split()
    assert float(value) * {"nm": 1, "µm": 1000}[unit] == pytest.approx(bar.length_nm)


def test_every_letter_that_we_write_has_a_shape_of_its_own() -> None:
    letters = "0123456789nmµz.+-"
    drawn = [text_mask(letter, 16.0) for letter in letters]
    assert all(mask.sum() > 3 for mask in drawn)
    assert len({mask.tobytes() for mask in drawn}) == len(letters)
    assert text_mask(" ", 16.0).sum() == 0
