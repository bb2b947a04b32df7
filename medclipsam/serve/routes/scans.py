"""Scans that are sent, or named below a folder of the server, and what their images look like."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from starlette.concurrency import run_in_threadpool

from medclipsam.serve import models
from medclipsam.serve.asking import Arriving, Reading
from medclipsam.serve.bodies import answers_of, files_of, form_of, is_multipart, json_of
from medclipsam.serve.scans import describe
from medclipsam.serve.views import slice_png, window_of

NO_CONTENT = 204
scans, values = APIRouter(tags=["scans"]), APIRouter(tags=["scans"])


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
    answers = answers_of(request)
    answers.waiting.check()
    if is_multipart(request):
        async with form_of(request) as form:
            taken = await run_in_threadpool(answers.take, files_of(form), arriving, arriving.case)
    else:
        named = models.Named.model_validate(await json_of(request))
        taken = await run_in_threadpool(answers.take_path, named.path, arriving, arriving.case)
    return models.ScanInfo(id=taken.id, **taken.told)


@scans.get("/scans/{scan}", summary="A scan that was sent: how many images, of which size")
def scan_info(request: Request, scan: str, reading: Annotated[Reading, Query()]) -> models.ScanInfo:
    """`axis` and `series` change what its images are."""
    with answers_of(request).scans.use(scan) as found:
        return models.ScanInfo(id=scan, **describe(found, reading.options()))


@scans.delete("/scans/{scan}", status_code=204, summary="Forget a scan")
def drop_scan(request: Request, scan: str) -> Response:
    """Its answers stay for their while."""
    answers_of(request).scans.drop(scan)
    return Response(status_code=204)


@scans.get(
    "/scans/{scan}/slices/{number}.png",
    summary="One image of a scan as it is shown to the model",
    response_class=Response,
    responses={200: {"content": {"image/png": {}}}},
)
def show_slice(request: Request, scan: str, number: int, reading: Annotated[Reading, Query()]) -> Response:
    """8 bits, one channel or three, at the scan's own size."""
    with answers_of(request).scans.use(scan) as found:
        png = slice_png(found.image(number, reading.options()))
    return Response(png, media_type="image/png")


@values.get(
    "/scans/{scan}/slices/{number}/values",
    summary="The stored values of one image, and the window by which it is read",
    response_class=Response,
    responses={200: {"content": {"application/octet-stream": {}}}, NO_CONTENT: {"description": "It has colours."}},
)
def show_values(request: Request, scan: str, number: int, reading: Annotated[Reading, Query()]) -> Response:
    """32-bit floating point, little-endian, row by row; `X-Window` is centre,width, `X-Unit` the unit where known."""
    with answers_of(request).scans.use(scan) as found:
        image = found.image(number, reading.options())
    window = window_of(image)
    if image.values is None or window is None:
        return Response(status_code=NO_CONTENT)
    told = {"X-Window": f"{window[0]!r},{window[1]!r}", "X-Unit": image.values_unit or ""}
    return Response(image.values.astype("<f4").tobytes(), media_type="application/octet-stream", headers=told)
