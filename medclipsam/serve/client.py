"""Asks a server about a scan and writes its files, as `medclipsam segment` would have; needs no torch.

SCAN --SHA-256--> known to the server?  no: sent        --ask--> report, files --> DIR, all or none
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any

import httpx2 as httpx

from medclipsam.errors import BadInput
from medclipsam.io.atomic import check_folder, staged
from medclipsam.io.limits import check_file, reader_edge
from medclipsam.io.members import files_below
from medclipsam.io.sniff import sniff
from medclipsam.io.volumes.opening import parts_of
from medclipsam.runs.replaced import REPORT, written_before
from medclipsam.serve.scans import content_id
from medclipsam.serve.state import TOKEN_VARIABLE, Running
from medclipsam.types import Progress

CONNECT_S = 5.0
MOST_TRIES = 60
"""How often a client comes again to a server that has enough to do."""
Report = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What to ask of which scan."""

    scan: Path
    folder: Path
    """Where the answers go."""
    ask: Mapping[str, Any]
    """Fields of `medclipsam.serve.asking.Ask`, without the scan."""
    by_path: bool = False
    """Let the server read the scan itself, below a folder that it was started with."""


def ask_server(running: Running, asked: Asked, tell: Progress) -> Report:
    """Ask, and write masks, overlays and the report into `asked.folder`.

    Returns:
        The report, as written.

    Raises:
        BadInput: no server, another token, or what the server refuses.
        CannotWrite: an output folder that cannot be written.
    """
    check_folder(asked.folder)
    with _client(running) as client, _spoken(running):
        answer = _answer(client, asked, tell)
        tell("writing", 0, 0)
        earlier = written_before(asked.folder, str(asked.ask.get("case") or ""))
        with staged(asked.folder, REPORT, earlier) as stage:
            for file in answer["files"]:
                _fetch(client, file["url"], stage / _plain_name(file["name"]))
        client.delete(f"/v1/results/{answer['id']}")
    report: Report = answer["report"]
    return report


def _answer(client: httpx.Client, asked: Asked, tell: Progress) -> Report:
    if asked.by_path:
        return _asked(client, tell, json={**asked.ask, "path": str(asked.scan.absolute())})
    files = _files(asked.scan)
    tell("reading", 0, 0)
    key = content_id(_root(asked.scan), files)
    if client.get(f"/v1/scans/{key}").status_code == HTTPStatus.OK:
        return _asked(client, tell, json={**asked.ask, "scan": key})
    with ExitStack() as stack:
        root = _root(asked.scan)
        sent = [("files", (path.relative_to(root).as_posix(), stack.enter_context(path.open("rb")))) for path in files]
        return _asked(client, tell, files=sent, data={"request": json.dumps(asked.ask)})


def _asked(client: httpx.Client, tell: Progress, **body: Any) -> Report:
    """Ask, and come again while the server has enough to do.

    Raises:
        BadInput: it refuses, or has enough to do for too long.
    """
    for _ in range(MOST_TRIES):
        tell("asking the server", 0, 0)
        answer = client.post("/v1/segment", **body)
        if answer.status_code != HTTPStatus.SERVICE_UNAVAILABLE:
            told: Report = _told(answer)
            return told
        tell("waiting for the server", 0, 0)
        time.sleep(min(60, int(answer.headers.get("Retry-After", "1"))))
    raise BadInput("the server has enough to do", "try again later")


def _told(answer: httpx.Response) -> Any:
    """What an answer holds.

    Raises:
        BadInput: it is none.
    """
    if answer.status_code == HTTPStatus.UNAUTHORIZED:
        raise BadInput("the server does not know this token", f"set {TOKEN_VARIABLE} to the one that it printed")
    try:
        told = answer.json()
    except ValueError as error:
        raise BadInput("what answers is no medclipsam server", "check the address") from error
    if not answer.is_success:
        problem, remedy = (str(told.get(name, ""))[:1000] for name in ("problem", "remedy"))
        raise BadInput(f"the server says: {problem or answer.status_code}", remedy)
    return told


def _fetch(client: httpx.Client, url: str, path: Path) -> None:
    with client.stream("GET", url) as answer, path.open("xb") as target:
        if not answer.is_success:
            raise BadInput("the server does not keep the answer any more", "ask again")
        for part in answer.iter_bytes():
            target.write(part)


def _client(running: Running) -> httpx.Client:
    """Straight to the server: no proxy of the environment hears of a scan."""
    return httpx.Client(
        base_url=running.url,
        headers={"Authorization": f"Bearer {running.token}"},
        timeout=httpx.Timeout(None, connect=CONNECT_S),
        trust_env=False,
        follow_redirects=False,
    )


@contextmanager
def _spoken(running: Running) -> Iterator[None]:
    try:
        yield
    except httpx.TransportError as error:
        raise BadInput(
            f"no server answers at {running.url} ({type(error).__name__})", "start one with `medclipsam serve`"
        ) from error


def _files(scan: Path) -> Sequence[Path]:
    """The files that make up a scan."""
    if scan.is_dir():
        found = [member.path for member in files_below(scan)]
        if not found:
            raise BadInput(f"{scan} holds no files", "give the folder or zip of one DICOM series")
        return found
    check_file(scan)
    with reader_edge(scan.name, "a file"):
        return parts_of(sniff(scan), scan)


def _root(scan: Path) -> Path:
    return scan if scan.is_dir() else scan.parent


def _plain_name(name: str) -> str:
    if name != Path(name).name or name.startswith(".") or "\\" in name:
        raise BadInput("the server names a file that leads elsewhere", "check the address")
    return name
