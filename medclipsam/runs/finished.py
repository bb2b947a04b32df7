"""Reads what a run over a folder left: its settings, how its scans were read, which they are, and which masks count."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from medclipsam.errors import BadInput
from medclipsam.io.source import ReadOptions
from medclipsam.runs.cases import Case, find_cases
from medclipsam.runs.layout import MASKS, SETTINGS
from medclipsam.runs.manifest import REVIEWED, Record


def settings_of(folder: Path) -> dict[str, Any]:
    """What `run.json` says.

    Raises:
        BadInput: it is not there, or not that of a run.
    """
    try:
        settings = json.loads((folder / SETTINGS).read_text("utf-8"))
        if not isinstance(settings["labels"], dict):
            raise TypeError
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BadInput(f"{SETTINGS} in {folder.name} cannot be read", "run medclipsam pseudolabel again") from error
    return dict(settings)


def reading_of(settings: Mapping[str, Any]) -> ReadOptions:
    """How the scans of a run were read, as written by `medclipsam.runs.request.run_settings`.

    Raises:
        BadInput: values that no run has.
    """
    try:
        reading = dict(settings["labels"].get("reading") or {})
        window = reading.get("window")
        return ReadOptions(**{**reading, "window": tuple(window) if isinstance(window, list) else window})
    except (TypeError, ValueError) as error:
        raise BadInput(f"{SETTINGS} does not say how scans were read", "run medclipsam pseudolabel again") from error


def scans_of(labels: Path, scans: Path, prompt: str) -> dict[str, Case]:
    """The scans of a run by the names of their cases.

    Args:
        labels: what `medclipsam pseudolabel` wrote.
        scans: the folder or table that it was given.
        prompt: asked of each.

    Raises:
        BadInput: no such folder or table, or no scans in it.
    """
    return {case.name: case for case in find_cases(scans, (prompt,), passed_over=labels, masks_too=True)}


def mask_files(record: Record) -> list[str]:
    """The masks of a record that are believed: those of the run, or what a person made of them."""
    return [name for name in record.outputs if name.startswith((f"{MASKS}/", f"{REVIEWED}/"))]


def number_of(output: str, record: Record) -> str:
    """What follows the scan's stem in a file's name: nothing, or the number of an image such as `-s0003`."""
    return Path(output).name.removeprefix(Path(record.stem).name).split(".", 1)[0]
