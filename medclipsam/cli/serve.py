"""The commands `serve` and `review`: answers over HTTP, from models that stay loaded, and a page to look at."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from medclipsam.cli.console import need_extra, say, say_json
from medclipsam.cli.gathered import offered
from medclipsam.cli.models import ChosenModels
from medclipsam.cli.options import panel, writing
from medclipsam.notice import RESEARCH_USE_ONLY

if TYPE_CHECKING:
    from medclipsam.serve.state import Running

listening = panel("Listening")
PORT = 8765
"""As `medclipsam.serve.state.DEFAULT_PORT`; a test holds the two together."""


@offered
def serve(
    *,
    host: Annotated[str, listening("Address to listen on; another than 127.0.0.1 opens the server to the network.")] = (
        "127.0.0.1"
    ),
    port: Annotated[int, listening("Port to listen on; 0 takes any free one.", min=0, max=65535)] = PORT,
    allow_host: Annotated[
        list[str] | None, listening("Further name that the server is called by; repeatable.", "--allow-host")
    ] = None,
    folder: Annotated[
        list[Path] | None,
        listening("Folder below which scans may be asked for by their path; repeatable.", "--folder"),
    ] = None,
    watch: Annotated[
        list[Path] | None,
        listening(
            "Output folder of `pseudolabel` or `predict`, perhaps of another machine, whose progress is shown at "
            "/watch; repeatable. Models are then loaded when they are first needed.",
            "--watch",
        ),
    ] = None,
    queue: Annotated[int, listening("Requests that may wait; more are told to come again.", min=1, max=1000)] = 8,
    max_upload: Annotated[int, listening("Longest upload in MB.", min=1, max=4096)] = 1024,
    load: ChosenModels,
    verbose: Annotated[bool, writing("Tell of each request on stderr: route, status, seconds.", "--verbose")] = False,
    json: Annotated[bool, writing("Print address and token as JSON.", "--json")] = False,
) -> None:
    """Answer over HTTP on this machine, with models that stay loaded, and a page to look at; Ctrl-C ends it.

    Prints an address with a token: without the token nothing is answered. Nothing is sent anywhere.
    """
    need_extra("serve", "serve", "fastapi", "uvicorn", "python_multipart")
    from medclipsam.serve.answers import Limits
    from medclipsam.serve.run import Serving
    from medclipsam.serve.run import serve as run

    if verbose:
        logging.basicConfig(format="%(asctime)s %(message)s", level=logging.WARNING)
        logging.getLogger("medclipsam.serve").setLevel(logging.INFO)
    serving = Serving(
        host=host,
        port=port,
        hosts=tuple(allow_host or ()),
        folders=tuple(folder or ()),
        watched=tuple(watch or ()),
        limits=Limits(queue=queue, upload_bytes=max_upload * 10**6),
        seed=load.seed,
    )
    run(serving, load, _say_as_json if json else _say)


@offered
def review(
    labels: Annotated[Path, typer.Argument(metavar="LABELS", help="Folder that `medclipsam pseudolabel` wrote.")],
    *,
    images: Annotated[
        Path | None,
        listening("Folder or table of scans that pseudolabel was given; without it nothing can be corrected."),
    ] = None,
    port: Annotated[int, listening("Port to listen on; 0 takes any free one.", min=0, max=65535)] = 0,
    load: ChosenModels,
    json: Annotated[bool, writing("Print address and token as JSON.", "--json")] = False,
) -> None:
    """Look through pseudo-labels in the browser, the least sure first: accept, reject, correct; Ctrl-C ends.

    Decisions go to LABELS/review.jsonl at once; refine, export and evaluate take them by --reviewed. The models are for
    corrections by box, points or other words.
    """
    need_extra("review", "serve", "fastapi", "uvicorn", "python_multipart")
    from medclipsam.review.store import ReviewStore
    from medclipsam.serve.run import Serving
    from medclipsam.serve.run import serve as run

    store = ReviewStore(labels, images)
    run(Serving(port=port, folders=store.folders, seed=load.seed, review=store), load, _say_as_json if json else _say)


def _say(running: Running) -> None:
    say(f"{running.url}/?token={running.token}")
    say(f"Open this address in a browser of this machine; Ctrl-C ends the server. {RESEARCH_USE_ONLY}", err=True)


def _say_as_json(running: Running) -> None:
    import json

    say_json(json.dumps({"url": running.url, "token": running.token}))
