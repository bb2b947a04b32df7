"""Keeps the address and token of a running server in a file that only its owner may read, for clients.

$XDG_RUNTIME_DIR/medclipsam/server-PORT.json, without one ~/.local/state/medclipsam/server-PORT.json (0600 in 0700)
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from urllib.parse import urlsplit

from medclipsam.errors import BadInput, CannotWrite

TOKEN_VARIABLE = "MEDCLIPSAM_TOKEN"
DEFAULT_PORT = 8765
MOST_BYTES = 2**14


@dataclass(frozen=True, kw_only=True)
class Running:
    """A server that runs."""

    url: str
    token: str


@contextmanager
def told(running: Running) -> Iterator[None]:
    """While the block runs, clients of this person find the server.

    Raises:
        CannotWrite: the file cannot be written.
    """
    path = _folder() / f"server-{_port(running.url)}.json"
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
            json.dump(asdict(running), stream)
    except OSError as error:
        raise CannotWrite(f"{path} cannot be written ({error.strerror})", "mend it, or set XDG_RUNTIME_DIR") from error
    try:
        yield
    finally:
        with suppress(OSError):
            path.unlink()


def find(url: str | None) -> Running:
    """The server at an address, or the one that runs; its token from the environment, or from its file.

    Args:
        url: its address; None: the only server of this person.

    Raises:
        BadInput: no server is known, or several are, or no token.
    """
    token = os.environ.get(TOKEN_VARIABLE)
    if url is not None:
        plain = _checked(url)
        known = token or next((each.token for each in _all() if each.url == plain), None)
        if known is None:
            raise BadInput(f"the token of {plain} is not known", f"set {TOKEN_VARIABLE} to what the server printed")
        return Running(url=plain, token=known)
    found = list(_all())
    if len(found) != 1:
        urls = ", ".join(each.url for each in found)
        problem = f"several servers are known: {urls}" if found else "no server runs here"
        raise BadInput(problem, "name it by --server URL, or start one with `medclipsam serve`")
    return Running(url=found[0].url, token=token or found[0].token)


def _all() -> Iterator[Running]:
    for path in sorted(_folder().glob("server-*.json")):
        with suppress(OSError, ValueError, TypeError, KeyError):
            if path.stat().st_size <= MOST_BYTES:
                fields = json.loads(path.read_text("utf-8"))
                yield Running(url=str(fields["url"]), token=str(fields["token"]))


def _checked(url: str) -> str:
    """Scheme, host and port alone.

    Raises:
        BadInput: no address of a server.
    """
    try:
        parts = urlsplit(url)
        place = f"{parts.hostname}:{parts.port}" if parts.port else str(parts.hostname or "")
    except ValueError:
        parts, place = urlsplit(""), ""
    if parts.scheme not in ("http", "https") or not place or parts.path.strip("/") or parts.username:
        raise BadInput(f"{url[:80]!r} is no address of a server", f"give one such as http://127.0.0.1:{DEFAULT_PORT}")
    return f"{parts.scheme}://{place}"


def _port(url: str) -> int:
    return urlsplit(url).port or 80


def _folder() -> Path:
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    if runtime:
        return Path(runtime) / "medclipsam"
    state = os.environ.get("XDG_STATE_HOME")
    return (Path(state) if state else Path.home() / ".local" / "state") / "medclipsam"
