"""Says what a person reads of an evaluation, in rows of text for terminal and page; the first names the columns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from medclipsam.evaluate.measuring import Measuring
from medclipsam.evaluate.run import Evaluation
from medclipsam.metrics import Comparison, Summary
from medclipsam.metrics.statistics import RESAMPLES

if TYPE_CHECKING:
    from medclipsam.evaluate.pictures import Scans
    from medclipsam.evaluate.protocol import Standing

Rows = list[list[str]]
NONE = "-"


@dataclass(frozen=True, kw_only=True)
class Findings:
    """One run, or two, and what was asked beside the scores."""

    runs: Mapping[str, Evaluation]
    """One run, or two that are compared, by name."""
    compared: Mapping[str, Comparison] = field(default_factory=dict)
    """Second run minus first."""
    paper: Mapping[str, Standing] = field(default_factory=dict)
    """The runs on the paper's tasks."""
    scans: Scans | None = None
    """Shown under the contours."""
    resamples: int = RESAMPLES
    seed: int = 0

    @property
    def first(self) -> Evaluation:
        """The run that is asked about."""
        return next(iter(self.runs.values()))

    @property
    def told(self) -> str:
        """How many cases the first run has, and what became of them; of two runs with its name."""
        name = f"{Path(next(iter(self.runs))).name}: " if len(self.runs) > 1 else ""
        return name + counted(self.first)

    @property
    def question(self) -> str:
        """What the comparison compares."""
        first, second = (Path(name).name for name in self.runs)
        return f"{second} minus {first}, case by case"


def counted(run: Evaluation) -> str:
    """How many cases there are, and what became of them."""
    return f"{len(run.cases):,} cases: " + ", ".join(f"{count:,} {name}" for name, count in run.counts.items() if count)


def metric_rows(run: Evaluation, resamples: int = RESAMPLES, seed: int = 0) -> Rows:
    """Each metric over all measured cases."""
    summaries = run.summaries(None, resamples, seed)
    rows = [[_label(metric, run.measuring), *_cells(summary)] for metric, summary in summaries.items()]
    return [["metric", "mean", "std", "95 % interval", "median", "infinite"], *rows]


def group_rows(run: Evaluation) -> Rows:
    """The means of each group; none where there are no groups."""
    if run.groups == ("",):
        return []
    columns = ["group", "n", "dice", "iou", "nsd", f"hd95 ({run.measuring.unit})", "missed"]
    return [columns, *(_group(run, name) for name in run.groups)]


def comparison_rows(compared: Mapping[str, Comparison]) -> Rows:
    """Second run minus first, case by case."""
    rows = [
        [
            *(metric, str(found.n), number(found.mean_difference), _interval(found.interval)),
            *(_p(found.t_p), _p(found.wilcoxon_p), str(found.n_infinite)),
        ]
        for metric, found in compared.items()
    ]
    return [["metric", "n", "difference", "95 % interval", "t-test p", "Wilcoxon p", "inf"], *rows]


def number(value: float | None) -> str:
    """Four decimals, or a dash for what does not exist."""
    return NONE if value is None else f"{value:.4f}"


def _group(run: Evaluation, name: str) -> list[str]:
    found = run.summaries(name)
    missed = sum(case.outcome == "missed" for case in run.cases if case.group == name)
    means = [number(found[metric].mean) for metric in ("dice", "iou", "nsd", "hd95")]
    return [name or "(none)", str(found["dice"].n), *means, str(missed)]


def _label(metric: str, measuring: Measuring) -> str:
    tolerance, unit = f"{measuring.tolerance:g} {measuring.unit}", measuring.unit
    by_points = ", points" if measuring.surface == "points" else ""
    return {
        "nsd": f"nsd ({tolerance}{by_points})",
        "nsd_slab": "nsd_slab (2 px)",
        "hd95": f"hd95 ({unit}{by_points})",
        "assd": f"assd ({unit}{by_points})",
    }.get(metric, metric)


def _cells(summary: Summary) -> list[str]:
    spread = number(summary.std), _interval(summary.interval), number(summary.median)
    return [number(summary.mean), *spread, str(summary.n_infinite)]


def _p(value: float | None) -> str:
    return NONE if value is None else f"{value:.2g}"


def _interval(interval: tuple[float, float] | None) -> str:
    return NONE if interval is None else f"{interval[0]:.3f} .. {interval[1]:.3f}"
