"""How does a file become images? Sniff its format, open a source, choose a picture, and stop every parser's error here.

path -> sniff -> Source (count, unit) -> image(index) -> MedImage
"""

from __future__ import annotations

from collections.abc import Iterator
from os import PathLike
from pathlib import Path

from medclipsam.errors import BadInput
from medclipsam.io.edge import reader_edge
from medclipsam.io.limits import DEFAULT_MAX_PIXELS, check_file
from medclipsam.io.naming import case_name
from medclipsam.io.sniff import Format, sniff
from medclipsam.io.source import Axis, ReadOptions, Source
from medclipsam.io.window import Window
from medclipsam.types import MedImage

_SPOKEN: dict[Format, str] = {"dicom": "DICOM", "nifti": "NIfTI", "npy": "NPY", "raster": "PNG, JPEG, TIFF or BMP"}


def read_image(
    path: str | PathLike[str],
    *,
    frame: int | None = None,
    slice_index: int | None = None,
    axis: Axis = None,
    window: Window = None,
    max_pixels: int = DEFAULT_MAX_PIXELS,
) -> MedImage:
    """Read one 2-D image from DICOM, NIfTI, PNG, JPEG, TIFF, BMP or NPY; the content decides, not the extension.

    Args:
        path: the file.
        frame: 0-based frame of a multi-frame DICOM object or page of a TIFF.
        slice_index: 0-based slice of a NIfTI volume, counted along `axis` in the order of the file.
        axis: `axial`, `coronal`, `sagittal` or 0, 1, 2. Default: the through-plane axis,
            see `medclipsam.io.nifti_geometry`.
        window: a CT preset (`lung`, `soft-tissue`, `brain`, `bone`), `percentiles`, (centre, width), or the 0-based
            number of a window in a DICOM file. Default: what the file says, else percentiles.
        max_pixels: refuse larger images by their header, before anything is decoded.

    Raises:
        BadInput: a file that cannot be used, or several pictures and none chosen.
    """
    source = _open(Path(path), ReadOptions(axis=axis, window=window, max_pixels=max_pixels))
    return _image(source, _chosen(source, frame, slice_index))


def read_images(
    path: str | PathLike[str],
    *,
    axis: Axis = None,
    window: Window = None,
    max_pixels: int = DEFAULT_MAX_PIXELS,
) -> Iterator[MedImage]:
    """Read every slice, frame or page in turn, one in memory at a time; a file with one picture gives that one.

    Arguments and errors are those of `read_image`. The file is opened and checked by the call itself.
    """
    source = _open(Path(path), ReadOptions(axis=axis, window=window, max_pixels=max_pixels))
    return (_image(source, index) for index in range(source.count))


def count_images(path: str | PathLike[str], *, axis: Axis = None, max_pixels: int = DEFAULT_MAX_PIXELS) -> int:
    """How many images `read_images` gives.

    Raises:
        BadInput: a file that cannot be used.
    """
    return _open(Path(path), ReadOptions(axis=axis, max_pixels=max_pixels)).count


def is_readable(path: str | PathLike[str]) -> bool:
    """Whether the first bytes are those of a format that is read here; the rest of the file may still be damaged."""
    try:
        check_file(Path(path))
        sniff(Path(path))
    except (BadInput, OSError):
        return False
    return True


def _open(path: Path, options: ReadOptions) -> Source:
    with reader_edge(path.name, "a file"):
        check_file(path)
        found = sniff(path)
    name = case_name(path)
    with reader_edge(name, f"a {_SPOKEN[found]} file"):
        return _source(found, path, name, options)


def _source(found: Format, path: Path, name: str, options: ReadOptions) -> Source:
    """Each format's libraries are loaded when the first file of it comes."""
    if found == "dicom":
        from medclipsam.io.dicom import DicomSource  # noqa: PLC0415

        return DicomSource(path, name, options)
    if found == "nifti":
        from medclipsam.io.nifti import NiftiSource  # noqa: PLC0415

        return NiftiSource(path, name, options)
    if found == "npy":
        from medclipsam.io.npy import NpySource  # noqa: PLC0415

        return NpySource(path, name, options)
    from medclipsam.io.raster import RasterSource  # noqa: PLC0415

    return RasterSource(path, name, options)


def _image(source: Source, index: int) -> MedImage:
    with reader_edge(source.name, source.kind):
        return source.image(index)


def _chosen(source: Source, frame: int | None, slice_index: int | None) -> int:
    chosen, other = (slice_index, frame) if source.unit == "slice" else (frame, slice_index)
    option = "slice_index" if source.unit == "slice" else "frame"
    if other is not None:
        raise BadInput(f"{source.name}: is {source.kind}, made of {source.unit}s", f"choose one by {option}")
    last = source.count - 1
    if chosen is None and last > 0:
        raise BadInput(
            f"{source.name}: holds {source.count} {source.unit}s", f"choose one by {option} (0 to {last}), or read all"
        )
    if chosen is not None and not 0 <= chosen <= last:
        raise BadInput(f"{source.name}: has no {source.unit} {chosen}", f"choose 0 to {last}")
    return chosen or 0
