"""What a request brings: the server that it asks, and its body as a form or as JSON."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import Request
from starlette.datastructures import FormData, UploadFile
from starlette.exceptions import HTTPException

from medclipsam.errors import BadInput
from medclipsam.io.zips import MAX_MEMBERS
from medclipsam.serve.answers import Answers


def answers_of(request: Request) -> Answers:
    """What the server knows."""
    answers: Answers = request.app.state.answers
    return answers


@asynccontextmanager
async def form_of(request: Request) -> AsyncIterator[FormData]:
    """The parts of a form; its files are gone when the block ends."""
    async with request.form(max_files=MAX_MEMBERS, max_fields=8, max_part_size=2**20) as form:
        yield form


def files_of(form: FormData) -> list[Any]:
    """The parts `files`."""
    return [part for part in form.getlist("files") if isinstance(part, UploadFile)]


def text_of(form: FormData, name: str) -> str:
    """A part that is text.

    Raises:
        BadInput: there is none of this name.
    """
    value = form.get(name)
    if not isinstance(value, str):
        raise BadInput(f"the part {name!r} is missing", "send the request as JSON in it")
    return value


async def json_of(request: Request) -> Any:
    """The body as JSON.

    Raises:
        HTTPException: it is none (400).
    """
    try:
        return json.loads(await request.body())
    except (ValueError, RecursionError) as error:
        raise HTTPException(400, "the body is no JSON") from error


def is_multipart(request: Request) -> bool:
    """Whether the body is a form with files; else it is taken for JSON."""
    return request.headers.get("content-type", "").startswith("multipart/form-data")
