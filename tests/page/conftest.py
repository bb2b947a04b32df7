"""A real Chromium on the page of a real server; where the machine has no Chromium, the tests say so and are skipped."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from driving import chromium, medclipsam, programs, serving


@pytest.fixture
def browsers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], Any]]:
    """Opens browsers, each with a folder of its own below `tmp_path`."""
    pytest.importorskip("selenium")
    if programs() is None:
        pytest.skip("Debian's packages chromium and chromium-driver are not installed")
    monkeypatch.setenv("SE_OFFLINE", "true")
    with ExitStack() as opened:
        yield lambda name: opened.enter_context(chromium(tmp_path / name))


@pytest.fixture
def browser(browsers: Callable[[str], Any]) -> Any:
    """One browser, whose downloads go to `tmp_path/browser/downloads`."""
    return browsers("browser")


@pytest.fixture
def started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., dict[str, str]]]:
    """Starts `medclipsam` with arguments, or another command; gives the address and the token that it prints."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    with ExitStack() as running:

        def start(*arguments: object, command: tuple[object, ...] | None = None) -> dict[str, str]:
            return running.enter_context(serving(tmp_path, *(command or medclipsam(*arguments))))

        yield start
