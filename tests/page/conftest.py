"""A real Chromium on the page of a real server; where the machine has no Chromium, the tests say so and are skipped."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

FLAGS = (
    *(
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-quic",
        "--no-first-run",
        "--force-device-scale-factor=1",
    ),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage"),
    "--force-device-scale-factor=1",
)


@pytest.fixture(scope="session")
def chromium() -> tuple[str, str]:
    """The programs of the browser and its driver."""
    pytest.importorskip("selenium")
    found = shutil.which("chromium") or shutil.which("chromium-browser"), shutil.which("chromedriver")
    if not all(found):
        pytest.skip("Debian's packages chromium and chromium-driver are not installed")
    return str(found[0]), str(found[1])


@pytest.fixture
def browser(chromium: tuple[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A fresh browser that notes every request of its pages and saves downloads to `tmp_path/downloads`."""
    from selenium import webdriver
    from selenium.webdriver.chrome.options import Options
    from selenium.webdriver.chrome.service import Service

    monkeypatch.setenv("SE_OFFLINE", "true")
    options = Options()
    options.binary_location = chromium[0]
    for flag in (*FLAGS, f"--user-data-dir={tmp_path / 'profile'}", "--window-size=1366,768"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"performance": "ALL", "browser": "ALL"})
    downloads = tmp_path / "downloads"
    downloads.mkdir()
    options.add_experimental_option("prefs", {"download.default_directory": str(downloads)})
    found = webdriver.Chrome(options=options, service=Service(chromium[1]))
    found.set_script_timeout(120)
    yield found
    found.quit()


@pytest.fixture
def started(tmp_path: Path) -> Iterator[Callable[..., dict[str, str]]]:
    """Start `medclipsam` with arguments; gives the address and the token that it prints. It is ended as by Ctrl-C."""
    running: list[subprocess.Popen[str]] = []

    def start(*arguments: object) -> dict[str, str]:
        command = [sys.executable, "-m", "medclipsam", *map(str, arguments), "--port", "0", "--json"]
        environment = os.environ | {"XDG_RUNTIME_DIR": str(tmp_path / "runtime"), "OMP_NUM_THREADS": "1"}
        program = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
        running.append(program)
        assert program.stdout is not None
        told: dict[str, str] = json.loads(program.stdout.readline())
        return told

    yield start
    for program in running:
        program.send_signal(signal.SIGINT)
        assert program.wait(20) in (0, 130)
