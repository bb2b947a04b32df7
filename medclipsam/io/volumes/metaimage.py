"""Reads the header of a MetaImage (.mha, .mhd with its voxels beside it), as ITK writes it, and writes masks as .mha.

    Offset, TransformMatrix (one direction after the other), ElementSpacing     in LPS, as all of ITK   ->   RAS mm
    no TransformMatrix                  nothing is said of the patient          ->   shown as stored
    several channels, LIST, 4-D         refused in one line

The header is a few lines of `key = value`. ITK's own reader would follow a data file wherever it lies and load a packed
volume as a whole: so the lines are read here, and held against SimpleITK in the tests.
Format: https://itk.org/Wiki/ITK/MetaIO/Documentation
"""

from __future__ import annotations

import shutil
import zlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from tempfile import SpooledTemporaryFile
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from medclipsam.errors import BadInput
from medclipsam.io.volumes.detached import detached_file
from medclipsam.io.volumes.geometry import Affine, Grid, as_stored, usable_affine, volume_shape
from medclipsam.io.volumes.source import StoredVolume, Volume
from medclipsam.io.volumes.streams import Held, Packing, voxels_in

MAX_HEADER_BYTES = 2**20
LOCAL = "LOCAL"
IN_MEMORY_BYTES = 2**23
"""Bytes of a packed mask that stay in memory; its size stands before it in the file."""
_TYPES = {
    **{"MET_CHAR": "i1", "MET_UCHAR": "u1", "MET_SHORT": "i2", "MET_USHORT": "u2", "MET_INT": "i4", "MET_UINT": "u4"},
    # MetaIO's own table: a LONG has 4 bytes in files, a LONG_LONG 8.
    **{"MET_LONG": "i4", "MET_ULONG": "u4", "MET_LONG_LONG": "i8", "MET_ULONG_LONG": "u8"},
    **{"MET_FLOAT": "f4", "MET_DOUBLE": "f8"},
}
_SAME = {
    "ElementByteOrderMSB": "BinaryDataByteOrderMSB",
    **dict.fromkeys(("Rotation", "Orientation"), "TransformMatrix"),
    **dict.fromkeys(("Position", "Origin"), "Offset"),
}
_LPS = np.diag([-1.0, -1.0, 1.0])

Header = Mapping[str, str]


def stored_metaimage(path: Path, name: str) -> StoredVolume:
    """Read what a MetaImage says of its voxels.

    Raises:
        BadInput: dimensions or values that are no volume, voxels outside the header's folder, or more than there are.
    """
    header, start = _header(path, name)
    _check_kind(name, header)
    stored = tuple(int(side) for side in header["DimSize"].split())
    if len(stored) != int(header["NDims"]):
        raise BadInput(f"{name}: its header speaks of different numbers of axes", "the file is damaged")
    shape = volume_shape(name, stored)
    dtype = _dtype(name, header)
    held = _held(path, name, header, start, int(np.prod(shape, dtype=object)) * dtype.itemsize)
    return StoredVolume(
        format="mha",
        kind="a MetaImage",
        header=header,
        shape=stored,
        grid=_grid(header, len(stored), shape),
        voxels=voxels_in(name, held, shape, dtype),
    )


def metaimage_parts(path: Path) -> tuple[Path, ...]:
    """The files that make up a scan whose header this is.

    Raises:
        BadInput: see `stored_metaimage`.
    """
    named = _data_file(path.name, _header(path, path.name)[0])
    return (path,) if named == LOCAL else (path, detached_file(path, named, path.name))


def _header(path: Path, name: str) -> tuple[Header, int]:
    """(the lines, where the voxels start in this file)."""
    with path.open("rb") as stream:
        header = dict(_lines(stream, name))
        return header, stream.tell()


def _lines(stream: IO[bytes], name: str) -> Iterator[tuple[str, str]]:
    """Up to the one that says where the voxels are: it is the last."""
    while stream.tell() < MAX_HEADER_BYTES:
        line = stream.readline(MAX_HEADER_BYTES).decode("utf-8", "replace")
        key, equals, value = (part.strip() for part in line.partition("="))
        if not line:
            break
        if equals:
            yield _SAME.get(key, key), value
        if key == "ElementDataFile":
            return
    raise BadInput(f"{name}: its header does not say where the voxels are", "the file is damaged")


def _check_kind(name: str, header: Header) -> None:
    kind, channels = header.get("ObjectType", "Image"), int(header.get("ElementNumberOfChannels", "1"))
    if kind != "Image":
        raise BadInput(f"{name}: is a MetaIO file, but of another object than an image", "give an image")
    if channels != 1:
        raise BadInput(f"{name}: has {channels} values for each voxel: colours or vectors", "save one value of them")


def _dtype(name: str, header: Header) -> np.dtype[Any]:
    code = _TYPES.get(header["ElementType"].removesuffix("_ARRAY"))
    if code is None:
        raise BadInput(f"{name}: voxels of type {header['ElementType'][:20]} are not read", "save grey values")
    return np.dtype(code).newbyteorder(">" if _true(header, "BinaryDataByteOrderMSB") else "<")


def _packing(header: Header) -> Packing:
    if _true(header, "CompressedData"):
        return "deflate"
    return "raw" if _true(header, "BinaryData", default="True") else "text"


def _true(header: Header, key: str, default: str = "False") -> bool:
    """As MetaIO reads it: by the first letter."""
    return header.get(key, default)[:1] in ("T", "t", "1")


def _held(path: Path, name: str, header: Header, start: int, count_bytes: int) -> Held:
    """Where the voxels are."""
    named = _data_file(name, header)
    if named != LOCAL:
        path, start = detached_file(path, named, name), 0
    skipped = int(header.get("HeaderSize", "0"))
    packing = _packing(header)
    if skipped < -1 or (skipped and (named == LOCAL or packing != "raw")):
        raise BadInput(f"{name}: a HeaderSize of {skipped} is not read here", "save it without")
    start = path.stat().st_size - count_bytes if skipped == -1 else start + skipped
    return Held(path=path, start=start, packing=packing)


def _data_file(name: str, header: Header) -> str:
    named = header["ElementDataFile"]
    if named.upper() == LOCAL:
        return LOCAL
    if named.startswith("LIST") or "%" in named:
        raise BadInput(f"{name}: its voxels lie in several files", "save it as one file")
    return named


def _grid(header: Header, dimensions: int, shape: tuple[int, int, int]) -> Grid:
    spacing = _numbers(header, "ElementSpacing") or _numbers(header, "ElementSize")
    directions = _numbers(header, "TransformMatrix")
    if spacing is None or directions is None or dimensions < 3:
        return as_stored(shape, None if spacing is None else (*spacing, 1.0)[:3])
    matrix = np.reshape(directions, (dimensions, dimensions))[:3, :3]
    affine: Affine = np.eye(4)
    affine[:3, :3] = _LPS @ (matrix.T * spacing[:3])
    affine[:3, 3] = _LPS @ (_numbers(header, "Offset") or (0.0, 0.0, 0.0))[:3]
    return usable_affine(shape, affine)


def _numbers(header: Header, key: str) -> list[float] | None:
    return [float(word) for word in header[key].split()] if key in header else None


def write_metaimage(stream: IO[bytes], volume: Volume, blocks: Iterable[NDArray[np.uint8]]) -> None:
    """Write a mask on the grid of a volume; what a MetaImage says of geometry is kept as it says it, and no more."""
    own = volume.format == "mha"
    shape = volume.shape if own else volume.grid.shape
    geometry = _own_geometry(volume.header) if own else _patient_geometry(volume.grid)
    with SpooledTemporaryFile(max_size=IN_MEMORY_BYTES) as packed:
        _pack(packed, blocks)
        fields = {
            "ObjectType": "Image",
            "NDims": str(len(shape)),
            "BinaryData": "True",
            "BinaryDataByteOrderMSB": "False",
            "CompressedData": "True",
            "CompressedDataSize": str(packed.tell()),
            **geometry,
            "DimSize": " ".join(map(str, shape)),
            "ElementType": "MET_UCHAR",
            "ElementDataFile": LOCAL,
        }
        stream.write("".join(f"{key} = {text}\n" for key, text in fields.items()).encode())
        packed.seek(0)
        shutil.copyfileobj(packed, stream)


def _pack(packed: IO[bytes], blocks: Iterable[NDArray[np.uint8]]) -> None:
    engine = zlib.compressobj(6)
    for block in blocks:
        packed.write(engine.compress(block.tobytes(order="F")))
    packed.write(engine.flush())


def _own_geometry(header: Header) -> dict[str, str]:
    kept = {key: header[key] for key in ("TransformMatrix", "Offset", "ElementSpacing", "ElementSize") if key in header}
    words = {key: " ".join(repr(float(word)) for word in text.split()) for key, text in kept.items()}
    letters = header.get("AnatomicalOrientation", "")
    return words | ({"AnatomicalOrientation": letters} if set(letters) <= set("RLAPIS?") and letters else {})


def _patient_geometry(grid: Grid) -> dict[str, str]:
    lps = _LPS @ grid.affine[:3]
    steps = np.linalg.norm(lps[:, :3], axis=0)
    return {
        "TransformMatrix": _words((lps[:, :3] / steps).T.ravel()),
        "Offset": _words(lps[:, 3]),
        "ElementSpacing": _words(steps),
    }


def _words(numbers: Iterable[float]) -> str:
    return " ".join(repr(float(number)) for number in numbers)
