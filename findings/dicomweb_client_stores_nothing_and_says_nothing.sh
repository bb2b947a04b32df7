#!/usr/bin/env bash
# An archive that cannot keep an object answers a STOW-RS request with 202 and lists the object in the Failed SOP Sequence
# (PS3.18 10.5.3). dicomweb-client 0.61.2 means to log that ("storage was not successful for all instances") and has the
# lines for it, but asks `if not response.ok` just behind `raise_for_status()`, where it is never so: `store_instances`
# returns without exception, warning or log line, and a program that does not look into the returned data set believes
# that its masks are in the archive. Its retries have two gaps as well: a 500 and a lost connection are not tried again, and
# where 503 is, the last answer does not come out: the caller gets `retrying.RetryError`, which is no `requests` error.
# Exits 0 while that is so.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q dicomweb-client==0.61.2 pydicom==3.0.2 requests==2.34.2 retrying==1.4.2
"$work/venv/bin/python" - <<'PY'
import json
import logging
import threading
import warnings
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.metadata import version

import requests
import retrying
from dicomweb_client.api import DICOMwebClient
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, SegmentationStorage

REFUSED = {
    "00081198": {  # Failed SOP Sequence
        "vr": "SQ",
        "Value": [
            {
                "00081150": {"vr": "UI", "Value": [SegmentationStorage]},
                "00081155": {"vr": "UI", "Value": ["1.2.3.4"]},
                "00081197": {"vr": "US", "Value": [0xA700]},  # out of resources
            }
        ],
    }
}
asked: dict[str, int] = {}


class Archive(BaseHTTPRequestHandler):
    """Has no room; says 500 to one search and 503 to another."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self._answer(202, json.dumps(REFUSED).encode())

    def do_GET(self) -> None:
        asked[self.path.partition("?")[0]] = asked.get(self.path.partition("?")[0], 0) + 1
        self._answer(500 if "studies" in self.path else 503, b"")

    def _answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/dicom+json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


class Heard(logging.Handler):
    """Keeps what is said at warning and above."""

    said: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        if record.levelno >= logging.WARNING:
            self.said.append(record.getMessage())


server = ThreadingHTTPServer(("127.0.0.1", 0), Archive)
threading.Thread(target=server.serve_forever, daemon=True).start()
mask = Dataset()
mask.file_meta = FileMetaDataset()
mask.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
mask.file_meta.MediaStorageSOPClassUID = mask.SOPClassUID = SegmentationStorage
mask.file_meta.MediaStorageSOPInstanceUID = mask.SOPInstanceUID = "1.2.3.4"
mask.StudyInstanceUID, mask.SeriesInstanceUID = "1.2.3", "1.2.3.5"
logging.getLogger().addHandler(Heard())
client = DICOMwebClient(f"http://127.0.0.1:{server.server_port}")
with warnings.catch_warnings(record=True) as warned:
    warnings.simplefilter("always")
    answer = client.store_instances([mask])
print("dicomweb-client", version("dicomweb-client"))
print("stored:", "ReferencedSOPSequence" in answer, "- failed:", len(answer.FailedSOPSequence), "of 1")
print("exceptions: 0, warnings:", len(warned), "log lines:", Heard.said)
assert len(answer.FailedSOPSequence) == 1 and not warned and not Heard.said

try:
    client.search_for_studies()
except requests.HTTPError as error:
    print("500:", asked["/studies"], "request,", error.response.status_code)
client.set_http_retry_params(max_attempts=2, wait_exponential_multiplier=1)
try:
    client.search_for_series()
except Exception as error:
    print("503:", asked["/series"], "requests,", type(error).__name__, "is a requests error:",
          isinstance(error, requests.RequestException))
    assert isinstance(error, retrying.RetryError) and not isinstance(error, requests.RequestException)
assert asked == {"/studies": 1, "/series": 2}
PY
