"""The routes of the review room: what waits, its masks, and decisions, on the disk before they are answered."""

from __future__ import annotations

from io import BytesIO
from typing import Annotated, Any, Literal, cast

import numpy as np
from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import FileResponse
from PIL import Image
from pydantic import BaseModel, Field
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import UploadFile

from medclipsam.errors import BadInput
from medclipsam.io.limits import DEFAULT_MAX_PIXELS, check_pixels
from medclipsam.review.decisions import Overtaken, State
from medclipsam.review.queue import Item, Wanted, chosen
from medclipsam.review.store import ReviewStore
from medclipsam.runs.confidence import Verdict
from medclipsam.serve import models
from medclipsam.serve.asking import Reading, Strict
from medclipsam.serve.bodies import answers_of
from medclipsam.types import WHY_NOTHING, BoolArray

MOST_EDITS = 10_000
Share = Annotated[float, Field(ge=0, le=1)]
review = APIRouter(prefix="/review", tags=["review"])


class About(BaseModel):
    """The folder under review."""

    folder: str | None
    """Its name; null where none is open."""
    images: bool
    """Whether its scans are open, so that masks are seen one by one and corrected."""
    prompts: list[str]


class Decided(BaseModel):
    """What a person decided."""

    id: str
    state: State
    at: str
    """Date and time, UTC."""


class ItemInfo(BaseModel):
    """One prompt of one scan."""

    id: str
    spoken: str
    """The scan's path as the person named it; its safe name where results tell none."""
    prompt: str
    verdict: Verdict
    """What the run said."""
    state: State | Literal["waiting"]
    decision: Decided | None
    confidence: float | None
    presence: float | None
    reason: str | None
    """Why nothing was found, in words."""
    first: int
    """Number of the image that most needs a look."""
    warnings: list[str]


class Items(BaseModel):
    """Those that fit, the least sure first."""

    items: list[ItemInfo]
    decided: int
    """How many of those that fit, whatever was decided on them, are decided on."""
    total: int


class Filter(Strict):
    """Which items are wanted; empty: all."""

    prompt: Annotated[str, Field(max_length=4000)] = ""
    verdict: Verdict | Literal[""] = ""
    state: State | Literal["waiting", ""] = ""
    least: Share = 0.0
    """Confidence from here on."""
    most: Share = 1.0
    """Confidence up to here."""


class Verdicted(Strict):
    """A decision, as the page sends it."""

    state: State
    seen: Annotated[str, Field(max_length=64)] | None = None
    """Id of the decision that the person saw when deciding; null where the item waited."""


class Undone(Strict):
    """A decision to take back."""

    decision: Annotated[str, Field(max_length=64)]


class UndoneInfo(BaseModel):
    """What came of it."""

    item: str | None
    """Id of the item; null where the decision did not count any more."""


class ItemScan(BaseModel):
    """The scan of an item, and how it was read."""

    scan: models.ScanInfo
    reading: Reading


@review.get("", summary="The folder under review, if one is")
def about(request: Request) -> About:
    """A server that `medclipsam review` started has one."""
    store: ReviewStore | None = request.app.state.review
    if store is None:
        return About(folder=None, images=False, prompts=[])
    prompts = sorted({item.record.prompt or "" for item in store.items()})
    return About(folder=store.folder.name, images=store.has_images, prompts=prompts)


@review.get("/items", summary="What there is to look at, the least sure first")
def items(request: Request, wanted: Annotated[Filter, Query()]) -> Items:
    """The run's verdict and the person's decision on each."""
    some, decided, total = chosen(
        _store(request).items(),
        Wanted(
            prompt=wanted.prompt or None,
            verdict=wanted.verdict or None,
            state=wanted.state or None,
            least=wanted.least,
            most=wanted.most,
        ),
    )
    return Items(items=[_told(item) for item in some], decided=decided, total=total)


@review.get(
    "/items/{item}/overlay.jpg", summary="The picture that the run drew of an item", response_class=FileResponse
)
def overlay(request: Request, item: str) -> FileResponse:
    """All that can be shown where the scans are not open."""
    store = _store(request)
    path = store.overlay(store.item(item))
    if path is None or not path.is_file():
        raise KeyError(item)
    return FileResponse(path, media_type="image/jpeg")


@review.post("/items/{item}/scan", summary="Open the scan of an item, to see and segment it")
def open_scan(request: Request, item: str) -> ItemScan:
    """It can be asked about like one that was sent."""
    store, answers = _store(request), answers_of(request)
    found = store.reading
    window = None if found.window is None else _window_text(found.window)
    reading = Reading(axis=cast(Any, found.axis), series=found.series, window=window)
    taken = answers.take_path(str(store.scan(store.item(item)).resolve()), reading)
    return ItemScan(scan=models.ScanInfo(id=taken.id, **taken.told), reading=reading)


@review.get(
    "/items/{item}/masks/{number}.png",
    summary="The mask that stands on one image: a person's, else the run's",
    response_class=Response,
    responses={200: {"content": {"image/png": {}}}},
)
def mask(request: Request, item: str, number: int) -> Response:
    """White inside."""
    store = _store(request)
    _, found = store.image_and_mask(store.item(item), number)
    stream = BytesIO()
    Image.fromarray(np.where(found, np.uint8(255), np.uint8(0))).save(stream, "PNG", compress_level=1)
    return Response(stream.getvalue(), media_type="image/png")


@review.post("/items/{item}/decision", summary="Decide on an item")
async def decide(request: Request, item: str) -> ItemInfo:
    """Multipart: `request`, a JSON with `state` and `seen`; for `corrected` also `masks`, PNGs called NUMBER.png.

    The answer comes when the decision is on the disk.
    """
    async with request.form(max_files=MOST_EDITS, max_fields=4) as form:
        sent = Verdicted.model_validate_json(str(form.get("request") or ""))
        masks = [part for part in form.getlist("masks") if isinstance(part, UploadFile)]
        return await run_in_threadpool(_decided, _store(request), item, sent, masks)


@review.post("/undo", summary="Take a decision back")
def undo(request: Request, undone: Undone) -> UndoneInfo:
    """The decision before it counts again, if there was one."""
    return UndoneInfo(item=_store(request).undo(undone.decision))


def _decided(store: ReviewStore, id: str, sent: Verdicted, masks: list[UploadFile]) -> ItemInfo:
    found = store.item(id)
    if (found.decision.id if found.decision else None) != sent.seen:
        raise Overtaken(f"the item is {found.state}: another window decided on it meanwhile", "look at it again")
    edits = dict(_edit(part) for part in masks) if sent.state == "corrected" else None
    return _told(store.decide(found, sent.state, edits))


def _edit(part: UploadFile) -> tuple[int, BoolArray]:
    """(the number of an image, its mask)."""
    number, _, ending = (part.filename or "").partition(".")
    if ending != "png" or not number.isdecimal() or len(number) > 9:
        raise BadInput("a mask is called after the number of its image, such as 12.png", "call it so")
    try:
        with Image.open(part.file, formats=["PNG"]) as picture:
            check_pixels(f"{number}.png", picture.height, picture.width, DEFAULT_MAX_PIXELS)
            return int(number), np.asarray(picture.convert("L")) > 127
    except (OSError, ValueError, Image.DecompressionBombError) as error:
        raise BadInput(f"{number}.png cannot be read as PNG", "send a PNG that is white inside") from error


def _told(item: Item) -> ItemInfo:
    record, decision = item.record, item.decision
    reason, verdict = cast(Any, record.reason), cast(Verdict, record.status)
    return ItemInfo(
        id=item.id,
        spoken=record.spoken,
        prompt=record.prompt or "",
        verdict=verdict,
        state=item.state,
        decision=Decided(id=decision.id, state=decision.state, at=decision.at) if decision else None,
        confidence=record.confidence,
        presence=record.presence,
        reason=WHY_NOTHING.get(reason, reason),
        first=item.first,
        warnings=list(record.warnings),
    )


def _window_text(window: Any) -> str:
    """What a person writes for a window of a run; windows of a file are counted from 1 there."""
    if isinstance(window, int):
        return str(window + 1)
    return ",".join(map(str, window)) if isinstance(window, tuple) else str(window)


def _store(request: Request) -> ReviewStore:
    store: ReviewStore | None = request.app.state.review
    if store is None:
        raise BadInput("no folder is under review", "start the server with `medclipsam review LABELS`")
    return store
