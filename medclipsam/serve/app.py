"""The application: all routes, the page, and what is answered where a request fails.

/v1/...                     see `medclipsam.serve.routes`
/          /static/...      the page
/v1/docs   /v1/openapi.json all of this, in words and for programs
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from starlette.concurrency import run_in_threadpool

import medclipsam
from medclipsam.notice import RESEARCH_USE_ONLY
from medclipsam.review.store import ReviewStore
from medclipsam.serve import models
from medclipsam.serve.answers import Answers
from medclipsam.serve.failures import add_handlers, problems
from medclipsam.serve.page import add_page
from medclipsam.serve.routes.about import about
from medclipsam.serve.routes.results import results
from medclipsam.serve.routes.review import review
from medclipsam.serve.routes.scans import scans, values
from medclipsam.serve.routes.watch import add_watch, watch


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
    app.include_router(about, prefix="/v1", responses=problems(401, 403))
    app.include_router(scans, prefix="/v1", responses=problems(400, 401, 403, 404, 413, 422, 503))
    app.include_router(values, prefix="/v1", responses=problems(401, 403, 404, 422))
    app.include_router(results, prefix="/v1", responses=problems(400, 401, 403, 404, 413, 422, 503))
    app.include_router(review, prefix="/v1", responses=problems(400, 401, 403, 404, 413, 422))
    app.include_router(watch, prefix="/v1", responses=problems(401, 403, 404, 422))
    add_page(app)
    add_watch(app, watched)
    add_handlers(app)
    return app


def make_watch_app(watched: Sequence[Path]) -> FastAPI:
    """An application that shows the progress of runs, and nothing else; its page is at `/`."""
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    app.include_router(watch, prefix="/v1")
    add_watch(app, watched, at="/")
    add_handlers(app)
    return app


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
