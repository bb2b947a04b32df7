"""A real server in a process of its own, for tests."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import httpx2 as httpx

from medclipsam.serve.state import Running

SERVER = Path(__file__).with_name("bright_server.py")


class Server:
    """One process and how to reach it.

    Args:
        root: gets its files.
        folders: what the bright server is started with.
        command: another server, which prints its address as JSON.
    """

    def __init__(self, root: Path, *folders: Path, command: Sequence[object] = (sys.executable, SERVER)) -> None:
        self.environment = {**os.environ, "XDG_RUNTIME_DIR": str(root / "run"), "TMPDIR": str(root / "tmp")}
        for place in ("run", "tmp"):
            (root / place).mkdir(parents=True)
        self.root = root
        self.process = subprocess.Popen(
            [*map(str, command), *map(str, folders)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=self.environment,
        )
        assert self.process.stdout is not None
        self.running = Running(**json.loads(self.process.stdout.readline()))
        self.http = httpx.Client(
            base_url=self.running.url, headers={"Authorization": f"Bearer {self.running.token}"}, timeout=30
        )

    def end(self, how: int = signal.SIGINT) -> float:
        """Seconds until it was gone."""
        began = time.monotonic()
        self.process.send_signal(how)
        self.process.wait(20)
        return time.monotonic() - began

    def left(self) -> list[str]:
        """Files that are there."""
        return [str(path) for path in self.root.rglob("*") if path.is_file()]
