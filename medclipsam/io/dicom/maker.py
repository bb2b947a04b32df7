"""What every DICOM object made here says of its maker, and how highdicom is kept quiet meanwhile.

manufacturer and model `medclipsam`, its release, a series far behind the scan's, UIDs from the content
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version

from pydicom.uid import generate_uid

ALGORITHM = "medclipsam"
SERIES_NUMBER = 9000
"""Far above what scanners give, so that the series sorts behind the scan."""
REPORT_NUMBER = 9001
"""The number of the series that structured reports are in, behind that of the masks."""
SUFFIX = ".dcm"
COLOURS = (
    *((0, 158, 115), (230, 159, 0), (86, 180, 233), (213, 94, 0)),
    *((204, 121, 167), (240, 228, 66), (0, 114, 178)),
)
"""Colours of prompts in viewers, over and over: sRGB, told apart by the colour-blind (Okabe and Ito, 2008)."""


def colour(number: int) -> tuple[int, int, int]:
    """The colour of the prompt of this number, from 1 on."""
    return COLOURS[(number - 1) % len(COLOURS)]


def release() -> str:
    """The version that is installed."""
    try:
        return version(ALGORITHM)
    except PackageNotFoundError:
        return "unknown"


def content_uids(facts: list[str]) -> tuple[str, str]:
    """(series, instance) UIDs that depend on these facts and the release, and on nothing else."""
    told = [*facts, release()]
    return generate_uid(entropy_srcs=["series", *told]), generate_uid(entropy_srcs=["instance", *told])


def tracking_uid(series_uid: str, prompt: str) -> str:
    """The tracking identifier of what a prompt names in a series: the same in each object that speaks of it."""
    return generate_uid(entropy_srcs=["tracking", series_uid, prompt])


@contextmanager
def unspoken() -> Iterator[None]:
    """Keep what highdicom and pydicom remark on a source out of terminal and logs: it may quote the patient's name."""
    silent = logging.NullHandler()
    spoken = {name: logging.getLogger(name).propagate for name in ("highdicom", "pydicom")}
    for name in spoken:
        logging.getLogger(name).addHandler(silent)
        logging.getLogger(name).propagate = False
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for name, propagates in spoken.items():
            logging.getLogger(name).propagate = propagates
            logging.getLogger(name).removeHandler(silent)
