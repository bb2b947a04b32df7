"""A folder of small scans, and one call that labels it with the bright method."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from bright import BrightSegmenter
from run_folders import save_scan, silent

from medclipsam.runs import LabelRequest, Summary, label_folder


@pytest.fixture
def scans(tmp_path: Path) -> Path:
    """a.png and u/b.png with a square each, and broken.png."""
    save_scan(tmp_path / "in" / "a.png", top=5)
    save_scan(tmp_path / "in" / "u" / "b.png", top=20)
    (tmp_path / "in" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(40))
    return tmp_path / "in"


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """The output folder, not made yet."""
    return tmp_path / "out"


@pytest.fixture
def label(scans: Path, out: Path) -> Callable[..., Summary]:
    """Label the scans, with safe names; `segmenter` and all of a request can be given."""

    def run(*prompts: str, segmenter: Any = None, **asked: Any) -> Summary:
        request = LabelRequest(**{"source": scans, "output": out, "prompts": prompts, "safe_names": True, **asked})
        return label_folder(request, lambda: segmenter or BrightSegmenter(), silent)

    return run
