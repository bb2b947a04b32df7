"""Finds the voxels that a header keeps in a file of its own, which must lie beside the header or below it.

scan.mhd: ElementDataFile = scan.raw        ->   scan.raw beside it
          ElementDataFile = data/scan.raw   ->   in a folder below
          ../scan.raw, /etc/passwd, C:\\x    ->   refused, as is a link that leads out
"""

from __future__ import annotations

from pathlib import Path, PurePosixPath, PureWindowsPath

from medclipsam.errors import BadInput
from medclipsam.io.limits import check_file


def detached_file(header: Path, named: str, name: str) -> Path:
    """The file that a header names.

    Args:
        header: the file of the header.
        named: what it says; not repeated in errors, because file names may name a patient.
        name: the case id to speak of.

    Raises:
        BadInput: no such file, or one that does not lie with the header.
    """
    place = PurePosixPath(named.replace("\\", "/"))
    leads_out = place.is_absolute() or PureWindowsPath(named).drive or ".." in place.parts
    found = header.parent / place
    if leads_out or not found.resolve().is_relative_to(header.parent.resolve()):
        raise BadInput(f"{name}: its header keeps the voxels outside its own folder", "put both into one folder")
    if not found.is_file():
        raise BadInput(f"{name}: the file of voxels that its header names is missing", "keep both together")
    check_file(found)
    return found
