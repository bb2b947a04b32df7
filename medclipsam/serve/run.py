"""Runs the server: binds its address first, prints it with the token, and ends within two seconds, leaving no file."""

from __future__ import annotations

import logging
import os
import secrets
import signal
import socket
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from threading import Thread

import uvicorn

from medclipsam.errors import BadInput
from medclipsam.methods.contract import Segmenter
from medclipsam.review.store import ReviewStore
from medclipsam.serve import state
from medclipsam.serve.answers import Answers, Limits
from medclipsam.serve.app import make_app, make_watch_app
from medclipsam.serve.guard import Guard

GRACE_S = 1
"""How long requests that are being answered may go on after Ctrl-C."""
REST_S = 0.5
"""How long the thread of the method may take to notice."""


@dataclass(frozen=True, kw_only=True)
class Serving:
    """How a server listens."""

    host: str = "127.0.0.1"
    port: int = state.DEFAULT_PORT
    """0: any free one."""
    folders: tuple[Path, ...] = ()
    """Folders below which a path may be asked for."""
    hosts: tuple[str, ...] = ()
    """Further names that the server is called by."""
    limits: Limits = field(default_factory=Limits)
    seed: int = 0
    """The seed that the method is loaded with."""
    review: ReviewStore | None = None
    """The pseudolabel folder that is looked through, if one is."""
    watched: tuple[Path, ...] = ()
    """Output folders of runs whose progress is shown; the method is then loaded when it is first needed."""


def serve(serving: Serving, load: Callable[[], Segmenter], say: Callable[[state.Running], None]) -> None:
    """Answer until Ctrl-C.

    Args:
        serving: how to listen.
        load: loads the method, while the first requests may come already.
        say: hears the address and token, once the server can be reached.

    Raises:
        BadInput: an address that cannot be listened on, or a folder that is none.
        UserError: the method cannot be loaded.
    """
    check_folders(serving.folders)
    hush()
    listening = _listening(serving)
    running = state.Running(url=_url(serving.host, listening), token=_token())
    answers = Answers(load, seed=serving.seed, folders=serving.folders, limits=serving.limits)
    try:
        with state.told(running):
            _answer(serving, answers, listening, running, say)
    finally:
        listening.close()
        rested = answers.close(REST_S)
    if not rested:
        _leave()


def _answer(
    serving: Serving,
    answers: Answers,
    listening: socket.socket,
    running: state.Running,
    say: Callable[[state.Running], None],
) -> None:
    failed: list[BaseException] = []
    hosts = [*serving.hosts, *([] if serving.host in ("0.0.0.0", "::") else [serving.host])]
    app = make_app(answers, serving.review, serving.watched)
    server = _server(Guard(app, token=running.token, hosts=hosts, most_bytes=serving.limits.upload_bytes))

    def warm() -> None:
        try:
            answers.segmenter()
        except BaseException as error:
            failed.append(error)
            server.should_exit = True

    if not serving.watched:
        Thread(target=warm, name="medclipsam-loading", daemon=True).start()
    say(running)
    with _ended_alike():
        server.run(sockets=[listening])
    if failed:
        raise failed[0]


@contextmanager
def _ended_alike() -> Iterator[None]:
    """Let Ctrl-C and SIGTERM end the block, and no more: uvicorn raises them once again when it has ended.

    Unheard, SIGTERM would then end the process before its files are gone.
    """

    def end(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, end)
    try:
        with suppress(KeyboardInterrupt):
            yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def watched(folder: Path, say: Callable[[state.Running], None]) -> Iterator[None]:
    """While the block runs, show the progress of the run that writes a folder, on any free port of this machine.

    Args:
        folder: the output folder, which need not be there yet.
        say: hears the address and token.

    Raises:
        BadInput: no port is free.
    """
    listening = _listening(Serving(port=0))
    running = state.Running(url=_url("127.0.0.1", listening), token=_token())
    server = _server(Guard(make_watch_app([folder]), token=running.token, most_bytes=0))
    thread = Thread(target=server.run, kwargs={"sockets": [listening]}, name="medclipsam-watch", daemon=True)
    thread.start()
    try:
        say(running)
        yield
    finally:
        server.should_exit = True
        thread.join(2 * GRACE_S)
        listening.close()


def _server(app: Guard) -> uvicorn.Server:
    """Nothing is logged but what the guard logs: uvicorn would trace requests that Ctrl-C cut off."""
    logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)
    return uvicorn.Server(
        uvicorn.Config(
            app,
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=GRACE_S,
        )
    )


def _token() -> str:
    return os.environ.get(state.TOKEN_VARIABLE) or secrets.token_urlsafe(32)


def hush() -> None:
    """Keep what libraries remark on a file off the terminal, from every thread: it may quote a name.

    Readers do so themselves, but Python's warnings are the whole process's, and scans are read in several threads.
    """
    warnings.simplefilter("ignore")
    for name in ("highdicom", "nibabel", "pydicom"):
        logging.getLogger(name).setLevel(logging.CRITICAL)


def check_folders(folders: Sequence[Path]) -> None:
    """Refuse a folder that is none.

    Raises:
        BadInput: which one.
    """
    for folder in folders:
        if not folder.is_dir():
            raise BadInput(f"{folder} is no folder", "give --folder one that is there")


def _listening(serving: Serving) -> socket.socket:
    """A socket that listens, before anything is loaded."""
    family = socket.AF_INET6 if ":" in serving.host else socket.AF_INET
    found = socket.socket(family, socket.SOCK_STREAM)
    found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        found.bind((serving.host, serving.port))
        found.listen(128)
    except (OSError, OverflowError) as error:
        found.close()
        reason = getattr(error, "strerror", None) or str(error)
        raise BadInput(
            f"{serving.host}:{serving.port} cannot be listened on ({reason})", "choose another --port"
        ) from error
    found.set_inheritable(False)
    return found


def _url(host: str, listening: socket.socket) -> str:
    name = "127.0.0.1" if host == "0.0.0.0" else "[::1]" if host == "::" else f"[{host}]" if ":" in host else host
    return f"http://{name}:{listening.getsockname()[1]}"


def _leave() -> None:
    """End the process although a thread still computes: nothing of it is wanted, and its files are gone."""
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)
