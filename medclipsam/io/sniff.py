"""Tells the format of a file by its first bytes; the extension is asked only where they say nothing.

offset   0: PNG, JPEG, TIFF, BMP, NPY magic      4: "n+2" (NIfTI-2)
            zip magic (of one DICOM series)
            "NRRD", "ObjectType = " or "NDims = " (MetaImage)
            a version of 1, four dimensions and a type, big endian (FreeSurfer's MGH)
       128: "DICM" (DICOM Part 10)             344: "n+1", "ni1" (NIfTI-1)
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Callable
from gzip import BadGzipFile
from pathlib import Path
from typing import Literal

from medclipsam.errors import BadInput
from medclipsam.io.packed import is_gzip, unpacked

Format = Literal["dicom", "nifti", "nrrd", "mha", "mgz", "raster", "npy", "zip"]
VOLUMES: tuple[Format, ...] = "nifti", "nrrd", "mha", "mgz"
"""Each a volume in one file, see `medclipsam.io.volumes`."""
CALLED: dict[Format, str] = {
    "dicom": "a DICOM file",
    "nifti": "a NIfTI file",
    "nrrd": "an NRRD file",
    "mha": "a MetaImage (MHA, MHD) file",
    "mgz": "a FreeSurfer (MGH, MGZ) file",
    "npy": "an NPY file",
    "raster": "a PNG, JPEG, TIFF or BMP file",
    "zip": "a zip of DICOM images",
}
"""Each format as a person calls it."""
HEAD_BYTES = 1024
SPOKEN = "DICOM, NIfTI, NRRD, MHA, MGZ, PNG, JPEG, TIFF, BMP or NPY"
"""All that is read, for a person."""
_RASTER = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"II*\0", b"MM\0*", b"II+\0", b"MM\0+", b"BM")
_ZIP = (b"PK\x03\x04", b"PK\x05\x06")
_NIFTI_1 = (b"n+1\0", b"ni1\0")
_NIFTI_2 = (b"n+2\0", b"ni2\0")
_NRRD = re.compile(rb"NRRD000[1-5]\r?\n")
_META = re.compile(rb"(?:Comment\s*=[^\n]*\n)?(?:ObjectType|NDims)\s*=")
_MGH_FIRST = struct.Struct(">i4iiih")
_MGH_TYPES = (0, 1, 3, 4, 10)
"""Bytes, 32-bit integers, floats, 16-bit integers, unsigned ones: those that nibabel reads."""
_PACKED = "nifti", "mgz"
"""What is read packed by gzip as a whole."""
_DICOM_SUFFIXES = (".dcm", ".dicom", ".ima")
_OTHERS = {
    b"GIF8": "a GIF",
    b"\x89HDF": "an HDF5 file",
    b"%PDF": "a PDF",
    b"RIFF": "a WebP image or a film",
    b"BZh": "packed with bzip2",
    b"\xfd7zXZ": "packed with xz",
    b"\x28\xb5\x2f\xfd": "packed with Zstandard",
    b"7z\xbc\xaf": "a 7-Zip archive",
}


def sniff(path: Path) -> Format:
    """The format of a file that exists.

    Raises:
        BadInput: none that is read here.
        OSError: the file cannot be opened.
    """
    head = _head(path)
    found = by_content(head) or _by_extension(path)
    if found is not None and found not in _PACKED and is_gzip(path):
        raise BadInput(f"{path.name} is packed with gzip", "unpack it first; only NIfTI and MGZ are read packed")
    if found is None:
        other = _other(head)
        raise BadInput(f"{path.name} is {other}", "unpack it first" if other.startswith("packed") else f"give {SPOKEN}")
    return found


def is_nifti(head: bytes) -> bool:
    """Whether these first bytes of a file are a NIfTI-1 or NIfTI-2 header."""
    return head[344:348] in _NIFTI_1 or head[4:8] in _NIFTI_2


def _head(path: Path) -> bytes:
    """The first bytes, unpacked; nothing of a damaged gzip stream."""
    with unpacked(path) as stream:
        try:
            return stream.read(HEAD_BYTES)
        except (BadGzipFile, EOFError, zlib.error):
            return b""


def by_content(head: bytes) -> Format | None:
    """The format that the first `HEAD_BYTES` of a file name; None where they say nothing."""
    return next((format for format, is_it in _TESTS if is_it(head)), None)


def _is_mgh(head: bytes) -> bool:
    """MGH has no magic: its version is 1, as are the high bytes of nothing else that is read here."""
    if len(head) < _MGH_FIRST.size:
        return False
    version, *dimensions, kind, _freedom, good = _MGH_FIRST.unpack_from(head)
    return version == 1 and min(dimensions) > 0 and kind in _MGH_TYPES and good in (0, 1)


def _bare_dicom(head: bytes) -> bool:
    """A data set without preamble starts with a short element of group 0002 or 0008, in either byte order."""
    if len(head) < 8:
        return False
    for order in "<>":
        group, element, length = struct.unpack(f"{order}HHI", head[:8])
        explicit = head[4:6].isalpha() and head[4:6].isupper()
        if group in (0x0002, 0x0008) and element <= 0x0070 and (explicit or length <= 256):
            return True
    return False


_TESTS: tuple[tuple[Format, Callable[[bytes], object]], ...] = (
    ("dicom", lambda head: head[128:132] == b"DICM"),
    ("nifti", is_nifti),
    ("nrrd", _NRRD.match),
    ("mha", _META.match),
    ("mgz", _is_mgh),
    ("npy", lambda head: head.startswith(b"\x93NUMPY")),
    ("raster", lambda head: head.startswith(_RASTER)),
    ("zip", lambda head: head.startswith(_ZIP)),
    ("dicom", _bare_dicom),
)


def _by_extension(path: Path) -> Format | None:
    if path.suffix.lower() in _DICOM_SUFFIXES:
        return "dicom"
    header = path.with_suffix(".hdr")
    if path.suffix.lower() == ".img" and header.is_file() and is_nifti(_head(header)):
        return "nifti"
    return None


def _other(head: bytes) -> str:
    for magic, words in _OTHERS.items():
        if head.startswith(magic):
            return words
    return "of no format that is read here"
