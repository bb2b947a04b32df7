"""Opens a volume file by its format, and names the files that it is made of."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from pathlib import Path

from medclipsam.io.volumes.source import StoredVolume

_READERS = {
    "nifti": ("nifti", "stored_nifti", "nifti_parts"),
    "nrrd": ("nrrd", "stored_nrrd", "nrrd_parts"),
    "mha": ("metaimage", "stored_metaimage", "metaimage_parts"),
    "mgz": ("mgh", "stored_mgh", None),
}


def stored_volume(format: str, path: Path, name: str) -> StoredVolume:
    """Read the header of a volume file; each format's library is loaded when the first file of it comes.

    Args:
        format: one of `medclipsam.io.sniff.VOLUMES`.
        path: the file.
        name: the case id to speak of.

    Raises:
        BadInput: a file that cannot be used.
    """
    module, function, _ = _READERS[format]
    reader: Callable[[Path, str], StoredVolume] = getattr(import_module(f"medclipsam.io.volumes.{module}"), function)
    return reader(path, name)


def parts_of(format: str, path: Path) -> tuple[Path, ...]:
    """The files that make up a volume: a header may keep its voxels in another file.

    Args:
        format: what `medclipsam.io.sniff.sniff` says.
        path: the file of the header, or the only one.

    Raises:
        BadInput: voxels that are missing, or lie outside the folder of their header.
    """
    module, _, function = _READERS.get(format, ("", "", None))
    if function is None:
        return (path,)
    parts: tuple[Path, ...] = getattr(import_module(f"medclipsam.io.volumes.{module}"), function)(path)
    return parts
