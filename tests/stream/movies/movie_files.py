"""Writers of movies as other programs leave them, for tests."""

import json
import struct

import numpy as np
import tifffile

OME = (
    '<?xml version="1.0" encoding="UTF-8"?>'
    '<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06"{uuid}>'
    '<Image ID="I:0"><Pixels ID="P:0" DimensionOrder="XYCZT" Type="uint16" '
    'SizeX="{width}" SizeY="{height}" SizeZ="1" SizeC="{channels}" SizeT="{planned}" '
    '{size}><Channel ID="C:0" SamplesPerPixel="1"/>{planes}</Pixels></Image></OME>'
)


def spots(frames=12, height=24, width=40, seed=1):
    """Return frames with one bright spot each, and where it is: (frames, 2) in px."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[:height, :width]
    places = np.column_stack(
        [rng.uniform(8, width - 8, frames), rng.uniform(8, height - 8, frames)]
    )
    square = [(columns - x) ** 2 + (rows - y) ** 2 for x, y in places]
    light = 10 + 400 * np.exp(-np.array(square) / 3.4)
    return (rng.poisson(light) + 100).astype(np.uint16), places


def centres(frames):
    """Return the centre of the light of each frame, px."""
    light = np.clip(frames.astype(float) - 130, 0, None)
    rows, columns = np.mgrid[: light.shape[1], : light.shape[2]]
    total = light.sum((1, 2))
    x, y = ((light * where).sum((1, 2)) / total for where in (columns, rows))
    return np.column_stack([x, y])


def ome_text(planned, planes, shape=(24, 40), size="", uuid="", channels=1):
    """Return OME's XML; `planes` are (first frame, page, pages, file name)."""
    lines = ""
    for first, page, pages, name in planes:
        inner = f'<UUID FileName="{name}">urn:uuid:{name}</UUID>' if name else ""
        lines += (
            f'<TiffData FirstT="{first}" IFD="{page}" PlaneCount="{pages}">{inner}'
            "</TiffData>"
        )
    return OME.format(
        uuid=f' UUID="urn:uuid:{uuid}"' if uuid else "",
        height=shape[0],
        width=shape[1],
        channels=channels,
        planned=planned,
        size=size,
        planes=lines,
    )


def write_ome(path, frames, text):
    """Write pages with the given XML."""
    tifffile.imwrite(
        path, frames, photometric="minisblack", metadata=None, description=text.encode()
    )


def write_imagej(path, frames, *, unit="", per_unit=(1, 1), words=None, **options):
    """Write an ImageJ stack; `words` are replaced in its description, equally long."""
    metadata = {"axes": "TYX"} | ({"unit": unit} if unit else {})
    metadata |= options.pop("metadata", {})
    tifffile.imwrite(
        path, frames, imagej=True, resolution=per_unit, metadata=metadata, **options
    )
    content = path.read_bytes()
    for before, after in (words or {}).items():
        assert len(before) == len(after) and before in content
        content = content.replace(before, after)
    path.write_bytes(content)


def write_micromanager(
    path,
    frames,
    *,
    planned=None,
    first=0,
    pixel_um=0.1,
    per_cm=(100_000, 1),
    channels=1,
    index=True,
):
    """Write one file of Micro-Manager: summary, pages with metadata, index."""
    planned = len(frames) // channels if planned is None else planned
    summary = json.dumps({"Frames": planned, "Channels": channels, "Slices": 1})
    words = f"ImageJ=1.52\nimages={planned}\nframes={planned}\nunit=um\n"
    out = bytearray(b"II*\0" + bytes(36))
    struct.pack_into("<2I", out, 32, 2355492, len(summary))
    struct.pack_into("<I", out, 8, 54773648)
    out += summary.encode()
    pointer, entries = 4, b""
    for number, frame in enumerate(frames):
        out += b"\0" * (len(out) % 2)
        height, width = frame.shape
        place = first + number // channels
        about = {
            "PixelSizeUm": pixel_um,
            "Exposure-ms": 30.0,
            "ROI": f"16-8-{width}-{height}",
            "FrameIndex": place,
        }
        texts = json.dumps(about).encode() + b"\0", words.encode() + b"\0"
        here = len(out)
        data = here + 2 + 14 * 12 + 4
        after = data + frame.nbytes
        tags = [
            *((256, 4, 1, width), (257, 4, 1, height), (258, 3, 1, 16), (259, 3, 1, 1)),
            (262, 3, 1, 1),
            (270, 2, len(texts[1]), after + 16 + len(texts[0])),
            *((273, 4, 1, data), (277, 3, 1, 1), (278, 4, 1, height)),
            (279, 4, 1, frame.nbytes),
            *((282, 5, 1, after), (283, 5, 1, after + 8), (296, 3, 1, 3)),
            (51123, 2, len(texts[0]), after + 16),
        ]
        struct.pack_into("<I", out, pointer, here)
        out += struct.pack("<H", len(tags))
        for tag in tags:
            out += struct.pack("<HHII", *tag)
        pointer = len(out)
        out += bytes(4) + frame.astype("<u2").tobytes()
        out += struct.pack("<4I", *per_cm, *per_cm) + b"".join(texts)
        entries += struct.pack("<5I", number % channels, 0, place, 0, here)
    if index:
        struct.pack_into("<I", out, 12, len(out))
        out += struct.pack("<2I", 3453623, len(frames)) + entries
    path.write_bytes(out)


def write_dax(path, frames, order=">", **changes):
    """Write a .dax and its .inf; a change to None leaves the key out."""
    path.write_bytes(frames.astype(order + "u2").tobytes())
    name = {">": "big", "<": "little"}[order]
    lines = {
        "binning": "1 x 1",
        "data type": f"16 bit integers (binary, {name} endian)",
        "frame dimensions": f"{frames.shape[2]} x {frames.shape[1]}",
        "number of frames": len(frames),
        "x_start": 33,
        "y_start": 17,
    } | changes
    text = "".join(f"{k} = {v}\n" for k, v in lines.items() if v is not None)
    path.with_suffix(".inf").write_text(text)


def write_ndtiff(folder, parts):
    """Write an NDTiff data set: pixels behind one another, and their index."""
    index, time = b"", 0
    for number, frames in enumerate(parts):
        name = f"ds_NDTiffStack{f'_{number}' * bool(number)}.tif"
        out = bytearray(b"II*\0" + struct.pack("<3I", 0, 483729, 3) + bytes(12))
        for frame in frames:
            axes = json.dumps({"time": time}).encode()
            about = json.dumps({"PixelSizeUm": 0.13}).encode()
            at, time = len(out), time + 1
            out += frame.astype("<u2").tobytes()
            place = len(out)
            out += about
            index += struct.pack("<I", len(axes)) + axes
            index += struct.pack("<I", len(name)) + name.encode()
            height, width = frame.shape
            index += struct.pack(
                "<IiiiiIii", at, width, height, 1, 0, place, len(about), 0
            )
        (folder / name).write_bytes(out)
    (folder / "NDTiff.index").write_bytes(index)
