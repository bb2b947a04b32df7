"""Serves the page, which asks nobody but this server, and the stored values of an image for windows of one's own."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from typing import Annotated

import numpy as np
from fastapi import APIRouter, FastAPI, Query, Request, Response
from fastapi.responses import FileResponse
from fastapi.staticfiles import StaticFiles

from medclipsam.serve.answers import Answers
from medclipsam.serve.asking import Reading
from medclipsam.types import MedImage

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; connect-src 'self'; "
    "frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
)
"""Nothing but files and answers of this server, and no script or style within the page's text."""
NO_CONTENT = 204
values = APIRouter(tags=["scans"])


def add_page(app: FastAPI) -> None:
    """Serve the page at `/`, and its files."""
    static = Path(str(files("medclipsam.serve"))) / "static"
    app.mount("/static", StaticFiles(directory=static))

    def page() -> Response:
        return FileResponse(static / "index.html", headers={"Content-Security-Policy": POLICY})

    app.add_api_route("/", page, include_in_schema=False)


@values.get(
    "/scans/{scan}/slices/{number}/values",
    summary="The stored values of one image, and the window that the model sees it in",
    response_class=Response,
    responses={200: {"content": {"application/octet-stream": {}}}, NO_CONTENT: {"description": "It has colours."}},
)
def show_values(request: Request, scan: str, number: int, reading: Annotated[Reading, Query()]) -> Response:
    """32-bit floating point, little-endian, row by row; `X-Window` is centre,width, `X-Unit` the unit where known."""
    answers: Answers = request.app.state.answers
    with answers.scans.use(scan) as found:
        image = found.image(number, reading.options())
    window = window_of(image)
    if image.values is None or window is None:
        return Response(status_code=NO_CONTENT)
    told = {"X-Window": f"{window[0]!r},{window[1]!r}", "X-Unit": image.values_unit or ""}
    return Response(image.values.astype("<f4").tobytes(), media_type="application/octet-stream", headers=told)


def window_of(image: MedImage) -> tuple[float, float] | None:
    """(centre, width) of the values that are shown from black to white; a negative width where low values are white.

    Found from the pixels between black and white, so that it holds however the file says its window; None of colours,
    and where no pixel lies between.
    """
    if image.values is None:
        return None
    grey, stored = image.pixels[..., 0].astype(np.float64), np.asarray(image.values, np.float64)
    between = (grey > 0) & (grey < 1)
    if not between.any() or np.ptp(grey[between]) == 0:
        return None
    step, black = np.polyfit(grey[between], stored[between], 1)
    return float(black + step / 2), float(step)
