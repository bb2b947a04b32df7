"""Questions and their answers: `/v1/segment`, and the files that it leaves."""

from __future__ import annotations

import asyncio
from functools import partial
from mimetypes import guess_type

from fastapi import APIRouter, Request, Response
from fastapi.responses import FileResponse
from pydantic import TypeAdapter
from starlette.concurrency import run_in_threadpool

from medclipsam.errors import BadInput
from medclipsam.serve import models
from medclipsam.serve.answers import Answer, Answers
from medclipsam.serve.asking import Ask, Reading
from medclipsam.serve.bodies import answers_of, files_of, form_of, is_multipart, json_of, text_of
from medclipsam.serve.waiting import GivenUp

results = APIRouter(tags=["answers"])


@results.post("/segment", summary="Segment what the prompts name", openapi_extra={"requestBody": models.SEGMENT_BODY})
async def segment(request: Request) -> models.AnswerInfo:
    """JSON about a scan that was sent or lies below a folder; or multipart with `files` and `request`, that JSON.

    The report, masks and overlays are those of `medclipsam segment`, bit for bit.
    """
    answers = answers_of(request)
    answers.waiting.check()
    if not is_multipart(request):
        ask = Ask.model_validate(await json_of(request))
        key = await run_in_threadpool(answers.scan_of, ask)
        return _told(await _answered(request, answers, key, ask), answers.answers.seconds)
    async with form_of(request) as form:
        ask = _ask(text_of(form, "request"))
        reading = Reading(axis=ask.axis, series=ask.series)
        taken = await run_in_threadpool(answers.take, files_of(form), reading, ask.case)
    try:
        return _told(await _answered(request, answers, taken.id, ask), answers.answers.seconds)
    except Exception:
        if taken.is_new:
            answers.scans.forget(taken.id)
        raise


@results.get(
    "/results/{result}/{name}",
    summary="One file of an answer",
    response_class=FileResponse,
    responses={200: {"content": {"application/octet-stream": {}}}},
)
def result_file(request: Request, result: str, name: str) -> Response:
    """Masks, overlays and `report.json`, as the command line writes them."""
    with answers_of(request).answers.use(result) as answer:
        if name not in answer.files:
            raise KeyError(name)
        content = (answer.folder / name).read_bytes()
    return Response(
        content, media_type=_media_type(name), headers={"Content-Disposition": f'inline; filename="{name}"'}
    )


@results.delete("/results/{result}", status_code=204, summary="Forget an answer")
def drop_result(request: Request, result: str) -> Response:
    """Its files go at once."""
    answers_of(request).answers.drop(result)
    return Response(status_code=204)


async def _answered(request: Request, answers: Answers, key: str, ask: Ask) -> Answer:
    """Wait for the answer, or until nobody waits for it.

    Raises:
        GivenUp: the sender went away.
    """
    ticket = answers.waiting.put(partial(answers.answer, key, ask))
    hearing = asyncio.wrap_future(ticket.future)
    leaving = asyncio.ensure_future(_left(request))
    try:
        await asyncio.wait((hearing, leaving), return_when=asyncio.FIRST_COMPLETED)
        if not hearing.done():
            raise GivenUp
        answer: Answer = hearing.result()
        return answer
    finally:
        answers.waiting.give_up(ticket)
        leaving.cancel()
        hearing.add_done_callback(lambda done: done.cancelled() or done.exception())


async def _left(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _told(answer: Answer, seconds: float) -> models.AnswerInfo:
    found = [
        models.ResultFile(
            name=name,
            bytes=(answer.folder / name).stat().st_size,
            media_type=_media_type(name),
            url=f"/v1/results/{answer.id}/{name}",
        )
        for name in answer.files
    ]
    return models.AnswerInfo(id=answer.id, scan=answer.scan, report=answer.report, files=found, kept_s=seconds)


def _media_type(name: str) -> str:
    if name.endswith(".dcm"):
        return "application/dicom"
    kind, packed = guess_type(name)
    return "application/octet-stream" if packed or kind is None else kind


def _ask(text: str) -> Ask:
    ask = TypeAdapter(Ask).validate_json(text)
    if ask.scan is not None or ask.path is not None:
        raise BadInput("a request with files names no other scan", "leave scan and path out")
    return ask
