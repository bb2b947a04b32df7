"""Serves the page, which asks nobody but this server."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

from fastapi import FastAPI, Response
from fastapi.responses import FileResponse
from fastapi.staticfiles import StaticFiles

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; connect-src 'self'; "
    "frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
)
"""Nothing but files and answers of this server, and no script or style within the page's text."""


def add_page(app: FastAPI) -> None:
    """Serve the page at `/`, and its files."""
    static = Path(str(files("medclipsam.serve"))) / "static"
    app.mount("/static", StaticFiles(directory=static))

    def page() -> Response:
        return FileResponse(static / "index.html", headers={"Content-Security-Policy": POLICY})

    app.add_api_route("/", page, include_in_schema=False)
