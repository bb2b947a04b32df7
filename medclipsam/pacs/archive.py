"""Finds, fetches and stores DICOM objects in an archive by DICOMweb (PS3.18), with patience.

    find     QIDO-RS   series of a query or a study, objects of a series         by dicomweb-client
    fetch    WADO-RS   each object as it is stored, into a file that only the user may read
    store    STOW-RS   a SEG or SR; what is there already is not sent again

An answer of 5xx and a lost connection are tried again, later each time. A server that is gone ends the run
(`NoServer`); what it says of one object is that object's fault (`BadInput`).
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from io import BytesIO
from pathlib import Path
from time import sleep
from typing import Any, TypeVar

from medclipsam.errors import BadInput, MissingExtra, UserError
from medclipsam.pacs.address import Address, Query
from medclipsam.pacs.multipart import single_part
from medclipsam.pacs.scans import FoundObject, FoundSeries

USER, PASSWORD, TOKEN = (f"MEDCLIPSAM_DICOMWEB_{word}" for word in ("USER", "PASSWORD", "TOKEN"))
WAITS_S = (0.5, 1.0, 2.0)
"""Before the second try, the third ..."""
TIMEOUT_S = (10.0, 120.0)
"""To connect, and between two bytes of an answer."""
PAGE = 200
_AGAIN = (408, 429, 500, 502, 503, 504)
_ACCEPT = 'multipart/related; type="application/dicom"; transfer-syntax=*'
_log = logging.getLogger(__name__)
_Answer = TypeVar("_Answer")
_Search = Callable[..., list[dict[str, Any]]]


class NoServer(UserError):
    """An archive that does not answer, or does not let this user in."""


class Archive:
    """An archive of images.

    Args:
        address: where it answers.

    Raises:
        MissingExtra: dicomweb-client is not installed.
        BadInput: half a name and password.
    """

    def __init__(self, address: Address) -> None:
        try:
            import requests  # noqa: PLC0415
            from dicomweb_client.api import DICOMwebClient  # noqa: PLC0415
        except ImportError as error:
            raise MissingExtra("DICOMweb", "dicomweb") from error
        self.address = address
        self._session = requests.Session()
        self._session.auth = _credentials(address)
        self._client = DICOMwebClient(address.url, session=self._session, timeout=TIMEOUT_S)
        # Its own retries know no lost connection and no 500, and end in an error that hides what was answered.
        self._client.set_http_retry_params(retry=False)

    def series_of(self, study: str) -> list[FoundSeries]:
        """The series of images of a study, in the order of their numbers.

        Raises:
            BadInput: a study that the archive does not have, or that holds no images.
            NoServer: see the class.
        """
        found = self._searched(Query(study=(("StudyInstanceUID", study),)))
        if not found:
            raise BadInput(f"{self.address.spoken} has no study {study} with images", "give a Study Instance UID")
        return found

    def series_by(self, query: Query) -> list[FoundSeries]:
        """All series of images that a query finds, sorted by their identifiers.

        Raises:
            BadInput: the archive finds none.
            NoServer: see the class.
        """
        found = self._searched(query)
        if not found:
            raise BadInput(f"{self.address.spoken} finds no images by this query", "search for something wider")
        return sorted(found, key=lambda series: (series.study, series.uid))

    def objects_of(self, series: FoundSeries) -> tuple[FoundObject, ...]:
        """The objects of a series, sorted by their identifiers.

        Raises:
            BadInput: the archive lists none, or will not.
            NoServer: see the class.
        """
        search = partial(
            self._client.search_for_instances, study_instance_uid=series.study, series_instance_uid=series.uid
        )
        listed = self._pages(search, {})
        found = (FoundObject(study=series.study, series=series.uid, uid=_value(each, "00080018")) for each in listed)
        objects = tuple(sorted(set(found), key=lambda each: each.uid))
        if not objects:
            raise BadInput("the archive lists no objects of the series")
        return objects

    def fetch(self, wanted: FoundObject, path: Path) -> None:
        """Write an object as the archive stores it into a file that only this user may read.

        Raises:
            BadInput: the archive does not give it.
            NoServer: see the class.
        """
        url = f"{self.address.url}/studies/{wanted.study}/series/{wanted.series}/instances/{wanted.uid}"

        def received() -> tuple[str, bytes]:
            response = self._session.get(url, headers={"Accept": _ACCEPT}, timeout=TIMEOUT_S)
            response.raise_for_status()
            return response.headers.get("Content-Type", ""), response.content

        content = single_part(*self._tried(received))
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(content)

    def has(self, study: str, uid: str) -> bool:
        """Whether an object is there.

        Raises:
            NoServer: see the class.
        """
        search = partial(self._client.search_for_instances, study_instance_uid=study)
        found = self._pages(search, {"SOPInstanceUID": uid})
        return any(_value(each, "00080018") == uid for each in found)

    def store(self, path: Path) -> bool:
        """Store an object of ours; False where it is there already.

        Raises:
            BadInput: the archive refuses it.
            NoServer: see the class.
        """
        from pydicom import dcmread  # noqa: PLC0415

        dataset = dcmread(BytesIO(path.read_bytes()))
        study, uid = str(dataset.StudyInstanceUID), str(dataset.SOPInstanceUID)
        if self.has(study, uid):
            return False
        answered = self._tried(lambda: self._client.store_instances([dataset], study_instance_uid=study))
        # The client raises nothing where the server answers 200 or 202 and lists the object as failed.
        failed = answered.get("FailedSOPSequence") or []
        if failed:
            reason = int(failed[0].get("FailureReason") or 0)
            raise BadInput(f"the archive refused the object (failure reason {reason:#06x})")
        if not self.has(study, uid):
            raise BadInput("the archive took the object and does not have it")
        return True

    def _searched(self, query: Query) -> list[FoundSeries]:
        """Series of images; by their studies, for archives need not match a study's keys when series are searched."""
        wanted = dict(query.series)
        own = {"ModalitiesInStudy": wanted["Modality"]} if "Modality" in wanted else {}
        listed = self._pages(self._client.search_for_studies, {**dict(query.study), **own})
        found: list[FoundSeries] = []
        for study in dict.fromkeys(_value(each, "0020000D") for each in listed):
            search = partial(self._client.search_for_series, study_instance_uid=study)
            for each in self._pages(search, wanted):
                uid, modality = _value(each, "0020000E"), _value(each, "00080060")
                count = int(_value(each, "00201209") or 0)
                found.append(FoundSeries(study=study, uid=uid, modality=modality, count=count))
        return [series for series in found if series.has_images]

    def _pages(self, search: _Search, filters: Mapping[str, str]) -> list[dict[str, Any]]:
        """All results of a search. A server that knows no pages gives the same again: then all is there."""
        results: dict[str, dict[str, Any]] = {}
        while True:
            page = partial(search, search_filters=dict(filters), limit=PAGE, offset=len(results))
            more = self._tried(page)
            new = {str(each): each for each in more if str(each) not in results}
            results |= new
            if len(more) < PAGE or not new:
                return list(results.values())

    def _tried(self, act: Callable[[], _Answer]) -> _Answer:
        """What the server answers, asked again where it may yet answer.

        Raises:
            BadInput, NoServer: see the class.
        """
        import requests  # noqa: PLC0415

        for wait_s in (*WAITS_S, 0.0):
            last = not wait_s
            try:
                with _unheard():
                    return act()
            except requests.HTTPError as error:
                status = 0 if error.response is None else error.response.status_code
                if last or status not in _AGAIN:
                    raise self._refusal(status) from None
            except requests.exceptions.SSLError:
                raise NoServer(f"{self.address.spoken}: its certificate is not trusted here", _TRUST) from None
            except (requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError):
                if last:
                    raise NoServer(f"no archive answers at {self.address.spoken}", _GONE) from None
            except (requests.RequestException, ValueError):  # no JSON, redirected in a circle
                raise BadInput(f"{self.address.spoken} does not answer in DICOMweb", _PATH) from None
            sleep(wait_s)
        raise RuntimeError("the last try returns or raises")

    def _refusal(self, status: int) -> UserError:
        where = self.address.spoken
        if status in (401, 403):
            return NoServer(f"{where} refuses this user or password ({status})", _LOG_IN)
        if status == 404:
            return BadInput(f"{where} does not have what is asked for (404)", _PATH)
        return BadInput(f"{where} answers {status}", _PATH if status == 400 else "")


_LOG_IN = f"set {USER} and {PASSWORD}, or {TOKEN}, or use netrc"
_GONE = "see that it runs and that the address is right; the same command goes on"
_PATH = "the address ends in the path of its DICOMweb service, such as /dicom-web"
_TRUST = "name the file of its authority in REQUESTS_CA_BUNDLE"


def _credentials(address: Address) -> Any:
    """From the environment; None leaves it to netrc."""
    from requests.auth import HTTPBasicAuth  # noqa: PLC0415

    token, user, password = (os.environ.get(name) for name in (TOKEN, USER, PASSWORD))
    if (user is None) != (password is None):
        raise BadInput(f"one of {USER} and {PASSWORD} is missing", "set both or none")
    if (token or user) and address.is_plain:
        _log.warning("the password goes to %s unencrypted: its address begins with http", address.spoken)
    if token:
        return _Bearer(token)
    return HTTPBasicAuth(user.encode(), password.encode()) if user and password is not None else None


class _Bearer:
    """Sends a token with each request; called by requests."""

    def __init__(self, token: str) -> None:
        self._token = token

    def __call__(self, request: Any) -> Any:
        request.headers["Authorization"] = f"Bearer {self._token}"
        return request


def _value(found: Mapping[str, Any], tag: str) -> str:
    """The first value of an attribute in DICOM JSON (PS3.18 F); empty where there is none."""
    values = found.get(tag, {}).get("Value") or [""]
    return str(values[0])


@contextmanager
def _unheard() -> Iterator[None]:
    """Keep what the libraries log out of ours: addresses hold identifiers of studies."""
    names = ("dicomweb_client", "urllib3", "requests")
    before = {name: logging.getLogger(name).level for name in names}
    for name in names:
        logging.getLogger(name).setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        for name, level in before.items():
            logging.getLogger(name).setLevel(level)
