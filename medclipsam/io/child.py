"""Runs work in one child process that may die over it: started on first need, and again when it is gone.

    this process                                          child, a module that calls `serve`
        head (JSON) and body (bytes)    --stdin-->        one answer for each request, in turn
        head and body                   <--stdout--

A child has a limit on time for each answer; on Linux it also has one on memory, writes no files and dumps no core.
It ends with its parent, because its stdin does; a Ctrl-C in the terminal is its parent's alone, lest the file that it
reads be taken for one that ends it. Nothing is pickled: whatever a child says is data.
"""

from __future__ import annotations

import json
import os
import signal
import struct
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

Head = dict[str, Any]
_ROOT = Path(__file__).resolve().parents[2]
_START = "import runpy, sys; sys.path.append(sys.argv.pop(1)); runpy.run_module(sys.argv[1], run_name='__main__')"
_LENGTHS = struct.Struct("<QQ")
_LONGEST_HEAD = 2**20


class ChildDied(Exception):
    """A child ended, or was ended, before it answered; the text says how."""


class Child:
    """One process that answers, started anew when it is gone or belongs to a process that this one was forked from.

    Args:
        module: what it runs; it calls `serve`.
        memory_bytes: most address space that it may take (Linux).
        timeout_s: longest time for one answer; then it is killed.
    """

    def __init__(self, module: str, *, memory_bytes: int, timeout_s: float) -> None:
        self.module = module
        self.memory_bytes = memory_bytes
        self.timeout_s = timeout_s
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._owner = 0

    def ask(self, head: Head, body: bytes = b"", *, most_bytes: int) -> tuple[Head, bytearray]:
        """The child's answer.

        Args:
            head: what is asked; JSON.
            body: what goes with it.
            most_bytes: longest body of an answer that is believed.

        Raises:
            ChildDied: no answer, or one that cannot be.
        """
        with self._lock:
            process = self._started()
            late = threading.Event()
            timer = threading.Timer(self.timeout_s, _kill, (process, late))
            timer.daemon = True
            timer.start()
            try:
                return _exchange(process, head, body, most_bytes)
            except (OSError, EOFError, ValueError) as error:
                ended = _end(process)
                raise ChildDied(f"took more than {self.timeout_s:g} s" if late.is_set() else ended) from error
            except BaseException:
                _end(process)  # or its answer would be taken for that of the next request
                raise
            finally:
                timer.cancel()

    def close(self) -> None:
        """End the process that there is; the next request starts another."""
        with self._lock:
            if self._process is not None and self._owner == os.getpid():
                _end(self._process)

    def _started(self) -> subprocess.Popen[bytes]:
        running = self._process is not None and self._owner == os.getpid() and self._process.poll() is None
        if self._process is None or not running:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-c", _START, str(_ROOT), self.module],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
            self._owner = os.getpid()
            _limit(self._process.pid, self.memory_bytes)
        return self._process


def serve(answer: Callable[[Head, bytes], tuple[Head, Any]]) -> None:
    """In a child: answer every request until there are no more. What libraries print is lost."""
    global _serving  # noqa: PLW0603
    _serving = True
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    while True:
        try:
            head, body = _receive(sys.stdin.buffer, sys.maxsize)
        except EOFError:
            return
        _send(answers, *answer(head, bytes(body)))


def is_child() -> bool:
    """Whether this very process is such a child, which needs no other one to die in its place."""
    return _serving


_serving = False


def _kill(process: subprocess.Popen[bytes], late: threading.Event) -> None:
    late.set()
    process.kill()


def _exchange(process: subprocess.Popen[bytes], head: Head, body: bytes, most_bytes: int) -> tuple[Head, bytearray]:
    if process.stdin is None or process.stdout is None:
        raise EOFError
    _send(process.stdin, head, body)
    return _receive(process.stdout, most_bytes)


def _send(stream: Any, head: Head, body: Any) -> None:
    told, content = json.dumps(head).encode(), memoryview(body).cast("B")
    stream.write(_LENGTHS.pack(len(told), len(content)) + told)
    stream.write(content)
    stream.flush()


def _receive(stream: IO[bytes], most_bytes: int) -> tuple[Head, bytearray]:
    told, content = _LENGTHS.unpack(_read(stream, _LENGTHS.size))
    if told > _LONGEST_HEAD or content > most_bytes:
        raise ValueError("an answer that cannot be")
    return json.loads(_read(stream, told)), _read(stream, content)


def _read(stream: IO[bytes], size: int) -> bytearray:
    content = bytearray(size)
    view, filled = memoryview(content), 0
    while filled < size:
        count = stream.readinto(view[filled:])  # type: ignore[attr-defined]
        if not count:
            raise EOFError
        filled += count
    return content


def _end(process: subprocess.Popen[bytes]) -> str:
    """Let a process that does not answer be gone for good; how it ended."""
    process.kill()
    code = process.wait()
    with suppress(ValueError):
        return f"ended by {signal.Signals(-code).name}"
    return f"ended with code {code}"


def _limit(process_id: int, memory_bytes: int) -> None:
    """From outside and before the first request, so that the child need not be trusted to do it."""
    with suppress(ImportError, AttributeError, OSError, ValueError):
        import resource  # noqa: PLC0415

        for kind, most in (
            (resource.RLIMIT_AS, memory_bytes),
            (resource.RLIMIT_FSIZE, 0),
            (resource.RLIMIT_CORE, 0),
        ):
            resource.prlimit(process_id, kind, (most, most))
