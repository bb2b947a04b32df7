"""A method that costs nothing, for tests of what commands do with one."""

from __future__ import annotations

from typing import Any

import pytest
from bright import BrightSegmenter

import medclipsam


@pytest.fixture
def loaded(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, dict[str, Any]]]:
    """Put the bright method in the place of the presets; remember what was asked for."""
    calls: list[tuple[str, dict[str, Any]]] = []

    def load(preset: str, **options: Any) -> BrightSegmenter:
        calls.append((preset, options))
        return BrightSegmenter()

    monkeypatch.setitem(vars(medclipsam), "load", load)
    return calls
