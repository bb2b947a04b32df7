"""Refuses hostile and broken files: by their headers before any decoder runs, and where a parser fails on them.

header: 65535 x 65535 x 1000 frames x 3 samples x 2 bytes   ->  BadInput, nothing allocated
pydicom, nibabel, Pillow, gdcm --any exception, any warning-->  BadInput, one line for the person, the cause kept inside

A parser's own words may quote the file (a name, a date), so only the kind of failure is repeated.
"""

from __future__ import annotations

import contextlib
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from medclipsam.errors import BadInput, UserError

DEFAULT_MAX_PIXELS = 64 * 2**20
"""Largest 2-D image: 8192 x 8192, three times a digital mammogram; float32 RGB of it takes 0.8 GB."""
MAX_FILE_BYTES = 4 * 2**30
"""Largest file on disk."""
MAX_DECODED_BYTES = 8 * 2**30
"""Largest sum of all slices or frames that a file claims, although only one is decoded at a time."""
DEFLATE_RATIO = 1032
"""No deflate stream grows by more than this (RFC 1951: 258 bytes from 2 bits)."""
_FORMATS = "DICOM, NIfTI, NRRD, MHA, MGZ, PNG, JPEG, TIFF, BMP or NPY"


def check_file(path: Path) -> None:
    """Refuse what is no ordinary, non-empty file of a sane size.

    Raises:
        BadInput: missing, a folder, a device, empty or larger than `MAX_FILE_BYTES`.
    """
    if path.is_dir():
        raise BadInput(f"{path} is a folder", "give one image file")
    if not path.exists():
        raise BadInput(f"there is no file {path}", "check the path")
    if not path.is_file():
        raise BadInput(f"{path} is not an ordinary file", f"give {_FORMATS}")
    size = path.stat().st_size
    if size == 0:
        raise BadInput(f"{path.name} is empty", f"give {_FORMATS}")
    if size > MAX_FILE_BYTES:
        raise BadInput(f"{path.name} has {size:,} bytes, more than {MAX_FILE_BYTES:,}", "split it")


def check_pixels(name: str, height: int, width: int, max_pixels: int) -> None:
    """Refuse an image by the size in its header.

    Raises:
        BadInput: a side below 1, or more than `max_pixels`.
    """
    if height < 1 or width < 1:
        raise BadInput(f"{name}: {width} x {height} pixels hold no image")
    if height * width > max_pixels:
        raise BadInput(
            f"{name}: {width} x {height} pixels are more than the limit of {max_pixels:,}",
            "crop or shrink it, or raise max_pixels",
        )


def check_decoded(name: str, total_bytes: int) -> None:
    """Refuse a file by what its header says it decodes to.

    Raises:
        BadInput: more than `MAX_DECODED_BYTES`.
    """
    if total_bytes > MAX_DECODED_BYTES:
        raise BadInput(f"{name}: claims {total_bytes:,} bytes of pixels, more than {MAX_DECODED_BYTES:,}", "split it")


def check_held(name: str, claimed_bytes: int, there_bytes: int, *, packed: bool) -> None:
    """Refuse a file whose header claims more than the file can hold.

    Args:
        name: the case id to speak of.
        claimed_bytes: of voxels or pixels, unpacked.
        there_bytes: what the file has for them.
        packed: whether they are packed by deflate (zlib, gzip), so that they may be more.

    Raises:
        BadInput: more than that, or than `MAX_DECODED_BYTES`.
    """
    check_decoded(name, claimed_bytes)
    most = there_bytes * (DEFLATE_RATIO if packed else 1)
    if claimed_bytes > most:
        raise BadInput(
            f"{name}: the header claims {claimed_bytes:,} bytes, the file has at most {max(most, 0):,}", "it is cut off"
        )


def check_finite(name: str, values: NDArray[np.generic]) -> None:
    """Refuse NaN and infinity; what to put in their place is the owner's decision.

    Raises:
        BadInput: how many values are not finite.
    """
    if values.dtype.kind != "f":
        return
    bad = int(values.size - np.isfinite(values).sum())
    if bad:
        raise BadInput(
            f"{name}: {bad:,} of {values.size:,} values are NaN or infinite", "replace them, for example by 0"
        )


@contextmanager
def reader_edge(name: str, kind: str) -> Iterator[None]:
    """Turn whatever a parser raises into a BadInput, and keep its warnings off the terminal.

    Args:
        name: the case id to speak of.
        kind: the format being read, as a person calls it.

    Raises:
        BadInput: in place of every exception that is not a `UserError`.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except UserError:
        raise
    except PermissionError as error:
        raise BadInput(f"{name}: the file may not be opened", "check its permissions") from error
    except MemoryError as error:
        raise BadInput(f"{name}: reading it needs more memory than there is", "crop or shrink it") from error
    except RecursionError as error:
        raise BadInput(f"{name}: its parts are nested too deeply", "the file is damaged or hostile") from error
    except Exception as error:
        raise BadInput(
            f"{name}: cannot be read as {kind} ({type(error).__name__})", "the file is damaged, cut off or not one"
        ) from error


@contextmanager
def silent_natives() -> Iterator[None]:
    """Keep what C libraries print to the standard error stream off the terminal while a frame is decoded."""
    try:
        saved = os.dup(2)
    except OSError:
        yield
        return
    try:
        with open(os.devnull, "wb") as nothing:  # noqa: PTH123
            os.dup2(nothing.fileno(), 2)
            yield
    finally:
        with contextlib.suppress(OSError):
            os.dup2(saved, 2)
        os.close(saved)
