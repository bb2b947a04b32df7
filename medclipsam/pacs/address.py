"""Reads the address of an archive and what is searched in it.

dicomweb:https://archive.example/dicom-web      the prefix says that it is no file
modality=CT,date=20200101-20201231              what is searched
"""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from urllib.parse import urlsplit

from medclipsam.errors import BadInput

PREFIX = "dicomweb:"
_STUDY_KEYS = MappingProxyType(
    {"date": "StudyDate", "study": "StudyInstanceUID", "study-description": "StudyDescription"}
)
_SERIES_KEYS = MappingProxyType(
    {
        "modality": "Modality",
        "series": "SeriesInstanceUID",
        "description": "SeriesDescription",
        "body": "BodyPartExamined",
    }
)
KEYS = (*_STUDY_KEYS, *_SERIES_KEYS)
"""No key names a patient: it would stand in the list of processes."""


@dataclass(frozen=True)
class Address:
    """Where an archive answers.

    Raises:
        BadInput: no address, or one that carries a user or password, which anyone could see.
    """

    url: str

    def __post_init__(self) -> None:
        try:
            parts = urlsplit(self.url)
            host, _ = parts.hostname, parts.port
        except ValueError:
            parts, host = urlsplit(""), None
        if "@" in self.url:
            raise BadInput(
                "the address carries a user or password, which everybody on this machine can see",
                "leave it out, and set MEDCLIPSAM_DICOMWEB_USER and MEDCLIPSAM_DICOMWEB_PASSWORD or use netrc",
            )
        if parts.scheme not in ("http", "https") or not host or parts.query or parts.fragment:
            raise BadInput(
                f"{self.url[:80]!r} is no address of an archive", f"give {PREFIX}https://HOST/PATH, as its manual says"
            )

    @classmethod
    def parse(cls, text: str) -> Address | None:
        """The address behind `dicomweb:`; None of anything else, such as a file.

        Raises:
            BadInput: see the class.
        """
        return cls(text.removeprefix(PREFIX).rstrip("/")) if text.startswith(PREFIX) else None

    @property
    def spoken(self) -> str:
        """Host and port, for messages."""
        return urlsplit(self.url).netloc

    @property
    def is_plain(self) -> bool:
        """Whether what is sent can be read on the way: no TLS, and not within this machine."""
        parts = urlsplit(self.url)
        return parts.scheme == "http" and parts.hostname not in ("localhost", "127.0.0.1", "::1")


@dataclass(frozen=True, kw_only=True)
class Query:
    """What is searched in an archive: keywords of DICOM and what they have to be, as QIDO-RS matches (`*`, `A-B`)."""

    study: tuple[tuple[str, str], ...] = ()
    series: tuple[tuple[str, str], ...] = ()

    @classmethod
    def parse(cls, text: str) -> Query:
        """`modality=US,date=20200101-20201231` as a query.

        Raises:
            BadInput: no query, a key that is not known, or one without value.
        """
        study: dict[str, str] = {}
        series: dict[str, str] = {}
        for part in filter(None, text.split(",")):
            key, _, value = (piece.strip() for piece in part.partition("="))
            if key not in KEYS or not value:
                raise BadInput(
                    f"--query {part!r} is not understood", f"give KEY=VALUE with KEY one of {', '.join(KEYS)}"
                )
            if key in _STUDY_KEYS:
                study[_STUDY_KEYS[key]] = value
            else:
                series[_SERIES_KEYS[key]] = value
        if not study and not series:
            raise BadInput("the whole archive is not segmented at once", "choose by --query, such as modality=CT")
        return cls(study=tuple(study.items()), series=tuple(series.items()))
