"""Scans with masks of several parts and holes, labelled by a method that finds what is bright."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from bright import BrightSegmenter
from export_scans import PICTURES, Exporting, Labelling, ring, silent
from PIL import Image

from medclipsam.export.options import ExportOptions
from medclipsam.export.run import ExportRequest, export
from medclipsam.export.tally import Tally
from medclipsam.runs import LabelRequest, label_folder

ASKED = ("images", "prompts", "groups", "rules", "own_names")
"""Fields of a request; all others are options of the layout."""


@pytest.fixture
def scans(tmp_path: Path) -> Path:
    """Three pictures, one of them in a folder and named after a patient."""
    folder = tmp_path / "scans"
    (folder / "siteA").mkdir(parents=True)
    for number, name in enumerate(PICTURES):
        Image.fromarray(ring(2 + 5 * number)).save(folder / name, quality=100, subsampling=0)
    return folder


@pytest.fixture(scope="session")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What pseudolabel wrote of the three pictures, by prompts: it is copied, not made again."""
    return tmp_path_factory.mktemp("kept")


@pytest.fixture
def labelled(scans: Path, kept: Path) -> Labelling:
    """Runs pseudolabel over the scans; gives the folder that it wrote."""

    def run(*prompts: str, **asked: Any) -> Path:
        out, known = scans.with_name("labels"), kept / "-".join(prompts)
        plain = not asked and {path.name for path in scans.rglob("*.*")} == {Path(name).name for name in PICTURES}
        if plain and known.exists() and not out.exists():
            return Path(shutil.copytree(known, out))
        request = LabelRequest(**{"source": scans, "output": out, "prompts": prompts, **asked})
        label_folder(request, BrightSegmenter, silent)
        if plain and not known.exists():
            shutil.copytree(out, known)
        return out

    return run


@pytest.fixture
def exported(scans: Path) -> Exporting:
    """Exports what pseudolabel wrote; gives the folder, and what was counted."""

    def run(to: Any, *, name: str = "", **options: Any) -> tuple[Path, Tally]:
        folder = scans.with_name(name or to)
        asked = {key: options.pop(key) for key in ASKED if key in options}
        known = {"labels": scans.with_name("labels"), "images": scans, "output": folder, "to": to}
        request = ExportRequest(**{**known, **asked}, options=ExportOptions(**options))
        return folder, export(request, silent)

    return run
