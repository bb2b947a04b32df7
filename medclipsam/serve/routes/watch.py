"""Shows how far runs over folders are: a page that looks again every few seconds, and the same as JSON.

/watch                     rate, time left, the last pictures, refusals; without script
/v1/watch                  the same for programs
/v1/watch/N/overlays/...   a picture that a record of the run names
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape
from pathlib import Path
from urllib.parse import quote

from fastapi import APIRouter, FastAPI, Request, Response
from fastapi.responses import FileResponse, HTMLResponse

from medclipsam import html
from medclipsam.notice import RESEARCH_USE_ONLY
from medclipsam.runs.manifest import Record
from medclipsam.runs.progress import Follower, RunProgress, picture_of
from medclipsam.serve import models

AGAIN_S = 5
"""Seconds after which the page looks again."""
STYLE = """
progress { height: 1.2rem; width: min(100%, 40rem) }
dl { display: grid; gap: .2rem 1rem; grid-template-columns: max-content 1fr }
dt { color: var(--faded) } dd { margin: 0 }
"""
QUIET_S = 120.0
"""Seconds without a record after which the page says so."""
watch = APIRouter(tags=["runs"])


def add_watch(app: FastAPI, folders: Sequence[Path], at: str = "/watch") -> None:
    """Serve a page of the runs over these output folders."""
    app.state.followed = [Follower(folder) for folder in folders]
    app.add_api_route(at, _page, include_in_schema=False)


@watch.get("/watch", summary="How far the runs are that this server was started to show")
def progress(request: Request) -> list[models.RunInfo]:
    """Read from their manifests, so that they may run on another machine."""
    return [_told(number, follower) for number, follower in enumerate(_followed(request))]


@watch.get(
    "/watch/{number}/{name:path}",
    summary="One picture of a run",
    response_class=FileResponse,
    responses={200: {"content": {"image/jpeg": {}}}},
)
def picture(request: Request, number: int, name: str) -> Response:
    """Only pictures that a record of the run names."""
    followed = _followed(request)
    path = followed[number].picture(name) if 0 <= number < len(followed) else None
    if path is None:
        raise KeyError(name)
    return FileResponse(path)


def _followed(request: Request) -> list[Follower]:
    found: list[Follower] = getattr(request.app.state, "followed", [])
    return found


def _told(number: int, follower: Follower) -> models.RunInfo:
    now = follower.look()
    return models.RunInfo(
        number=number,
        name=follower.folder.name,
        done=now.done,
        total=now.total,
        counts=dict(now.counts),
        rate=now.rate,
        seconds_left=now.seconds_left,
        seconds_since=now.seconds_since,
        finished=now.finished,
        latest=[_answer(number, record) for record in now.latest],
        refusals=[_answer(number, record) for record in now.refusals],
    )


def _answer(number: int, record: Record) -> models.RunAnswer:
    name = picture_of(record)
    return models.RunAnswer(
        file=record.spoken,
        prompt=record.prompt,
        status=record.status,
        confidence=record.confidence,
        reason=record.reason,
        picture=f"/v1/watch/{number}/{quote(name)}" if name else None,
    )


def _page(request: Request) -> HTMLResponse:
    parts = [*html.begin("medclipsam runs", STYLE)]
    for number, follower in enumerate(_followed(request)):
        parts += _run(number, follower.folder.name, follower.look())
    parts += [f'<p class="faded">{escape(RESEARCH_USE_ONLY)}</p>', *html.end()]
    return HTMLResponse("\n".join(parts), headers={"Refresh": str(AGAIN_S)})


def _run(number: int, name: str, now: RunProgress) -> Iterator[str]:
    yield f"<h1>{escape(name)}: {_share(now)}</h1>"
    if now.total:
        yield f'<progress value="{now.done}" max="{now.total}"></progress>'
    yield f"<dl>{''.join(f'<dt>{escape(key)}</dt><dd>{escape(value)}</dd>' for key, value in _facts(now))}</dl>"
    if now.latest:
        yield '<h2>Last answers</h2><div class="cards">'
        for record in now.latest:
            place = f"/v1/watch/{number}/{quote(picture_of(record))}"
            yield html.card(place, f"<div>{escape(record.spoken)}</div>{_caption(record)}", link=place)
        yield "</div>"
    rows = [(record.spoken, record.prompt or "", record.status, record.reason or "") for record in now.refusals]
    yield from html.table("Last refusals", [("case", "prompt", "status", "reason"), *rows] if rows else [])


def _caption(record: Record) -> str:
    sure = "" if record.confidence is None else f", confidence {record.confidence:.2f}"
    return f'<div class="faded">{escape(record.prompt or "")}: {escape(record.status)}{sure}</div>'


def _share(now: RunProgress) -> str:
    if now.total is None:
        return f"{now.done:,} answers"
    return f"{now.done:,} of {now.total:,} answers" + (", finished" if now.finished else "")


def _facts(now: RunProgress) -> Iterator[tuple[str, str]]:
    yield "so far", ", ".join(f"{count:,} {status}" for status, count in sorted(now.counts.items())) or "nothing yet"
    if now.finished:
        return
    if now.rate:
        yield "rate", f"{now.rate:.1f} answers/s" if now.rate >= 1 else f"{1 / now.rate:.1f} s an answer"
    if now.seconds_left is not None:
        yield "time left", _spoken(now.seconds_left)
    if now.seconds_since is not None and now.seconds_since > QUIET_S:
        yield "quiet", f"no record for {_spoken(now.seconds_since)}: does the run still go on?"


def _spoken(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s" if minutes else f"{rest} s"
