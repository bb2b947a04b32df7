"""What the server answers where it cannot: a status, what is wrong in one line, and the way out in another."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import ValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from medclipsam.errors import UserError
from medclipsam.review.decisions import Overtaken
from medclipsam.serve import models
from medclipsam.serve.guard import TooLong
from medclipsam.serve.waiting import Busy, GivenUp

OVERTAKEN = 409
"""Status where another window decided meanwhile."""
NOBODY_WAITS = 499
"""Status of an answer that nobody hears (nginx's number for it)."""
PROBLEMS: dict[int | str, dict[str, Any]] = {
    status: {"model": models.Problem, "description": text}
    for status, text in (
        (400, "The body is not what its type says."),
        (401, "No token, or another."),
        (403, "Another host or origin."),
        (404, "No such scan or result, or no more."),
        (413, "Longer than the server takes."),
        (422, "Something that the sender can mend."),
        (503, "The queue is full: come again after `Retry-After` seconds."),
    )
}


def add_handlers(app: FastAPI) -> None:
    """Say of every failure what it means."""
    for kind, handler in (
        (UserError, _refused),
        (Busy, _busy),
        (KeyError, _gone),
        (RequestValidationError, _invalid),
        (ValidationError, _invalid),
        (HTTPException, _plain),
        (GivenUp, _unheard),
        (ClientDisconnect, _unheard),
        (TooLong, _too_long),
        (Exception, _failed),
    ):
        app.add_exception_handler(kind, handler)


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """What a route may answer, for its description."""
    return {status: PROBLEMS[status] for status in statuses}


def _problem(status: int, said: str, remedy: str = "", **headers: str) -> JSONResponse:
    return JSONResponse({"problem": said, "remedy": remedy}, status, headers)


def _refused(_request: Request, error: Exception) -> Response:
    status = OVERTAKEN if isinstance(error, Overtaken) else 422
    return _problem(status, getattr(error, "problem", ""), getattr(error, "remedy", ""))


def _busy(_request: Request, error: Exception) -> Response:
    seconds = str(getattr(error, "seconds", 1))
    return _problem(503, "the server has enough to do", f"come again in {seconds} s", **{"Retry-After": seconds})


def _gone(_request: Request, _error: Exception) -> Response:
    return _problem(404, "there is no scan, answer or file of this id, or no more", "send the scan again")


def _plain(_request: Request, error: Exception) -> Response:
    return _problem(getattr(error, "status_code", 500), str(getattr(error, "detail", "")))


def _too_long(_request: Request, _error: Exception) -> Response:
    return _problem(413, "the upload is longer than this server takes", "start it with --max-upload MB")


def _failed(_request: Request, _error: Exception) -> Response:
    return _problem(500, "the server failed", "its terminal says where")


def _unheard(_request: Request, _error: Exception) -> Response:
    return Response(status_code=NOBODY_WAITS)


def _invalid(_request: Request, error: Exception) -> Response:
    """Which field, and what is wrong with it; not the value, which may be long."""
    first = error.errors()[0]  # type: ignore[attr-defined]
    place = ".".join(str(part) for part in first["loc"])
    return _problem(422, f"{place or 'the request'}: {first['msg']}", "see /v1/docs")
