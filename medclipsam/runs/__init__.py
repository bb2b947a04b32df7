"""Runs over scans: one scan, or a folder of them in any number of goes, into masks, pictures and records.

pictures  opens a scan and chooses its images          case     the walk: read, ask, decide, keep
cases     finds scans and prompts; stems names files   outputs  what is written of a prompt; layout: where
reading   what comes of the cases, in order            manifest records; resume: what need not be done again
worker, local, ray, sharing   who does the work        folder   the whole of a folder; sheet: its page
one_scan  the whole of one scan                        confidence, labels: how sure, and what to learn from
progress  how far a run is, read from its folder

`label_folder` and `one_scan.segment_scan` are the whole of it; `find_cases` and `read_manifest` are for programs that
go on from results. Names are loaded when asked for: who reads records needs no model.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from medclipsam.runs.cases import Case, find_cases
    from medclipsam.runs.folder import Summary, label_folder
    from medclipsam.runs.manifest import Record, read_manifest
    from medclipsam.runs.request import LabelRequest
    from medclipsam.runs.sharing import Shard

_HOMES = {
    "Case": "cases",
    "find_cases": "cases",
    "Summary": "folder",
    "label_folder": "folder",
    "Record": "manifest",
    "read_manifest": "manifest",
    "LabelRequest": "request",
    "Shard": "sharing",
}

__all__ = ["Case", "LabelRequest", "Record", "Shard", "Summary", "find_cases", "label_folder", "read_manifest"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
