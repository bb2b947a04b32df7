"""What is asked again, what ends a run, and who is told the password: against a small server that fails on purpose."""

from __future__ import annotations

import json
import threading
from collections import deque
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from medclipsam.errors import BadInput
from medclipsam.pacs.address import Address, Query
from medclipsam.pacs.archive import Archive, NoServer
from medclipsam.pacs.multipart import single_part
from medclipsam.pacs.scans import FoundObject, FoundSeries, scan_name
from medclipsam.runs.remote_scan import _chosen

OBJECT = FoundObject(study="1.2", series="1.2.3", uid="1.2.3.4")
WHOLE = b"--b\r\nContent-Type: application/dicom\r\n\r\n" + b"DICM\r\n--no boundary" + b"\r\n--b--\r\n"
MULTIPART = 'multipart/related; type="application/dicom"; boundary=b'


class Failing(ThreadingHTTPServer):
    """Answers what it is told to, in order; None: hangs up."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Answering)
        self.answers: deque[tuple[int, str, bytes] | None] = deque()
        self.asked: list[tuple[str, str | None]] = []
        """Path and authorization of each request."""


class _Answering(BaseHTTPRequestHandler):
    server: Failing

    def do_GET(self) -> None:
        self.server.asked.append((self.path, self.headers["Authorization"]))
        answer = self.server.answers.popleft()
        if answer is None:
            self.close_connection = True
            return
        status, kind, body = answer
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Nothing."""


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Failing]:
    monkeypatch.setattr("medclipsam.pacs.archive.WAITS_S", (0.01, 0.01))
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    for word in ("USER", "PASSWORD", "TOKEN"):
        monkeypatch.delenv(f"MEDCLIPSAM_DICOMWEB_{word}", raising=False)
    with Failing() as found:
        threading.Thread(target=found.serve_forever, daemon=True).start()
        yield found
        found.shutdown()


def archive(server: Failing) -> Archive:
    return Archive(Address(f"http://127.0.0.1:{server.server_port}/dicom-web"))


@pytest.mark.parametrize("first", [(503, "text/plain", b""), (500, "text/plain", b""), None])
def test_what_may_pass_is_asked_again(server: Failing, tmp_path: Path, first: tuple[int, str, bytes] | None) -> None:
    server.answers.extend([first, first, (200, MULTIPART, WHOLE)])
    archive(server).fetch(OBJECT, tmp_path / "x.dcm")
    assert (tmp_path / "x.dcm").read_bytes() == b"DICM\r\n--no boundary"
    assert (tmp_path / "x.dcm").stat().st_mode & 0o777 == 0o600
    assert [path for path, _ in server.asked] == ["/dicom-web/studies/1.2/series/1.2.3/instances/1.2.3.4"] * 3


@pytest.mark.parametrize(
    ("answers", "kind", "said"),
    [
        ([(503, "text/plain", b"")] * 3, BadInput, "answers 503"),
        ([(404, "text/plain", b"")], BadInput, "does not have"),
        ([(401, "text/plain", b"")], NoServer, "refuses this user"),
        ([None] * 3, NoServer, "no archive answers"),
        ([(200, MULTIPART, WHOLE[:-9])], BadInput, "cut off"),
        ([(200, "text/html", b"<p>Welcome")], BadInput, "no DICOM object"),
    ],
)
def test_what_does_not_pass_is_told_and_leaves_no_file(
    server: Failing, tmp_path: Path, answers: list[tuple[int, str, bytes] | None], kind: type[Exception], said: str
) -> None:
    server.answers.extend(answers)
    with pytest.raises(kind, match=said):
        archive(server).fetch(OBJECT, tmp_path / "x.dcm")
    assert not (tmp_path / "x.dcm").exists()
    assert len(server.asked) == len(answers)


def test_a_page_that_is_no_dicomweb_is_told(server: Failing) -> None:
    server.answers.append((200, "text/html", b"<p>Welcome"))
    with pytest.raises(BadInput, match="does not answer in DICOMweb"):
        archive(server).series_by(Query.parse("modality=CT"))


def test_results_come_in_pages_and_a_server_without_pages_is_asked_twice(server: Failing) -> None:
    listed = [{"00080018": {"vr": "UI", "Value": [f"1.2.3.{number}"]}} for number in range(200)]
    body = (200, "application/dicom+json", json.dumps(listed).encode())
    server.answers.extend([body, body])
    assert len(archive(server).objects_of(FoundSeries(study="1.2", uid="1.2.3", modality="CT", count=0))) == 200
    assert "offset=0" in server.asked[0][0] and "offset=200" in server.asked[1][0]


def test_netrc_is_asked_for_a_password_and_the_environment_comes_first(
    server: Failing, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login ada password pw\n")
    (tmp_path / "netrc").chmod(0o600)
    server.answers.extend([(200, "application/dicom+json", b"[]")] * 3)
    archive(server).has("1.2", "1.2.3.4")
    monkeypatch.setenv("MEDCLIPSAM_DICOMWEB_USER", "bea")
    with pytest.raises(BadInput, match="is missing"):
        archive(server)
    monkeypatch.setenv("MEDCLIPSAM_DICOMWEB_PASSWORD", "päss:word")
    archive(server).has("1.2", "1.2.3.4")
    monkeypatch.setenv("MEDCLIPSAM_DICOMWEB_TOKEN", "token")
    archive(server).has("1.2", "1.2.3.4")
    sent = [authorization for _, authorization in server.asked]
    assert sent == ["Basic YWRhOnB3", "Basic YmVhOnDDpHNzOndvcmQ=", "Bearer token"]


def test_one_of_several_series_is_chosen_by_number_or_identifier() -> None:
    found = [FoundSeries(study="1.2", uid=f"1.2.{number}", modality="CT", count=9) for number in (3, 4)]
    assert _chosen(found, "2") == _chosen(found, "1.2.4") == found[1]
    assert _chosen(found[:1], None) == found[0]
    for wanted in (None, "3", "1.2.5"):
        with pytest.raises(BadInput, match=r"1: CT, 9 objects, 1\.2\.3; 2: CT"):
            _chosen(found, wanted)


@pytest.mark.parametrize("uid", ["", "1..2", "../1", "1.2/3", "1." * 40, "1.2\n"])
def test_nothing_but_an_identifier_becomes_part_of_an_address(uid: str) -> None:
    with pytest.raises(BadInput, match="no Series Instance UID"):
        FoundSeries(study="1.2", uid=uid, modality="CT", count=0)


def test_an_object_that_is_not_wrapped_is_taken_as_it_is() -> None:
    assert single_part("application/dicom", b"DICM") == b"DICM"


def test_a_name_tells_the_kind_of_a_scan_and_no_identifier() -> None:
    assert scan_name("CT", "1.2.3").startswith("ct-series-")
    assert scan_name("U/S ü", "1.2.3").startswith("us-image-")
    assert "1.2.3" not in scan_name("", "1.2.3")
