"""How is gdcm asked without being trusted? As a pydicom decoder plugin whose work is done in a child process.

    this process                              child (gdcm_worker.py, started once, on first need)
        frame, rows, columns ...   ---->      gdcm
        samples                    <----

On some damaged frames gdcm ends its process. Then the child dies, this file alone is refused, and the next frame
starts another child. The child ends with its parent, because its stdin does.
"""

from __future__ import annotations

import json
import os
import struct
import subprocess
import sys
import threading
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from pydicom import uid
from pydicom.pixels.decoders.base import DecodeRunner

LABEL = "gdcm-child"
TIMEOUT_S = 120.0
"""For one frame; the largest take a few seconds."""
DECODER_DEPENDENCIES = dict.fromkeys((uid.JPEGExtended12Bit, uid.JPEGLossless, uid.JPEGLosslessSV1), ("python-gdcm",))
"""pydicom asks a plugin for this name."""


def is_available(syntax: str) -> bool:
    """Whether this plugin decodes a transfer syntax here; pydicom asks for this name too."""
    return syntax in DECODER_DEPENDENCIES and find_spec("gdcm") is not None


def decode_frame(frame: bytes, runner: DecodeRunner) -> bytes:
    """The samples of one encoded frame, interleaved.

    Raises:
        ValueError: the frame cannot be decoded, or the child died or ran out of time over it.
    """
    request = {
        "columns": runner.columns,
        "rows": runner.rows,
        "samples": runner.samples_per_pixel,
        "bits_allocated": runner.bits_allocated,
        "bits_stored": runner.bits_stored,
        "signed": runner.pixel_representation,
        "photometric": str(runner.photometric_interpretation),
        "syntax": str.__str__(runner.transfer_syntax),
    }
    if runner.samples_per_pixel > 1:
        runner.set_option("planar_configuration", 0)
    samples = _CHILD.ask(request, frame)
    if len(samples) != runner.frame_length(unit="bytes"):
        raise ValueError("the frame cannot be decoded")
    return samples


class _Child:
    """One worker process, started again when it is gone or belongs to a process that this one was forked from."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._owner = 0

    def ask(self, request: dict[str, Any], frame: bytes) -> bytes:
        """The worker's answer; empty where it has none."""
        with self._lock:
            process = self._started()
            timer = threading.Timer(TIMEOUT_S, process.kill)
            timer.start()
            try:
                return _exchange(process, request, frame)
            except OSError:
                return b""
            finally:
                timer.cancel()

    def _started(self) -> subprocess.Popen[bytes]:
        running = self._process is not None and self._owner == os.getpid() and self._process.poll() is None
        if self._process is None or not running:
            program = Path(__file__).with_name("gdcm_worker.py")
            self._process = subprocess.Popen(
                [sys.executable, "-P", str(program)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
            )
            self._owner = os.getpid()
        return self._process


def _exchange(process: subprocess.Popen[bytes], request: dict[str, Any], frame: bytes) -> bytes:
    if process.stdin is None or process.stdout is None:
        return b""
    head = json.dumps({**request, "length": len(frame)}).encode()
    process.stdin.write(struct.pack("<Q", len(head)) + head + frame)
    process.stdin.flush()
    size = process.stdout.read(8)
    if len(size) < 8:
        process.wait()
        return b""
    return process.stdout.read(struct.unpack("<Q", size)[0])


_CHILD = _Child()
