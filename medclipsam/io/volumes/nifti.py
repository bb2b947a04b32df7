"""Reads the header of a NIfTI-1 or NIfTI-2 file (.nii, .nii.gz, .hdr with .img), and writes masks as .nii.gz.

Sizes are held against the file before anything is loaded; 4-D files are refused. Slices are cut by
`medclipsam.io.volumes.source`.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from pathlib import Path
from typing import IO, Any

import nibabel as nib
import numpy as np
from nibabel.arrayproxy import ArrayProxy
from numpy.typing import NDArray

from medclipsam.errors import BadInput
from medclipsam.io.limits import check_held
from medclipsam.io.packed import is_gzip, packed, unpacked
from medclipsam.io.sniff import is_nifti
from medclipsam.io.volumes.geometry import Grid, shear, volume_shape
from medclipsam.io.volumes.nifti_place import NO_CODES, placement
from medclipsam.io.volumes.source import StoredVolume, Volume
from medclipsam.io.volumes.streams import proxy

MAX_OFFSET = 2**28
"""Where voxels may start in a file: room for any real header extension."""
_HEADERS: dict[bytes, type[nib.Nifti1Header]] = {
    b"n+1\0": nib.Nifti1Header,
    b"ni1\0": nib.nifti1.Nifti1PairHeader,
    b"n+2\0": nib.Nifti2Header,
    b"ni2\0": nib.nifti2.Nifti2PairHeader,
}
_SILENT = logging.Logger("nifti header checks")
_SILENT.addHandler(logging.NullHandler())

LARGEST_NIFTI_1 = 2**15 - 1
"""Voxels along an axis: NIfTI-1 keeps them in 16 bits."""
ORTHOGONAL = 1e-4
"""Cosines between axes below this are rounding."""
_SCANNER = 1
_NO_EXTENSION = bytes(4)
_GEOMETRY = (
    *("dim", "dim_info", "pixdim", "xyzt_units", "qform_code", "sform_code"),
    *("quatern_b", "quatern_c", "quatern_d", "qoffset_x", "qoffset_y", "qoffset_z", "srow_x", "srow_y", "srow_z"),
)

Header = nib.Nifti1Header
"""The class that all NIfTI headers of nibabel share."""


def stored_nifti(path: Path, name: str) -> StoredVolume:
    """Read what a NIfTI file says of its voxels.

    Raises:
        BadInput: dimensions or values that are no volume, or more than the file can hold.
    """
    header_path = _header_path(path)
    header, sizes = _header(header_path)
    voxels_path = header_path if header.is_single else _beside(header_path, ".img")
    stored = tuple(int(side) for side in header.get_data_shape())
    shape = volume_shape(name, stored)
    _check_file(name, header, voxels_path)
    place = placement(header, shape, sizes)
    return StoredVolume(
        format="nifti",
        kind="a NIfTI volume",
        header=header,
        shape=stored,
        grid=place.grid,
        read_elsewhere=place.read_elsewhere,
        warnings=place.warnings,
        orientation_told=NO_CODES in place.warnings,
        voxels=_proxy(voxels_path, header, shape),
    )


def nifti_parts(path: Path) -> tuple[Path, ...]:
    """The files that make up a scan: one, or a header and its voxels where both are there."""
    header_path = _header_path(path)
    if not header_path.is_file() or _header(header_path)[0].is_single:
        return (path,)
    voxels_path = _beside(header_path, ".img")
    return (header_path, voxels_path) if voxels_path.is_file() else (header_path,)


def _header_path(path: Path) -> Path:
    """The file itself where it begins with a header, else the one beside it."""
    return path if is_nifti(_first_bytes(path)) else _beside(path, ".hdr")


def _beside(path: Path, ending: str) -> Path:
    """The other file of a pair, packed or not; the plain name where there is none."""
    whole = path.with_suffix("") if path.suffix.lower() == ".gz" else path
    names = [whole.with_suffix(case) for case in (ending, ending.upper())]
    choices = [*names, *(name.with_name(f"{name.name}.gz") for name in names)]
    return next((choice for choice in choices if choice.is_file()), names[0])


def _first_bytes(path: Path) -> bytes:
    with unpacked(path) as stream:
        return stream.read(540)


def _header(path: Path) -> tuple[Header, NDArray[np.float32]]:
    """The header alone, and the voxel sizes as stored: nibabel mends the header, and makes a size of 0 a size of 1.

    Extensions are neither read nor kept, and nothing is said of what is mended.
    """
    first = _first_bytes(path)
    kind = _HEADERS.get(first[344:348]) or _HEADERS[first[4:8]]
    header = kind(binaryblock=first[: kind.template_dtype.itemsize], check=False)
    sizes = np.array(header["pixdim"][1:4])
    header.check_fix(logger=_SILENT, error_level=logging.CRITICAL)
    return header, sizes


def _check_file(name: str, header: Header, path: Path) -> None:
    """Compare what the header claims with what the file can hold, before anything is loaded."""
    dtype = header.get_data_dtype()
    if dtype.kind not in "uif":
        raise BadInput(f"{name}: voxels of type {dtype.name} are not read", "save grey values, or colours as PNG")
    if not path.is_file():
        raise BadInput(f"{name}: the .img beside the header is missing", "keep .hdr and .img together")
    offset = int(header.get_data_offset())
    claimed = offset + int(np.prod(header.get_data_shape(), dtype=object)) * dtype.itemsize
    check_held(name, claimed, path.stat().st_size, packed=is_gzip(path))
    if not 0 <= offset <= MAX_OFFSET:
        raise BadInput(f"{name}: the header says that voxels start at byte {offset:,}", "the file is damaged")


def _proxy(path: Path, header: Header, shape: tuple[int, int, int]) -> ArrayProxy:
    slope, intercept = header.get_slope_inter()
    spec = (
        shape,
        header.get_data_dtype(),
        int(header.get_data_offset()),
        1.0 if slope is None else slope,
        0.0 if intercept is None else intercept,
    )
    # nibabel would tell by the name whether the file is packed, so it gets the stream
    return proxy(unpacked(path), spec)


def write_nifti(
    stream: IO[bytes], volume: Volume, blocks: Iterable[NDArray[Any]], kind: type[np.generic] = np.uint8
) -> None:
    """Write a mask, or numbers of another kind, on the grid of a volume.

    Of a NIfTI source the header's version and fields of geometry are kept.
    """
    header = _own_header(volume.header) if volume.format == "nifti" else _patient_header(volume.grid)
    header.set_data_dtype(kind)
    header.set_data_offset(header.sizeof_hdr + len(_NO_EXTENSION))
    with packed(stream) as file:
        file.write(bytes(header.binaryblock) + _NO_EXTENSION)
        for block in blocks:
            file.write(block.tobytes(order="F"))


def _own_header(source: Header) -> Header:
    """A single-file header of the source's version: geometry from the source, nothing else."""
    is_second = source.template_dtype.itemsize == nib.Nifti2Header.sizeof_hdr
    header = (nib.Nifti2Header if is_second else nib.Nifti1Header)()
    for name in _GEOMETRY:
        header[name] = source[name]
    return header


def _patient_header(grid: Grid) -> Header:
    """sform, and where there is no shear a qform too, since readers differ in which one they take."""
    header = (nib.Nifti1Header if max(grid.shape) <= LARGEST_NIFTI_1 else nib.Nifti2Header)()
    header.set_data_shape(grid.shape)
    header.set_xyzt_units("mm")
    header.set_sform(grid.affine, _SCANNER)
    if shear(grid.affine) < ORTHOGONAL:
        header.set_qform(grid.affine, _SCANNER)
    return header
