"""Parses what is typed on a command line: boxes, points, slices, windows, formats."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

from medclipsam.errors import BadInput

if TYPE_CHECKING:
    from medclipsam.io.dicom.seg import SegKind
    from medclipsam.io.mask_files import SegOptions
    from medclipsam.io.mask_formats import ScanFormat
    from medclipsam.io.source import ReadOptions
    from medclipsam.io.window import Window
    from medclipsam.runs.remote_folder import RemoteSource
    from medclipsam.runs.remote_scan import RemoteChoice
    from medclipsam.types import Box, Hints, Points

ALL = "all"
BOX_HELP = "give x0,y0,x1,y1 in pixels, such as --box 20,30,120,90"
POINTS_HELP = 'give x,y;x,y in pixels, such as --points "40,50;10,10,0"'
PLANES = ("axial", "coronal", "sagittal")


def parse_box(text: str) -> Box:
    """`20,30,120,90` as x0, y0, x1, y1.

    Raises:
        BadInput: not four numbers, or corners in the wrong order.
    """
    from medclipsam.types import Box

    numbers = _numbers(text)
    if len(numbers) != 4:
        raise BadInput(f"box {text[:60]!r} is not four numbers", BOX_HELP)
    x0, y0, x1, y1 = numbers
    return Box(x0=x0, y0=y0, x1=x1, y1=y1)


def parse_hints(boxes: Sequence[str], points: str | None) -> Hints:
    """A person's own boxes and points.

    Raises:
        BadInput: see `parse_box` and `parse_points`.
    """
    from medclipsam.types import Hints

    return Hints(boxes=tuple(map(parse_box, boxes)), points=None if points is None else parse_points(points))


def parse_points(text: str) -> Points:
    """`40,50;10,10,0` as a point inside the object and one outside (a third number 0).

    Raises:
        BadInput: not pairs of numbers, or a third number other than 0 and 1.
    """
    import numpy as np

    from medclipsam.types import Points

    rows = [_numbers(part) for part in text.split(";")]
    if any(len(row) not in (2, 3) or row[2:] not in ([], [0.0], [1.0]) for row in rows):
        raise BadInput(f"points {text[:60]!r} are not pairs of numbers", POINTS_HELP)
    labels = [int(row[2]) if len(row) == 3 else 1 for row in rows]
    return Points(xy=np.array([row[:2] for row in rows], np.float32), labels=np.array(labels, np.int64))


def parse_some(option: str, text: str | None) -> tuple[int | None, tuple[int, int | None] | None]:
    """Which slices or frames are meant, counted from 0: `7` is (7, None), `10:40` is (None, (10, 40)) for 10 to 39.

    `:40` and `10:` leave an end open; (None, None) is all of them.

    Raises:
        BadInput: neither of these nor `all`.
    """
    if text is None or text == ALL:
        return None, None
    start, colon, stop = text.partition(":")
    if not all(end.isdecimal() or (colon and not end) for end in (start, stop or start)):
        raise BadInput(f"--{option} {text[:20]!r} is no number or span", "give N from 0 on, A:B, such as 10:40, or all")
    return (None, (int(start or 0), int(stop) if stop else None)) if colon else (int(start), None)


def parse_axis(text: str | None) -> Literal["axial", "coronal", "sagittal"] | int | None:
    """A plane by name, or an axis of the file by number; what it can be is checked when the file is read.

    Raises:
        BadInput: neither.
    """
    match text:
        case None | "axial" | "coronal" | "sagittal":
            return text
        case "0" | "1" | "2":
            return int(text)
    raise BadInput(f"axis {text[:20]!r} is not known", f"give {', '.join(PLANES)}, 0, 1 or 2")


def parse_window(text: str | None) -> Window:
    """See `medclipsam.io.window.parse_window`; None where nothing was given."""
    from medclipsam.io import window

    return None if text is None else window.parse_window(text)


def parse_reading(axis: str | None, window: str | None, max_pixels: int, *, sandbox: bool = False) -> ReadOptions:
    """How scans are read.

    Raises:
        BadInput: an axis or window that is none.
    """
    from medclipsam.io.source import ReadOptions

    return ReadOptions(
        axis=parse_axis(axis),
        window=parse_window(window),
        max_pixels=max_pixels,
        sandbox=sandbox,
    )


def parse_seg(kind: SegKind, *, per_prompt: bool = False, all_slices: bool = False) -> SegOptions:
    """How DICOM SEG is written."""
    from medclipsam.io.mask_files import SegOptions

    return SegOptions(kind=kind, per_prompt=per_prompt, all_slices=all_slices)


def parse_formats(texts: Sequence[str]) -> tuple[ScanFormat, ...]:
    """The formats of masks; which of them a scan can have is checked when it is read.

    Raises:
        BadInput: an unknown one.
    """
    from medclipsam.io.mask_formats import ScanFormat

    known = {str(format): format for format in get_args(ScanFormat)}
    unknown = [text for text in texts if text not in known]
    if unknown:
        raise BadInput(f"format {unknown[0][:20]!r} is not known", f"give {', '.join(known)}")
    return tuple(known[text] for text in texts)


def _numbers(text: str) -> list[float]:
    """The finite numbers between commas; nothing where one is not."""
    try:
        numbers = [float(part) for part in text.split(",")]
    except ValueError:
        return []
    return numbers if all(math.isfinite(number) for number in numbers) else []


def parse_archived(scan: str, study: str | None, series: str | None, *, store: bool) -> RemoteChoice | None:
    """Which scan of an archive is meant; None of a file.

    Raises:
        BadInput: an address that cannot be used or has no study, or a file with options of archives.
    """
    from medclipsam.pacs.address import Address
    from medclipsam.runs.remote_scan import RemoteChoice

    address = Address.parse(scan)
    if address is None:
        _check_no_archive(study=study, store=store)
        return None
    if study is None:
        raise BadInput("an archive holds many studies", "choose one by --study UID, or use pseudolabel with --query")
    return RemoteChoice(address=address, study=study, series=series, store=store)


def parse_source(source: str, query: str | None, *, store: bool) -> tuple[Path, RemoteSource | None]:
    """(the folder, table or file; what is searched in an archive, where `source` is one).

    Raises:
        BadInput: an address or query that cannot be used, or files with options of archives.
    """
    from medclipsam.pacs.address import Address, Query
    from medclipsam.runs.remote_folder import RemoteSource

    address = Address.parse(source)
    if address is None:
        _check_no_archive(query=query, store=store)
        return Path(source), None
    remote = RemoteSource(address=address, query=Query.parse(query or ""), store=store)
    return Path(f"dicomweb:{address.spoken}"), remote


def _check_no_archive(**options: str | bool | None) -> None:
    for name, value in options.items():
        if value:
            raise BadInput(f"--{name} belongs to an archive", "give dicomweb:https://HOST/PATH in place of a file")
