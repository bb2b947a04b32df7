"""`medclipsam evaluate PRED_DIR REF_DIR`: how good are these masks, and is this run better than that one?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.console import Console
from rich.table import Table

from medclipsam.errors import BadInput

if TYPE_CHECKING:
    from medclipsam.evaluate import Evaluation, Measuring
    from medclipsam.evaluate.protocol import Standing
    from medclipsam.metrics import Comparison, Summary

SHOWN_NAMES = 5
"""Names of refused and unpaired cases on the terminal; the files hold all."""


def evaluate(
    pred_dir: Annotated[Path, typer.Argument(help="Folder of predicted masks, or of a pseudolabel run.")],
    ref_dir: Annotated[Path, typer.Argument(help="Folder of reference masks with the same names.")],
    *,
    tolerance_px: Annotated[float | None, typer.Option(help="Tolerance of NSD in pixels.  [default: 2]")] = None,
    tolerance_mm: Annotated[float | None, typer.Option(help="Tolerance of NSD in mm; all distances in mm.")] = None,
    spacing: Annotated[
        str | None, typer.Option(help="Pixel distance in mm, ROWS,COLUMNS or one number; else from the files.")
    ] = None,
    compare: Annotated[Path | None, typer.Option(help="A second folder of predictions, compared case by case.")] = None,
    groups: Annotated[Path | None, typer.Option(help="CSV with a column `file`; else sub-folders are groups.")] = None,
    group_column: Annotated[str, typer.Option(help="Column of --groups that names the group.")] = "group",
    prompt: Annotated[
        str | None, typer.Option(help="Of a pseudolabel folder with several: the one to measure.")
    ] = None,
    pred_suffix: Annotated[str, typer.Option(help="What follows the case in names of predictions.")] = "",
    ref_suffix: Annotated[str, typer.Option(help="What follows the case in names of references, as _mask.")] = "",
    resize: Annotated[bool, typer.Option("--resize", help="Resize predictions of another size (nearest).")] = False,
    missing_is_empty: Annotated[
        bool, typer.Option("--missing-is-empty", help="Score a reference without prediction as missed.")
    ] = False,
    protocol: Annotated[
        Literal["medclip-samv2"] | None,
        typer.Option(help="Measure as the paper did, its table beside: sub-folders breast, brain, xray, ct."),
    ] = None,
    csv: Annotated[Path | None, typer.Option(help="Write one row for each case.")] = None,
    json: Annotated[Path | None, typer.Option(help="Write settings, summary, groups, comparison and cases.")] = None,
    bootstrap: Annotated[int, typer.Option(min=100, help="Resamples for the 95 % intervals.")] = 1000,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the resamples.")] = 0,
) -> None:
    """Measure predicted masks against references: Dice, IoU, NSD, HD95, ASSD, with intervals.

    Masks are paired by their path below the folder, those of a pseudolabel folder by the name of their scan; there the
    groups are done, doubtful and not found. A structure that is missed scores 0 and lies infinitely far, and
    two empty masks agree; nothing is left out of a mean.
    """
    from medclipsam.cli.console import progress
    from medclipsam.evaluate import Measuring, compare_runs, evaluate_folders, read_groups, write_csv, write_json
    from medclipsam.evaluate.labelled import is_labels
    from medclipsam.evaluate.protocol import as_in_the_paper, standing, to_record

    if prompt is not None and not any(folder and is_labels(folder) for folder in (pred_dir, compare)):
        raise BadInput("--prompt chooses among the masks of a pseudolabel run, and this is none", "leave it out")
    tolerance, unit = _tolerance(tolerance_px, tolerance_mm)
    measuring = Measuring(
        tolerance=tolerance,
        unit=unit,
        spacing_mm=_spacing(spacing),
        resize=resize,
        missing_is_empty=missing_is_empty,
        predicted_suffix=pred_suffix,
        reference_suffix=ref_suffix,
        prompt=prompt,
    )
    if protocol:
        measuring = as_in_the_paper(measuring)
    table = read_groups(groups, group_column) if groups else None
    with progress() as tell:
        first = evaluate_folders(pred_dir, ref_dir, measuring, table, tell)
        second = evaluate_folders(compare, ref_dir, measuring, table, tell) if compare else None
    for run in (first, second):
        _refuse_nothing_measured(run)
    compared = compare_runs(first, second, bootstrap, seed) if second else None
    runs = {pred_dir: first, compare: second}
    paper = {str(path): standing(run, ref_dir) for path, run in runs.items() if run and protocol}
    if csv:
        write_csv(first, csv)
    if json:
        write_json(first, json, compared, bootstrap, seed, protocol=to_record(paper) if paper else None)
    _show(first, bootstrap, seed)
    if paper:
        _show_paper(paper)
    if second and compare:
        _show_comparison(compared or {}, pred_dir, compare)
        _tell_apart(second, compare)
    _tell_apart(first, pred_dir)


def _tolerance(in_px: float | None, in_mm: float | None) -> tuple[float, Literal["px", "mm"]]:
    if in_px is not None and in_mm is not None:
        raise BadInput("--tolerance-px and --tolerance-mm are two units for one thing", "give one of them")
    if in_mm is not None:
        return in_mm, "mm"
    return (2.0 if in_px is None else in_px), "px"


def _spacing(text: str | None) -> tuple[float, ...] | None:
    if text is None:
        return None
    try:
        steps = tuple(float(part) for part in text.split(","))
    except ValueError as error:
        raise BadInput(f"--spacing {text!r} is not ROWS,COLUMNS in mm", "for example --spacing 0.5,0.7") from error
    return steps * 2 if len(steps) == 1 else steps


def _refuse_nothing_measured(run: Evaluation | None) -> None:
    if run and not any(case.scores for case in run.cases):
        case = run.cases[0]
        raise BadInput(f"none of {len(run.cases)} cases could be measured; {case.name}: {case.problem}")


def _show(run: Evaluation, resamples: int, seed: int) -> None:
    console = Console()
    counted = ", ".join(f"{count} {outcome}" for outcome, count in run.counts.items() if count)
    table = _table(
        f"{len(run.cases)} cases: {counted}", ("metric", "mean", "std", "95 % interval", "median", "infinite")
    )
    for metric, summary in run.summaries(None, resamples, seed).items():
        table.add_row(_label(metric, run.measuring), *_cells(summary))
    console.print(table)
    if run.groups != ("",):
        _show_groups(run, console)


def _show_groups(run: Evaluation, console: Console) -> None:
    columns = ("group", "n", "dice", "iou", "nsd", f"hd95 ({run.measuring.unit})", "missed")
    table = _table("means of the groups", columns)
    for group in run.groups:
        found = run.summaries(group)
        missed = sum(case.outcome == "missed" for case in run.cases if case.group == group)
        means = [_number(found[metric].mean) for metric in ("dice", "iou", "nsd", "hd95")]
        table.add_row(group or "(none)", str(found["dice"].n), *means, str(missed))
    console.print(table)


def _show_paper(paper: Mapping[str, Standing]) -> None:
    from medclipsam.evaluate.protocol import beside_the_paper, remarks

    columns, *rows = beside_the_paper(paper)
    table = _table("the paper's table: DSC / NSD of the slab, percent", columns)
    for row in rows:
        table.add_row(*row)
    console = Console()
    console.print(table)
    for remark in remarks(paper):
        console.print(remark, markup=False, highlight=False, soft_wrap=True)


def _show_comparison(compared: Mapping[str, Comparison], first: Path, second: Path) -> None:
    columns = ("metric", "n", "difference", "95 % interval", "t-test p", "Wilcoxon p", "inf")
    table = _table(f"{second.name} minus {first.name}, case by case", columns)
    for metric, found in compared.items():
        cells = _number(found.mean_difference), _interval(found.interval), _p(found.t_p), _p(found.wilcoxon_p)
        table.add_row(metric, str(found.n), *cells, str(found.n_infinite))
    Console().print(table)


def _tell_apart(run: Evaluation, folder: Path) -> None:
    """Name on stderr what is in no mean."""
    told = Console(stderr=True, highlight=False)
    refused = [f"{case.name} ({case.problem})" for case in run.cases if not case.scores]
    for names, what in (
        (refused, "could not be measured"),
        (run.only_predicted, "have no reference"),
        (run.only_reference, "have no prediction and are in no mean (--missing-is-empty counts them as missed)"),
    ):
        if names:
            more = f" and {len(names) - SHOWN_NAMES} more" if len(names) > SHOWN_NAMES else ""
            shown = ", ".join(names[:SHOWN_NAMES])
            told.print(f"{folder.name}: {len(names)} {what}: {shown}{more}", markup=False, soft_wrap=True)


def _table(title: str, columns: Sequence[str]) -> Table:
    table = Table(title=title, title_justify="left")
    for index, column in enumerate(columns):
        table.add_column(column, justify="right" if index else "left")
    return table


def _label(metric: str, measuring: Measuring) -> str:
    unit, tolerance = measuring.unit, measuring.tolerance
    return {
        "nsd": f"nsd ({tolerance:g} {unit})",
        "nsd_slab": "nsd_slab (2 px)",
        "hd95": f"hd95 ({unit})",
        "assd": f"assd ({unit})",
    }.get(metric, metric)


def _cells(summary: Summary) -> tuple[str, ...]:
    spread = _number(summary.std), _interval(summary.interval), _number(summary.median)
    return _number(summary.mean), *spread, str(summary.n_infinite)


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"


def _p(value: float | None) -> str:
    return "-" if value is None else f"{value:.2g}"


def _interval(interval: tuple[float, float] | None) -> str:
    return "-" if interval is None else f"{interval[0]:.3f} .. {interval[1]:.3f}"
