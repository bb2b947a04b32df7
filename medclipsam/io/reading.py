"""Opens scans and reads their images: sniffs the format, opens a source, and stops every parser's error here.

path -> sniff -> Source (count, unit) -> image(index) -> MedImage

A folder or a zip is one DICOM series, a DICOM object whose frames say where they lie is one of one file: slices in the
order of their places. Other DICOM objects with several frames are films: frames as stored.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from os import PathLike
from pathlib import Path
from typing import Literal

from medclipsam.errors import BadInput
from medclipsam.io.limits import DEFAULT_MAX_PIXELS, check_file, reader_edge
from medclipsam.io.naming import case_name
from medclipsam.io.sniff import CALLED, VOLUMES, Format, sniff
from medclipsam.io.source import Axis, ReadOptions, Source
from medclipsam.io.window import FILES_OWN, Window
from medclipsam.types import MedImage

Opened = Format | Literal["folder"]
_FOLDER = "a folder of DICOM images"


def read_image(
    path: str | PathLike[str],
    *,
    frame: int | None = None,
    slice_index: int | None = None,
    axis: Axis = None,
    window: Window = None,
    max_pixels: int = DEFAULT_MAX_PIXELS,
    series: str | None = None,
    sandbox: bool = False,
) -> MedImage:
    """Read one 2-D image from DICOM, NIfTI, NRRD, MHA, MGZ, PNG, JPEG, TIFF, BMP or NPY.

    The content decides, not the extension.

    Args:
        path: the file; or the folder or zip of a DICOM series.
        frame: 0-based frame of a multi-frame DICOM object, as stored, or page of a TIFF.
        slice_index: 0-based slice of a volume file, counted along `axis` in the order of the file; or of a DICOM
            series, counted in the order of their places.
        axis: `axial`, `coronal`, `sagittal` or 0, 1, 2. Default: the through-plane axis,
            see `medclipsam.io.volumes.geometry`.
        window: a CT preset (`lung`, `soft-tissue`, `brain`, `bone`), `percentiles`, (centre, width), or the 0-based
            number of a window in a DICOM file. Default, `file` and `auto`: what the file says, else percentiles.
        max_pixels: refuse larger images by their header, before anything is decoded.
        series: of several DICOM series in a folder or zip, see `ReadOptions.series`.
        sandbox: decode in a child process, so that a file that ends its decoder is refused like any other.

    Raises:
        BadInput: a file that cannot be used, or several pictures and none chosen.
    """
    options = ReadOptions(axis=axis, window=window, max_pixels=max_pixels, series=series, sandbox=sandbox)
    source = open_source(Path(path), options, as_stored=frame is not None)
    return picture(source, chosen(source, frame, slice_index))


def read_images(
    path: str | PathLike[str],
    *,
    axis: Axis = None,
    window: Window = None,
    max_pixels: int = DEFAULT_MAX_PIXELS,
    series: str | None = None,
    sandbox: bool = False,
) -> Iterator[MedImage]:
    """Read every slice, frame or page in turn, one in memory at a time; a file with one picture gives that one.

    Arguments and errors are those of `read_image`. The file is opened and checked by the call itself.
    """
    source = open_source(
        Path(path), ReadOptions(axis=axis, window=window, max_pixels=max_pixels, series=series, sandbox=sandbox)
    )
    return (picture(source, index) for index in range(source.count))


def count_images(
    path: str | PathLike[str],
    *,
    axis: Axis = None,
    max_pixels: int = DEFAULT_MAX_PIXELS,
    series: str | None = None,
    sandbox: bool = False,
) -> int:
    """How many images `read_images` gives.

    Raises:
        BadInput: a file that cannot be used.
    """
    return open_source(Path(path), ReadOptions(axis=axis, max_pixels=max_pixels, series=series, sandbox=sandbox)).count


def is_readable(path: str | PathLike[str]) -> bool:
    """Whether the first bytes are those of a format that is read here; the rest of the file may still be damaged.

    Many files that are no scans are zips (.npz, .docx), so that of zips the name has to say it too.
    """
    try:
        check_file(Path(path))
        return sniff(Path(path)) != "zip" or Path(path).suffix.lower() == ".zip"
    except (BadInput, OSError):
        return False


def open_source(path: Path, options: ReadOptions, *, as_stored: bool = False) -> Source:
    """Open a scan without decoding it.

    Args:
        path: a file; or the folder or zip of a DICOM series.
        options: how to read it.
        as_stored: take the frames of a DICOM object as a film even where they say where they lie.

    Raises:
        BadInput: a scan that cannot be used.
    """
    if options.window in FILES_OWN:
        options = replace(options, window=None)
    if options.sandbox:
        from medclipsam.io.sandbox import SandboxedSource  # noqa: PLC0415

        plain = replace(options, sandbox=False)
        return SandboxedSource(path, plain, as_stored, lambda: open_source(path, plain, as_stored=as_stored))
    with reader_edge(path.name, "a file"):
        found = _sniffed(path)
    name = case_name(path)
    with reader_edge(name, _FOLDER if found == "folder" else CALLED[found]):
        source = _source(found, path, name, options, as_stored)
    if options.series is not None and source.unit != "slice":
        raise BadInput(f"{name}: is {source.kind}, not a folder or zip of series", "leave the series out")
    return source


def picture(source: Source, index: int) -> MedImage:
    """One picture of an open scan.

    Raises:
        BadInput: a picture that cannot be decoded.
    """
    with reader_edge(source.name, source.kind):
        return source.image(index)


def _sniffed(path: Path) -> Opened:
    if path.is_dir():
        return "folder"
    check_file(path)
    return sniff(path)


def _source(found: Opened, path: Path, name: str, options: ReadOptions, as_stored: bool) -> Source:
    """Each format's libraries are loaded when the first file of it comes."""
    if found in ("folder", "zip"):
        from medclipsam.io.dicom.series import SeriesSource  # noqa: PLC0415
        from medclipsam.io.members import members_of  # noqa: PLC0415

        return SeriesSource(members_of(path), name, options)
    if found == "dicom":
        return _dicom(path, name, options, as_stored)
    if found in VOLUMES:
        from medclipsam.io.volumes.opening import stored_volume  # noqa: PLC0415
        from medclipsam.io.volumes.source import VolumeSource  # noqa: PLC0415

        return VolumeSource(stored_volume(found, path, name), name, options)
    if found == "npy":
        from medclipsam.io.npy import NpySource  # noqa: PLC0415

        return NpySource(path, name, options)
    from medclipsam.io.raster import RasterSource  # noqa: PLC0415

    return RasterSource(path, name, options)


def _dicom(path: Path, name: str, options: ReadOptions, as_stored: bool) -> Source:
    """One object: a picture, a film, or a stack of slices."""
    from medclipsam.io.dicom.frames import DicomSource  # noqa: PLC0415
    from medclipsam.io.members import FileMember  # noqa: PLC0415

    file = FileMember(path=path, place=path.name)
    source = DicomSource(file, name, options)
    if source.count == 1 or as_stored:
        return source
    from medclipsam.io.dicom.series import SeriesSource, in_space  # noqa: PLC0415

    return SeriesSource([file], name, options) if in_space(file) else source


def chosen(source: Source, frame: int | None, slice_index: int | None) -> int:
    """The index of the picture that is asked for, or of the only one.

    Raises:
        BadInput: several pictures and none chosen, no such picture, or a frame of slices.
    """
    asked, other = (slice_index, frame) if source.unit == "slice" else (frame, slice_index)
    option = "slice_index" if source.unit == "slice" else "frame"
    if other is not None:
        raise BadInput(f"{source.name}: is {source.kind}, made of {source.unit}s", f"choose one by {option}")
    last = source.count - 1
    if asked is None and last > 0:
        raise BadInput(
            f"{source.name}: holds {source.count} {source.unit}s", f"choose one by {option} (0 to {last}), or read all"
        )
    if asked is not None and not 0 <= asked <= last:
        raise BadInput(f"{source.name}: has no {source.unit} {asked}", f"choose 0 to {last}")
    return asked or 0
