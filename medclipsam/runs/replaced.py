"""Finds what an earlier run on the same scan wrote into a folder, so that a run replaces it and leaves nothing old.

DIR/report.json   ->  `written`: SHA-256 of each file by its name; those of this scan begin with its case id
"""

from __future__ import annotations

import json
import re
from pathlib import Path

from medclipsam.io.atomic import file_digest

REPORT = "report.json"
MOST_BYTES = 2**26
"""A longer file is no report of ours that need be read."""
_DIGEST = re.compile("[0-9a-f]{64}")


def digests(folder: Path) -> dict[str, str]:
    """SHA-256 of each file of a folder, by its name."""
    return {path.name: file_digest(path) for path in sorted(folder.iterdir())}


def written_before(folder: Path, case: str) -> dict[str, str]:
    """SHA-256, by name, of the files of a scan that the report of a folder says were written; without a report none.

    Args:
        folder: of an earlier run, perhaps; its files may be others by now.
        case: the scan's case id. Files of other scans are left out: they are no old answer of this one.
    """
    report = folder / REPORT
    try:
        if report.stat().st_size > MOST_BYTES:
            return {}
        written = json.loads(report.read_text("utf-8"))["written"]
        named = {str(name): str(digest) for name, digest in written.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return {}
    ours = re.compile(rf"{re.escape(case)}[-_.][^/\\\0]*")
    return {name: digest for name, digest in named.items() if ours.fullmatch(name) and _DIGEST.fullmatch(digest)}
