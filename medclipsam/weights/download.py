"""Downloads weights over HTTPS, and only when somebody asks.

    GET (Range: from where the last try stopped) -> NAME.partial -> SHA-256 -> rename to NAME

Proxies come from the usual variables (HTTPS_PROXY, NO_PROXY), own certificates from SSL_CERT_FILE, a mirror of the hub
from HF_ENDPOINT. Nothing is sent but the request for the file. No library does it in less: pooch starts anew after a
break and reads all that a server sends, `hf_hub_download` asks the hub alone, and Meta's files lie elsewhere.
"""

from __future__ import annotations

import os
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from typing import TypeVar
from urllib.error import HTTPError, URLError

from medclipsam.errors import CannotWrite, MissingWeights, WrongHash
from medclipsam.weights.store import Found, find, find_beside, how_to_get, store_folder, verify
from medclipsam.weights.table import WeightFile, Weights, lookup

CHUNK = 1 << 20
ATTEMPTS = 3
PARTIAL_CONTENT = 206
RANGE_NOT_SATISFIABLE = 416
TIMEOUT_S = 60.0
Here = TypeVar("Here")
Progress = Callable[[str, int, int | None], None]
"""Called with the file name, bytes so far and bytes in all (None where the server does not say)."""


class _BrokenOff(Exception):
    """The connection ended before the file did."""


def pull(key: str, *, offline: bool = False, progress: Progress | None = None) -> Found:
    """Make sure that weights are here, downloading what is missing.

    Args:
        key: an entry of the table.
        offline: refuse to use the network, as the variable HF_HUB_OFFLINE does too.
        progress: told about every megabyte.

    Raises:
        MissingWeights: offline, no address to download from, or the server cannot be reached.
        WrongHash: what came is not what the table pins; it is deleted.
        CannotWrite: the store cannot be written.
    """
    return _pulled(lambda: find(key), lookup(key), lookup(key).files, offline=offline, progress=progress)


def pull_beside(key: str, *, offline: bool = False, progress: Progress | None = None) -> Path:
    """The same for all files but the tensors, which a checkpoint of one's own needs; the folder they lie in."""
    return _pulled(lambda: find_beside(key), lookup(key), lookup(key).files[1:], offline=offline, progress=progress)


def _pulled(
    found: Callable[[], Here],
    weights: Weights,
    files: Sequence[WeightFile],
    *,
    offline: bool,
    progress: Progress | None,
) -> Here:
    try:
        return found()
    except MissingWeights:
        if offline or _is_offline() or weights.base_url is None:
            raise
    folder = store_folder() / weights.key
    for file in files:
        if not (folder / file.name).is_file():
            _pull_file(weights, file, folder / file.name, progress)
    return found()


def _is_offline() -> bool:
    return os.environ.get("HF_HUB_OFFLINE", "").strip().lower() in {"1", "true", "yes", "on"}


def _pull_file(weights: Weights, file: WeightFile, target: Path, progress: Progress | None) -> None:
    partial = target.with_name(f"{target.name}.partial")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        _receive(weights, file, partial, progress)
        _accept(file, partial, target)
    except OSError as error:
        raise CannotWrite(f"{target} cannot be written: {error.strerror}") from error


def _receive(weights: Weights, file: WeightFile, partial: Path, progress: Progress | None) -> None:
    """Fill `partial` from the address of `file`, going on from where it stopped when the connection breaks."""
    url = f"{weights.url_base}{file.name}"
    reason: Exception = _BrokenOff("no attempt")
    for _ in range(ATTEMPTS):
        try:
            for done, total in _stream(url, partial, file.bytes):
                if progress:
                    progress(file.name, done, total)
            return
        except HTTPError as error:
            if error.code == RANGE_NOT_SATISFIABLE:
                return
            raise MissingWeights(f"{url} answered {error.code} {error.reason}", how_to_get(weights)) from error
        except (URLError, HTTPException, TimeoutError, ConnectionError, _BrokenOff) as error:
            reason = error
    raise MissingWeights(
        f"{url} could not be fetched: {getattr(reason, 'reason', reason)}",
        f"check HTTPS_PROXY and SSL_CERT_FILE, then try again to go on from here; {how_to_get(weights)}",
    ) from reason


def _stream(url: str, partial: Path, limit: int | None) -> Iterator[tuple[int, int | None]]:
    """Append to `partial` until the file is whole or larger than `limit`; yields bytes so far and in all."""
    start = partial.stat().st_size if partial.exists() else 0
    with _open(url, start) as response:
        done = start if response.status == PARTIAL_CONTENT else 0
        length = response.headers.get("Content-Length")
        total = done + int(length) if length else None
        with partial.open("ab" if done else "wb") as stream:
            while (chunk := response.read(CHUNK)) and done <= (limit or done):
                stream.write(chunk)
                done += len(chunk)
                yield done, total
            stream.flush()
            os.fsync(stream.fileno())
    if total is not None and done < total and done <= (limit or done):
        raise _BrokenOff("the connection ended before the file did")


def _open(url: str, start: int) -> HTTPResponse:
    headers = {"User-Agent": "medclipsam"} | ({"Range": f"bytes={start}-"} if start else {})
    return urllib.request.build_opener().open(urllib.request.Request(url, headers=headers), timeout=TIMEOUT_S)


def _accept(file: WeightFile, partial: Path, target: Path) -> None:
    """Give the file its name if it is the right one; throw it away if not."""
    try:
        verify(file, partial)
    except WrongHash:
        partial.unlink()
        raise
    partial.replace(target)
