"""Reads the header of a NRRD file (.nrrd, .nhdr with its voxels beside it) and writes masks as NRRD.

    space: left-posterior-superior   LPS, RAS, LAS, or their long names      ->   RAS mm
    space directions, space origin   one vector for each axis, none for an axis that is no direction in space
    kinds: RGB-color, vector, list   several values for each voxel           ->   refused in one line
    space: scanner-xyz, none at all  nothing is said of the patient          ->   shown as stored

The header is parsed by pynrrd (176 KB of Python; SimpleITK would be 264 MB). pynrrd loads the voxels of a file as a
whole, from wherever its header says: here they are streamed, from the header's own folder.
Format: https://teem.sourceforge.net/nrrd/format.html
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from medclipsam.errors import BadInput
from medclipsam.io.packed import packed
from medclipsam.io.volumes.detached import detached_file
from medclipsam.io.volumes.geometry import Affine, Grid, as_stored, usable_affine, volume_shape
from medclipsam.io.volumes.source import StoredVolume, Volume
from medclipsam.io.volumes.streams import Held, Packing, voxels_in

MAX_HEADER_BYTES = 2**23
"""Segmentations of hundreds of segments, each with its terminology, take less than one."""
OTHER_UNITS = "space units other than mm are heeded here, but not by ITK, which takes the numbers for mm"
_TO_RAS = {
    **dict.fromkeys(("right-anterior-superior", "ras"), (1.0, 1.0, 1.0)),
    **dict.fromkeys(("left-anterior-superior", "las"), (-1.0, 1.0, 1.0)),
    **dict.fromkeys(("left-posterior-superior", "lps"), (-1.0, -1.0, 1.0)),
}
_LIST = re.compile(rb"data ?file: *LIST")
_IN_SPACE = ("domain", "space", "???", "none")
_PACKINGS: dict[str, Packing] = {
    "raw": "raw",
    **dict.fromkeys(("gzip", "gz"), "deflate"),
    **dict.fromkeys(("text", "txt", "ascii"), "text"),
}
_MM = {
    **dict.fromkeys(("", "???", "mm", "millimeter", "millimeters", "millimetre", "millimetres"), 1.0),
    **dict.fromkeys(("cm", "centimeter", "centimeters"), 10.0),
    **dict.fromkeys(("m", "meter", "meters"), 1000.0),
    **dict.fromkeys(("um", "µm", "micron", "microns", "micrometer", "micrometers"), 0.001),
}
_TYPES = {
    **dict.fromkeys(("signed char", "int8", "int8_t"), "i1"),
    **dict.fromkeys(("uchar", "unsigned char", "uint8", "uint8_t"), "u1"),
    **dict.fromkeys(("short", "short int", "signed short", "signed short int", "int16", "int16_t"), "i2"),
    **dict.fromkeys(("ushort", "unsigned short", "unsigned short int", "uint16", "uint16_t"), "u2"),
    **dict.fromkeys(("int", "signed int", "int32", "int32_t"), "i4"),
    **dict.fromkeys(("uint", "unsigned int", "uint32", "uint32_t"), "u4"),
    **dict.fromkeys(("longlong", "long long", "long long int", "signed long long", "int64", "int64_t"), "i8"),
    **dict.fromkeys(("ulonglong", "unsigned long long", "unsigned long long int", "uint64", "uint64_t"), "u8"),
    "float": "f4",
    "double": "f8",
}
_SPACES = (
    *_TO_RAS,
    *("scanner-xyz", "3d-right-handed", "3d-left-handed"),
)

Header = Mapping[str, Any]


@dataclass(frozen=True, eq=False, kw_only=True)
class NrrdHeader:
    """The fields of a NRRD header."""

    fields: Header
    axes: tuple[int, ...]
    """Which of its axes are axes of the volume."""


def stored_nrrd(path: Path, name: str) -> StoredVolume:
    """Read what a NRRD file says of its voxels.

    Raises:
        BadInput: dimensions or values that are no volume, voxels outside the header's folder, or more than there are.
    """
    fields, start = _header(path, name)
    sizes = tuple(int(size) for size in fields["sizes"])
    axes = _axes(name, fields, sizes)
    stored = tuple(sizes[axis] for axis in axes)
    shape = volume_shape(name, stored)
    dtype = _dtype(name, fields)
    held = _held(path, name, fields, start, int(np.prod(sizes, dtype=object)) * dtype.itemsize)
    return StoredVolume(
        format="nrrd",
        kind="an NRRD volume",
        warnings=(OTHER_UNITS,) if _scale(fields.get("space units", ("",))) not in (None, 1.0) else (),
        of_labels="a segmentation that 3D Slicer saved" if _is_segmentation(fields) else None,
        header=NrrdHeader(fields=fields, axes=axes[:3]),
        shape=stored[:3],
        grid=_grid(fields, axes[:3], shape),
        voxels=voxels_in(name, held, shape, dtype),
    )


def nrrd_parts(path: Path) -> tuple[Path, ...]:
    """The files that make up a scan whose header this is.

    Raises:
        BadInput: see `stored_nrrd`.
    """
    fields, _ = _header(path, path.name)
    named = _either(fields, "data file")
    return (path,) if named is None else (path, detached_file(path, _checked_name(path.name, named), path.name))


def _header(path: Path, name: str) -> tuple[Header, int]:
    """(the fields, where the voxels start in this file)."""
    import nrrd  # noqa: PLC0415

    with path.open("rb") as stream:
        lines = list(_lines(stream, name))
        start = stream.tell()
    return nrrd.read_header(lines), start


def _lines(stream: IO[bytes], name: str) -> Iterator[bytes]:
    """Up to the empty line, or to a list of files, which is no field."""
    while stream.tell() < MAX_HEADER_BYTES:
        line = stream.readline(MAX_HEADER_BYTES)
        if not line.strip():
            return
        yield line
        if _LIST.match(line):
            return
    raise BadInput(f"{name}: its header does not end within {MAX_HEADER_BYTES:,} bytes", "the file is damaged")


def _either(fields: Header, key: str) -> Any:
    """A field whose name may be written with or without a blank."""
    return fields.get(key, fields.get(key.replace(" ", "")))


def _axes(name: str, fields: Header, sizes: Sequence[int]) -> tuple[int, ...]:
    """Which axes are axes in space; the others must have length 1."""
    kinds = [str(kind) for kind in fields.get("kinds", ())] or ["???"] * len(sizes)
    directions = fields.get("space directions")
    nowhere = [False] * len(sizes) if directions is None else [vector is None or _none(vector) for vector in directions]
    if not len(kinds) == len(nowhere) == len(sizes) == fields["dimension"]:
        raise BadInput(f"{name}: its header speaks of different numbers of axes", "the file is damaged")
    inside = [axis for axis in range(len(sizes)) if not nowhere[axis] and kinds[axis].lower() in _IN_SPACE]
    for axis in set(range(len(sizes))) - set(inside):
        if sizes[axis] != 1:
            what = f"an axis of {sizes[axis]} values that is no direction in space (kind {kinds[axis][:20]})"
            raise BadInput(f"{name}: has {what}: colours, vectors, times or gradients", "save one 3-D volume of it")
    return tuple(inside)


def _is_segmentation(fields: Header) -> bool:
    return any(key.startswith("Segmentation_") or key == "Segment0_ID" for key in fields)


def _none(vector: NDArray[np.float64]) -> bool:
    return bool(np.isnan(vector).all())


def _dtype(name: str, fields: Header) -> np.dtype[Any]:
    code = _TYPES.get(str(fields["type"]).lower())
    if code is None:
        raise BadInput(f"{name}: voxels of type {str(fields['type'])[:20]} are not read", "save grey values")
    dtype = np.dtype(code)
    if dtype.itemsize == 1 or _packing(name, fields) == "text":
        return dtype
    order = {"little": "<", "big": ">"}.get(str(fields.get("endian", "")).lower())
    if order is None:
        raise BadInput(f"{name}: its header does not say in which byte order it is (endian)", "save it anew")
    return dtype.newbyteorder("<" if order == "<" else ">")


def _packing(name: str, fields: Header) -> Packing:
    encoding = str(fields["encoding"]).lower()
    if encoding not in _PACKINGS:
        raise BadInput(f"{name}: voxels in {encoding[:20]} are not read", "save them raw or with gzip")
    return _PACKINGS[encoding]


def _held(path: Path, name: str, fields: Header, start: int, count_bytes: int) -> Held:
    """Where the voxels are."""
    packing = _packing(name, fields)
    named = _either(fields, "data file")
    if named is not None:
        path, start = detached_file(path, _checked_name(name, named), name), 0
    lines, skipped = int(_either(fields, "line skip") or 0), int(_either(fields, "byte skip") or 0)
    if lines < 0 or skipped < -1 or ((lines or skipped) and packing != "raw"):
        raise BadInput(f"{name}: line skip {lines} and byte skip {skipped} are not read here", "save it without them")
    start = path.stat().st_size - count_bytes if skipped == -1 else _after_lines(path, start, lines) + skipped
    return Held(path=path, start=start, packing=packing)


def _after_lines(path: Path, start: int, lines: int) -> int:
    with path.open("rb") as stream:
        stream.seek(start)
        for _ in range(lines):
            if not stream.readline(MAX_HEADER_BYTES):
                break
        return stream.tell()


def _checked_name(name: str, named: str) -> str:
    if named.startswith("LIST") or "%" in named:
        raise BadInput(f"{name}: its voxels lie in several files", "save it as one file")
    return named


def _grid(fields: Header, axes: Sequence[int], shape: tuple[int, int, int]) -> Grid:
    signs = _TO_RAS.get(str(fields.get("space", "")).lower())
    directions, units = fields.get("space directions"), fields.get("space units", ("",))
    if directions is None:
        return as_stored(shape, _spacings(fields, axes))
    scale = _scale(units)
    vectors = [np.asarray(directions[axis], float) for axis in axes]
    if signs is None or scale is None or any(vector.shape != (3,) for vector in vectors):
        steps = [float(np.linalg.norm(vector)) * (scale or 0.0) for vector in vectors]
        return as_stored(shape, (*steps, 1.0)[:3])
    vectors += [_upright(*vectors)] if len(vectors) == 2 else []
    affine: Affine = np.eye(4)
    affine[:3, :3] = np.transpose(vectors)
    affine[:3, 3] = fields.get("space origin", (0.0, 0.0, 0.0))
    affine[:3] *= scale * np.reshape(signs, (3, 1))
    return usable_affine(shape, affine)


def _upright(first: NDArray[np.float64], second: NDArray[np.float64]) -> NDArray[np.float64]:
    """What stands on a plane that is no stack, 1 long; zero where there is no plane."""
    normal = np.cross(first, second)
    length = float(np.linalg.norm(normal))
    return np.asarray(normal / length if length else normal)


def _spacings(fields: Header, axes: Sequence[int]) -> Sequence[float] | None:
    spacings, units = fields.get("spacings"), fields.get("units", ("",) * 16)
    if spacings is None:
        return None
    scales = [_scale((units[axis],)) for axis in axes]
    steps = [float(spacings[axis]) * (scale or 0.0) for axis, scale in zip(axes, scales, strict=True)]
    return (*steps, 1.0)[:3]


def _scale(units: Sequence[str]) -> float | None:
    """How many mm a unit is; none said is mm; None where it is another, or axes differ."""
    scales = {_MM.get(unit.strip().lower()) for unit in units}
    return scales.pop() if len(scales) == 1 else None


def write_nrrd(stream: IO[bytes], volume: Volume, blocks: Iterable[NDArray[np.uint8]]) -> None:
    """Write a mask on the grid of a volume; what a NRRD source says of geometry is kept as it says it, and no more."""
    if isinstance(volume.header, NrrdHeader):
        lines = header_lines(volume.shape, _own_geometry(volume.header))
    else:
        lines = header_lines(volume.grid.shape, patient_geometry(volume.grid))
    stream.write("\n".join([*lines, "", ""]).encode())
    pack(stream, blocks)


def header_lines(sizes: Sequence[int], geometry: Mapping[str, str], kinds: Sequence[str] = ()) -> list[str]:
    """The header of bytes that `pack` writes, without the empty line at its end.

    Args:
        sizes: of all axes.
        geometry: fields as `patient_geometry` gives them.
        kinds: of all axes; none: all in space.
    """
    first = {key: text for key, text in geometry.items() if key in ("space", "space dimension")}
    fields = {
        "type": "uint8",
        "dimension": str(len(sizes)),
        **first,
        "sizes": " ".join(map(str, sizes)),
        **{key: text for key, text in geometry.items() if key not in first},
        "kinds": " ".join(kinds or ["domain"] * len(sizes)),
        "encoding": "gzip",
    }
    return ["NRRD0005", *(f"{key}: {text}" for key, text in fields.items())]


def pack(stream: IO[bytes], blocks: Iterable[NDArray[np.uint8]]) -> None:
    """Write blocks of voxels with gzip."""
    with packed(stream) as file:
        for block in blocks:
            file.write(block.tobytes(order="F"))


def patient_geometry(grid: Grid) -> dict[str, str]:
    """The fields of a grid that says how it lies in the patient, in the space that DICOM, ITK and Slicer share."""
    lps = np.diag([-1.0, -1.0, 1.0]) @ grid.affine[:3]
    return {
        "space": "left-posterior-superior",
        "space directions": " ".join(_vector(lps[:, axis]) for axis in range(3)),
        "space origin": _vector(lps[:, 3]),
    }


def _own_geometry(header: NrrdHeader) -> dict[str, str]:
    """The fields of a header that say where it lies, for its axes in space; no words but the format's own."""
    fields, axes = header.fields, header.axes
    kept: dict[str, str] = {}
    if str(fields.get("space", "")).lower() in _SPACES:
        kept["space"] = str(fields["space"])
    elif "space origin" in fields or "space directions" in fields:
        kept["space dimension"] = str(len(fields.get("space origin", fields.get("space directions", [[]])[axes[0]])))
    if "space directions" in fields:
        kept["space directions"] = " ".join(_vector(fields["space directions"][axis]) for axis in axes)
    if "space origin" in fields:
        kept["space origin"] = _vector(fields["space origin"])
    if "space units" in fields:
        kept["space units"] = _quoted(fields["space units"])
    if "units" in fields:
        kept["units"] = _quoted([fields["units"][axis] for axis in axes])
    for key in ("spacings", "axis mins", "axis maxs"):
        numbers = _either(fields, key)
        if numbers is not None:
            kept[key] = " ".join(repr(float(numbers[axis])) for axis in axes)
    return kept


def _vector(numbers: Iterable[float]) -> str:
    """With all digits."""
    return f"({','.join(repr(float(number)) for number in numbers)})"


def _quoted(units: Sequence[str]) -> str:
    return " ".join(f'"{unit if unit.strip().lower() in _MM else "???"}"' for unit in units)
