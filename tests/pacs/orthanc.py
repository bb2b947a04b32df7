"""A true Orthanc with its DICOMweb plug-in, started for tests on a free port of this machine."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
from pathlib import Path
from time import monotonic, sleep
from typing import Any

import pytest
import requests

USER, PASSWORD = "ada", "s3cret-of-ada"
PLUGINS = (
    Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so"),
    Path("/usr/lib/orthanc/libOrthancDicomWeb.so"),
)
START_S = 30.0


class Orthanc:
    """An archive below a folder; it can be killed and started again.

    Args:
        folder: for its configuration, index and objects.
    """

    def __init__(self, folder: Path) -> None:
        self.program, self.plugin = shutil.which("Orthanc"), next((each for each in PLUGINS if each.exists()), None)
        if self.program is None or self.plugin is None:
            pytest.skip("Orthanc is not installed (Debian: orthanc, orthanc-dicomweb)")
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.root = f"http://127.0.0.1:{self.port}"
        self.scan = f"dicomweb:{self.root}/dicom-web"
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, and wait until it answers."""
        config = self._folder / "orthanc.json"
        config.write_text(json.dumps(self._config()))
        with (self._folder / "orthanc.log").open("ab") as log:
            self._process = subprocess.Popen([str(self.program), config], stdout=log, stderr=log, cwd=self._folder)
        end = monotonic() + START_S
        while monotonic() < end:
            try:
                if self.get("/system"):
                    return
            except requests.ConnectionError:
                sleep(0.05)
        raise TimeoutError(f"Orthanc does not answer: {(self._folder / 'orthanc.log').read_text()[-2000:]}")

    def kill(self) -> None:
        """End it without a word."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def get(self, path: str) -> Any:
        """What its own interface, which is not DICOMweb, answers."""
        response = requests.get(self.root + path, auth=(USER, PASSWORD), timeout=10)
        response.raise_for_status()
        return response.json()

    def push(self, *files: Path) -> None:
        """Bring files into it."""
        for file in files:
            body = file.read_bytes()
            requests.post(f"{self.root}/instances", data=body, auth=(USER, PASSWORD), timeout=10).raise_for_status()

    def held(self, modality: str) -> list[dict[str, Any]]:
        """The tags of all objects of a modality."""
        asked = {"Level": "Instance", "Query": {"Modality": modality}, "Expand": True}
        response = requests.post(f"{self.root}/tools/find", json=asked, auth=(USER, PASSWORD), timeout=10)
        response.raise_for_status()
        return [self.get(f"/instances/{each['ID']}/simplified-tags") for each in response.json()]

    def _config(self) -> dict[str, Any]:
        return {
            "Name": "test",
            "HttpPort": self.port,
            "DicomServerEnabled": False,
            "RemoteAccessAllowed": False,
            "AuthenticationEnabled": True,
            "RegisteredUsers": {USER: PASSWORD},
            "StorageDirectory": str(self._folder / "storage"),
            "IndexDirectory": str(self._folder / "storage"),
            "Plugins": [str(self.plugin)],
            "DicomWeb": {"Enable": True, "Root": "/dicom-web/"},
        }
