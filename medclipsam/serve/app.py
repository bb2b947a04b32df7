"""The routes of the server.

/v1/health /v1/version /v1/targets          what this is
/v1/scans  /v1/scans/ID/slices/K.png        send a scan, look at it
/v1/segment                                 ask
/v1/results/ID/FILE                         masks, overlay, report
/v1/review/...                              a pseudolabel folder that is looked through
/          /static/...                      the page
/v1/docs   /v1/openapi.json                 all of this, in words and for programs
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from mimetypes import guess_type
from pathlib import Path
from typing import Annotated, Any, TypeVar

from fastapi import APIRouter, FastAPI, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, HTMLResponse, JSONResponse
from pydantic import TypeAdapter, ValidationError
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import FormData, UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

import medclipsam
from medclipsam.errors import BadInput, UserError
from medclipsam.io.zips import MAX_MEMBERS
from medclipsam.notice import RESEARCH_USE_ONLY
from medclipsam.review.decisions import Overtaken
from medclipsam.review.store import ReviewStore
from medclipsam.serve import models
from medclipsam.serve.answers import Answer, Answers
from medclipsam.serve.asking import Arriving, Ask, Reading
from medclipsam.serve.docs_page import page_of
from medclipsam.serve.guard import TooLong
from medclipsam.serve.page import add_page, values
from medclipsam.serve.review import overtaken, review
from medclipsam.serve.scans import describe
from medclipsam.serve.views import slice_png
from medclipsam.serve.waiting import Busy, GivenUp
from medclipsam.serve.watch import add_watch, watch
from medclipsam.weights.targets import known_targets

Made = TypeVar("Made")
NOBODY_WAITS = 499
"""Status of an answer that nobody hears (nginx's number for it)."""
MULTIPART, JSON = "multipart/form-data", "application/json"
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


def make_app(answers: Answers, store: ReviewStore | None = None, watched: Sequence[Path] = ()) -> FastAPI:
    """The application, without the guard before it; with a store, also the review room.

    Args:
        answers: what the server knows.
        store: the pseudolabel folder that is looked through.
        watched: output folders of runs whose progress is shown.
    """
    app = FastAPI(
        title="medclipsam",
        version=medclipsam.__version__,
        description=f"Segment medical images from words, on this machine. {RESEARCH_USE_ONLY}",
        docs_url=None,
        redoc_url=None,
        openapi_url="/v1/openapi.json",
        lifespan=_lifespan(answers),
    )
    app.state.answers, app.state.review = answers, store
    app.openapi = partial(_openapi, app, app.openapi)  # type: ignore[method-assign]
    app.include_router(about, prefix="/v1", responses=_some(401, 403))
    app.include_router(scans, prefix="/v1", responses=_some(400, 401, 403, 404, 413, 422, 503))
    app.include_router(values, prefix="/v1", responses=_some(401, 403, 404, 422))
    app.include_router(results, prefix="/v1", responses=_some(400, 401, 403, 404, 413, 422, 503))
    app.include_router(review, prefix="/v1", responses=_some(400, 401, 403, 404, 413, 422))
    app.include_router(watch, prefix="/v1", responses=_some(401, 403, 404, 422))
    add_page(app)
    add_watch(app, watched)
    _add_handlers(app)
    return app


def make_watch_app(watched: Sequence[Path]) -> FastAPI:
    """An application that shows the progress of runs, and nothing else; its page is at `/`."""
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    app.include_router(watch, prefix="/v1")
    add_watch(app, watched, at="/")
    _add_handlers(app)
    return app


def _add_handlers(app: FastAPI) -> None:
    """Say of every failure what it means."""
    for kind, handler in (
        (UserError, _refused),
        (Overtaken, overtaken),
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


about, scans, results = APIRouter(tags=["about"]), APIRouter(tags=["scans"]), APIRouter(tags=["answers"])


@about.get("/health", summary="Whether the server is there; the one answer that needs no token")
async def health() -> models.Health:
    """Nothing is told but that it is there."""
    return models.Health(status="ok")


@about.get("/version", summary="Versions, the loaded method, and what the server takes")
def version(request: Request) -> models.Version:
    """Loads the method where it is not loaded yet."""
    answers = _answers(request)
    info = answers.segmenter().info
    return models.Version(
        version=medclipsam.__version__,
        notice=RESEARCH_USE_ONLY,
        method=info.method,
        preset=info.name,
        device=info.device,
        takes_hints=info.takes_hints,
        takes_points=info.takes_points,
        most_upload_bytes=answers.limits.upload_bytes,
        queue=answers.limits.queue,
        waiting=len(answers.waiting),
        folders=len(answers.folders),
    )


@about.get("/targets", summary="What the embedded model was taught, to offer as one types")
def targets() -> list[models.Target]:
    """Other presets take any words; a target that was never taught may be found all the same, or not."""
    return [
        models.Target(target=each.target, images=list(each.images), dice=each.dice, dice_elsewhere=each.dice_elsewhere)
        for each in known_targets()
    ]


@about.get("/docs", include_in_schema=False)
def docs(request: Request) -> HTMLResponse:
    """All routes on one page that asks no other address."""
    return HTMLResponse(page_of(request.app.openapi()))


@scans.post(
    "/scans",
    status_code=201,
    summary="Send a scan, or name one below a folder of the server",
    openapi_extra={"requestBody": models.SCAN_BODY},
)
async def add_scan(request: Request, arriving: Annotated[Arriving, Query()]) -> models.ScanInfo:
    """Multipart with one or more parts `files` (a file; the files of a series; a header and its voxels), or JSON.

    `series` chooses among several DICOM series; the refusal of several lists them.
    """
    answers = _answers(request)
    answers.waiting.check()
    if _is(request, MULTIPART):
        async with _form(request) as form:
            taken = await run_in_threadpool(answers.take, _files(form), arriving, arriving.case)
    else:
        named = models.Named.model_validate(await _json(request))
        taken = await run_in_threadpool(answers.take_path, named.path, arriving, arriving.case)
    return models.ScanInfo(id=taken.id, **taken.told)


@scans.get("/scans/{scan}", summary="A scan that was sent: how many images, of which size")
def scan_info(request: Request, scan: str, reading: Annotated[Reading, Query()]) -> models.ScanInfo:
    """`axis` and `series` change what its images are."""
    with _answers(request).scans.use(scan) as found:
        return models.ScanInfo(id=scan, **describe(found, reading.options()))


@scans.delete("/scans/{scan}", status_code=204, summary="Forget a scan")
def drop_scan(request: Request, scan: str) -> Response:
    """Its answers stay for their while."""
    _answers(request).scans.drop(scan)
    return Response(status_code=204)


@scans.get(
    "/scans/{scan}/slices/{number}.png",
    summary="One image of a scan as it is shown to the model",
    response_class=Response,
    responses={200: {"content": {"image/png": {}}}},
)
def show_slice(request: Request, scan: str, number: int, reading: Annotated[Reading, Query()]) -> Response:
    """8 bits, one channel or three, at the scan's own size."""
    with _answers(request).scans.use(scan) as found:
        png = slice_png(found.image(number, reading.options()))
    return Response(png, media_type="image/png")


@results.post("/segment", summary="Segment what the prompts name", openapi_extra={"requestBody": models.SEGMENT_BODY})
async def segment(request: Request) -> models.AnswerInfo:
    """JSON about a scan that was sent or lies below a folder; or multipart with `files` and `request`, that JSON.

    The report, masks and overlays are those of `medclipsam segment`, bit for bit.
    """
    answers = _answers(request)
    answers.waiting.check()
    if not _is(request, MULTIPART):
        ask = Ask.model_validate(await _json(request))
        key = await run_in_threadpool(answers.scan_of, ask)
        return _told(await _answered(request, answers, key, ask), answers.answers.seconds)
    async with _form(request) as form:
        ask = _ask(_text(form, "request"))
        reading = Reading(axis=ask.axis, series=ask.series)
        taken = await run_in_threadpool(answers.take, _files(form), reading, ask.case)
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
    with _answers(request).answers.use(result) as answer:
        if name not in answer.files:
            raise KeyError(name)
        content = (answer.folder / name).read_bytes()
    return Response(
        content, media_type=_media_type(name), headers={"Content-Disposition": f'inline; filename="{name}"'}
    )


@results.delete("/results/{result}", status_code=204, summary="Forget an answer")
def drop_result(request: Request, result: str) -> Response:
    """Its files go at once."""
    _answers(request).answers.drop(result)
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


@asynccontextmanager
async def _form(request: Request) -> AsyncIterator[FormData]:
    async with request.form(max_files=MAX_MEMBERS, max_fields=8, max_part_size=2**20) as form:
        yield form


def _files(form: FormData) -> list[Any]:
    return [part for part in form.getlist("files") if isinstance(part, UploadFile)]


def _text(form: FormData, name: str) -> str:
    value = form.get(name)
    if not isinstance(value, str):
        raise BadInput(f"the part {name!r} is missing", "send the request as JSON in it")
    return value


def _ask(text: str) -> Ask:
    ask = TypeAdapter(Ask).validate_json(text)
    if ask.scan is not None or ask.path is not None:
        raise BadInput("a request with files names no other scan", "leave scan and path out")
    return ask


async def _json(request: Request) -> Any:
    try:
        return json.loads(await request.body())
    except (ValueError, RecursionError) as error:
        raise HTTPException(400, "the body is no JSON") from error


def _is(request: Request, kind: str) -> bool:
    return request.headers.get("content-type", "").startswith(kind)


def _answers(request: Request) -> Answers:
    answers: Answers = request.app.state.answers
    return answers


def _lifespan(answers: Answers) -> Callable[[FastAPI], Any]:
    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        sweeping = asyncio.ensure_future(_sweeping(answers))
        yield
        sweeping.cancel()

    return lifespan


async def _sweeping(answers: Answers) -> None:
    while True:
        await asyncio.sleep(30)
        await run_in_threadpool(answers.scans.sweep)
        await run_in_threadpool(answers.answers.sweep)


def _openapi(app: FastAPI, plain: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """What FastAPI says, with the bodies that the routes read themselves."""
    if app.openapi_schema is None:
        told = plain()
        ask = dict(models.ASK_SCHEMA)
        told["components"]["schemas"] |= {**ask.pop("$defs", {}), "Ask": ask}
        app.openapi_schema = told
    return app.openapi_schema


def _some(*statuses: int) -> dict[int | str, dict[str, Any]]:
    return {status: PROBLEMS[status] for status in statuses}


def _problem(status: int, problem: str, remedy: str = "", **headers: str) -> JSONResponse:
    return JSONResponse({"problem": problem, "remedy": remedy}, status, headers)


def _refused(_request: Request, error: Exception) -> Response:
    return _problem(422, getattr(error, "problem", ""), getattr(error, "remedy", ""))


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
