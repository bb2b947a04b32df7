"""What an archive's searches find, and what of it is one scan.

CT, MR, PET    a series is a stack of slices: one scan
all others     each object of a series is one
SEG, SR, ...   no images
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass

from medclipsam.errors import BadInput

STACKS = ("CT", "MR", "PT")
_NO_IMAGES = (
    *("SEG", "SR", "PR", "KO", "RTSTRUCT", "RTPLAN", "RTDOSE", "RTRECORD", "PLAN", "REG", "FID", "RWV", "M3D"),
    *("DOC", "AU", "ECG", "HD", "EPS", "ANN", "STAIN", "SMR"),
)
_UID = re.compile(r"[0-9]+(?:\.[0-9]+)*")


def check_uid(uid: str, what: str) -> str:
    """The identifier, if it is one: nothing else becomes part of an address.

    Raises:
        BadInput: it is none.
    """
    if len(uid) > 64 or not _UID.fullmatch(uid):
        raise BadInput(f"{uid[:70]!r} is no {what}", "give numbers parted by dots, at most 64 characters")
    return uid


@dataclass(frozen=True, kw_only=True)
class FoundSeries:
    """A series that an archive has.

    Raises:
        BadInput: identifiers that are none.
    """

    study: str
    uid: str
    modality: str
    count: int
    """How many objects the archive says it has; 0 where it does not say."""

    def __post_init__(self) -> None:
        check_uid(self.study, "Study Instance UID")
        check_uid(self.uid, "Series Instance UID")

    @property
    def has_images(self) -> bool:
        """Whether it may hold images."""
        return self.modality not in _NO_IMAGES

    @property
    def is_stack(self) -> bool:
        """Whether it is read as slices of one scan."""
        return self.modality in STACKS


@dataclass(frozen=True, kw_only=True)
class FoundObject:
    """An object that an archive has.

    Raises:
        BadInput: identifiers that are none.
    """

    study: str
    series: str
    uid: str

    def __post_init__(self) -> None:
        check_uid(self.uid, "SOP Instance UID")


def scan_name(modality: str, uid: str) -> str:
    """The case id of a scan, from a hash of its identifier: `ct-series-5f1d23ab`."""
    kind = re.sub(r"[^a-z]", "", modality.lower())[:4] or "scan"
    word = "series" if modality in STACKS else "image"
    return f"{kind}-{word}-{hashlib.sha256(uid.encode()).hexdigest()[:8]}"


def listing_digest(objects: tuple[FoundObject, ...]) -> str:
    """SHA-256 of the identifiers of a scan's objects; one whose content changes has to get another (PS3.5 9.1)."""
    return hashlib.sha256("\n".join(each.uid for each in objects).encode()).hexdigest()
