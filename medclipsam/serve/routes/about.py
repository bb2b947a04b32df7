"""What the server is: whether it is there, its versions and targets, and a page of all routes."""

from __future__ import annotations

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse

import medclipsam
from medclipsam.notice import RESEARCH_USE_ONLY
from medclipsam.serve import models
from medclipsam.serve.bodies import answers_of
from medclipsam.serve.docs_page import page_of
from medclipsam.weights.targets import targets_of

about = APIRouter(tags=["about"])


@about.get("/health", summary="Whether the server is there; the one answer that needs no token")
async def health() -> models.Health:
    """Nothing is told but that it is there."""
    return models.Health(status="ok")


@about.get("/version", summary="Versions, the loaded method, and what the server takes")
def version(request: Request) -> models.Version:
    """Loads the method where it is not loaded yet."""
    answers = answers_of(request)
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


@about.get("/targets", summary="What the model was taught, to offer as one types")
def targets(request: Request) -> list[models.Target]:
    """Loads the method where it is not loaded yet. Nothing of weights of one's own, nor of other presets,
    which take any words."""
    info = answers_of(request).segmenter().info
    return [
        models.Target(target=each.target, images=list(each.images), dice=each.dice, dice_elsewhere=each.dice_elsewhere)
        for each in targets_of(info.preset, info.weights)
    ]


@about.get("/docs", include_in_schema=False)
def docs(request: Request) -> HTMLResponse:
    """All routes on one page that asks no other address."""
    return HTMLResponse(page_of(request.app.openapi()))
