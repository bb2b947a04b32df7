"""Writes the results of an evaluation: a CSV with one row a case, and a JSON with everything.

In the CSV an infinite distance is `inf` and a value that does not exist is empty; in the JSON they are the string
"Infinity" and null, because JSON has no infinite numbers.
"""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from medclipsam.evaluate.run import Case, Evaluation
from medclipsam.io.atomic import write_atomic
from medclipsam.metrics import METRICS, Comparison
from medclipsam.metrics.statistics import RESAMPLES
from medclipsam.notice import RESEARCH_USE_ONLY

COUNTS = ("reference_px", "predicted_px")
CSV_COLUMNS = ("case", "group", "outcome", *METRICS, *COUNTS, "problem")


def write_csv(evaluation: Evaluation, path: Path) -> Path:
    """One row for each case, and one for each file without a partner, with the outcome `orphan`.

    Raises:
        CannotWrite: the file cannot be written.
    """
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, CSV_COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(_row(case) for case in evaluation.cases)
    for names, problem in (
        (evaluation.only_predicted, "no reference"),
        (evaluation.only_reference, "no prediction"),
    ):
        writer.writerows({"case": name, "outcome": "orphan", "problem": problem} for name in names)
    return write_atomic(path, text.getvalue())


def write_json(
    evaluation: Evaluation,
    path: Path,
    comparison: Mapping[str, Comparison] | None = None,
    resamples: int = RESAMPLES,
    seed: int = 0,
    *,
    protocol: Mapping[str, Any] | None = None,
) -> Path:
    """Settings, counts, summary, groups, cases, orphans, and comparison and protocol where there are any.

    Raises:
        CannotWrite: the file cannot be written.
    """
    return write_atomic(path, json_text(evaluation, comparison, resamples, seed, protocol=protocol) + "\n")


def json_text(
    evaluation: Evaluation,
    comparison: Mapping[str, Comparison] | None = None,
    resamples: int = RESAMPLES,
    seed: int = 0,
    *,
    protocol: Mapping[str, Any] | None = None,
) -> str:
    """What `write_json` writes."""
    content = {**to_record(evaluation, comparison, resamples, seed), "protocol": protocol}
    return json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False)


def to_record(
    evaluation: Evaluation,
    comparison: Mapping[str, Comparison] | None = None,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> dict[str, Any]:
    """What `write_json` writes, as values that JSON can hold."""
    groups = evaluation.groups if evaluation.groups != ("",) else ()
    record: dict[str, Any] = {
        "notice": RESEARCH_USE_ONLY,
        "settings": {**asdict(evaluation.measuring), "bootstrap_resamples": resamples, "seed": seed},
        "counts": dict(evaluation.counts),
        "summary": _summaries(evaluation, None, resamples, seed),
        "groups": {group: _summaries(evaluation, group, resamples, seed) for group in groups},
        "comparison": {metric: asdict(found) for metric, found in comparison.items()} if comparison else None,
        "orphans": {"predicted": evaluation.only_predicted, "reference": evaluation.only_reference},
        "cases": [_row(case) for case in evaluation.cases],
    }
    return {key: _finite(value) for key, value in record.items()}


def _summaries(evaluation: Evaluation, group: str | None, resamples: int, seed: int) -> dict[str, Any]:
    found = evaluation.summaries(group, resamples, seed)
    return {metric: asdict(summary) for metric, summary in found.items()}


def _row(case: Case) -> dict[str, Any]:
    scores = {name: getattr(case.scores, name) for name in (*METRICS, *COUNTS)} if case.scores else {}
    return {"case": case.name, "group": case.group, "outcome": case.outcome, **scores, "problem": case.problem}


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return "Infinity" if isinstance(value, float) and math.isinf(value) else value
