"""Pseudo-labels for a folder of scans: one answer for each file and prompt, each with a record, in any number of runs.

cases -> shard -> engine (here or on Ray) -> labelling -> manifest (record) -> run (joins) -> sheet
            |      arrivals (read ahead) -> segment -> answer (files)
            claim: one run at a time          confidence: how sure        earlier: what need not be done again

`label_folder` is the whole of it; `find_cases` and `read_manifest` are for programs that go on from its results.
"""

from __future__ import annotations

from medclipsam.runs.cases import Case, find_cases
from medclipsam.runs.folder import Summary, label_folder
from medclipsam.runs.manifest import Record, read_manifest
from medclipsam.runs.request import LabelRequest
from medclipsam.runs.shard import Shard

__all__ = ["Case", "LabelRequest", "Record", "Shard", "Summary", "find_cases", "label_folder", "read_manifest"]
