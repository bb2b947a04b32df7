"""A server in this process on a method that costs nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from bright import BrightSegmenter
from served import LIMITS, TOKEN
from starlette.testclient import TestClient

from medclipsam.serve.answers import Answers
from medclipsam.serve.app import make_app
from medclipsam.serve.guard import Guard
from medclipsam.weights import lookup


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The folder that the server was started with."""
    below = tmp_path / "scans"
    below.mkdir()
    return below


@pytest.fixture
def answers(folder: Path) -> Iterator[Answers]:
    """What the server knows."""
    found = Answers(BrightSegmenter, folders=[folder], limits=LIMITS)
    yield found
    found.close()
    assert not found.root.exists()


@pytest.fixture
def taught(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Makes the method say that it computes by weights of the package."""

    def by(clip: str) -> None:
        weights = {clip: str(lookup(clip).sha256)}
        info = replace(BrightSegmenter().info, preset={"name": clip, "clip": clip}, weights=weights)
        monkeypatch.setattr(BrightSegmenter, "info", info)

    return by


@pytest.fixture
def stranger(answers: Answers) -> Iterator[TestClient]:
    """Somebody who knows no token."""
    app = Guard(make_app(answers), token=TOKEN, most_bytes=LIMITS.upload_bytes)
    with TestClient(app, base_url="http://127.0.0.1:8765", follow_redirects=False) as client:
        yield client


@pytest.fixture
def client(stranger: TestClient) -> TestClient:
    """A program that knows the token."""
    stranger.headers["Authorization"] = f"Bearer {TOKEN}"
    return stranger
