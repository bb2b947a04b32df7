"""Reads the header of a FreeSurfer volume (.mgh, .mgz) by nibabel, and writes masks as .mgz.

    284 bytes, big endian: dimensions, type, spacing, directions, centre (c_ras)    ->   RAS mm
    goodRASFlag is not 1: nothing is said of the patient                            ->   shown as stored
    tags behind the voxels (transforms, command lines, paths)                       ->   neither read nor kept

Format: https://surfer.nmr.mgh.harvard.edu/fswiki/FsTutorial/MghFormat
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from pathlib import Path
from typing import IO

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from medclipsam.io.packed import is_gzip, packed, unpacked
from medclipsam.io.volumes.geometry import Grid, as_stored, usable_affine, volume_shape
from medclipsam.io.volumes.source import StoredVolume, Volume
from medclipsam.io.volumes.streams import Held, voxels_in

HEADER_BYTES = 284
_PLACE = slice(28, 90)
"""Place in the header of goodRASFlag (2 bytes), delta (12), Mdc (36), c_ras (12)."""
_GOOD = slice(28, 30)
_FIRST = struct.Struct(">i4iii")
"""Version, four dimensions, type, degrees of freedom."""
_UCHAR = 0

Header = nib.freesurfer.mghformat.MGHHeader


def stored_mgh(path: Path, name: str) -> StoredVolume:
    """Read what a FreeSurfer volume says of its voxels.

    Raises:
        BadInput: several frames, a type that is not read, or more voxels than the file can hold.
    """
    with unpacked(path) as stream:
        first = stream.read(HEADER_BYTES)
    header = Header(binaryblock=first, check=False)
    stored = tuple(int(side) for side in header["dims"])
    shape = volume_shape(name, stored)
    # nibabel puts FreeSurfer's default in the place of a bad flag, so the flag is read from the file.
    good = int.from_bytes(first[_GOOD], "big") == 1
    dtype = np.dtype(header.get_data_dtype()).newbyteorder(">")
    whole = Held(path=path, packing="deflate", skipped=HEADER_BYTES)
    held = whole if is_gzip(path) else Held(path=path, start=HEADER_BYTES)
    return StoredVolume(
        format="mgz",
        kind="a FreeSurfer volume",
        header=first,
        shape=stored[:3],
        grid=usable_affine(shape, np.asarray(header.get_affine(), np.float64)) if good else as_stored(shape, None),
        voxels=voxels_in(name, held, shape, dtype),
    )


def write_mgh(stream: IO[bytes], volume: Volume, blocks: Iterable[NDArray[np.uint8]]) -> None:
    """Write a mask on the grid of a volume; of a FreeSurfer source the bytes that say where it lies are kept."""
    place = volume.header[_PLACE] if volume.format == "mgz" else _place(volume.grid)
    header = _FIRST.pack(1, *volume.grid.shape, 1, _UCHAR, 0) + place
    with packed(stream) as file:
        file.write(header.ljust(HEADER_BYTES, b"\0"))
        for block in blocks:
            file.write(block.tobytes(order="F"))


def _place(grid: Grid) -> bytes:
    """The centre is the place of the voxel index that is half of each dimension."""
    steps = np.linalg.norm(grid.affine[:3, :3], axis=0)
    directions = (grid.affine[:3, :3] / steps).T
    centre = nib.affines.apply_affine(grid.affine, np.array(grid.shape) / 2)
    numbers = np.concatenate([steps, directions.ravel(), centre])
    return (1).to_bytes(2, "big") + numbers.astype(">f4").tobytes()
