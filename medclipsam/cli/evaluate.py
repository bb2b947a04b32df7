"""`medclipsam evaluate PRED_DIR REF_DIR`: measures masks against references, and one run against another."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from medclipsam.cli.console import progress, say, say_json, say_table
from medclipsam.errors import BadInput

if TYPE_CHECKING:
    from medclipsam.evaluate import Evaluation, LabelNames, Structure
    from medclipsam.evaluate.pictures import Scans
    from medclipsam.evaluate.protocol import Standing
    from medclipsam.evaluate.text_tables import Findings

STDOUT = Path("-")
SHOWN_NAMES = 5
"""Names of refused and unpaired cases on the terminal; the files hold all."""


def evaluate(
    pred_dir: Annotated[Path, typer.Argument(help="Folder of predicted masks, of pseudolabel, or of predict.")],
    ref_dir: Annotated[Path, typer.Argument(help="Folder of reference masks with the same names.")],
    *,
    tolerance_px: Annotated[float | None, typer.Option(help="Tolerance of NSD, in pixels.", show_default="2")] = None,
    tolerance_mm: Annotated[float | None, typer.Option(help="Tolerance of NSD in mm; all distances in mm.")] = None,
    spacing: Annotated[
        str | None, typer.Option(help="Pixel distance in mm, ROWS,COLUMNS or one number; else from the files.")
    ] = None,
    surface_method: Annotated[
        Literal["area", "points"],
        typer.Option(help="NSD, HD95, ASSD by surface area, or by boundary points that count alike (docs/metrics.md)."),
    ] = "area",
    compare: Annotated[Path | None, typer.Option(help="A second folder of predictions, compared case by case.")] = None,
    groups: Annotated[Path | None, typer.Option(help="CSV with a column `file`; else sub-folders are groups.")] = None,
    group_column: Annotated[str, typer.Option(help="Column of --groups that names the group.")] = "group",
    prompt: Annotated[
        str | None, typer.Option(help="Prompt to measure, where a pseudolabel folder has several.")
    ] = None,
    reviewed: Annotated[
        bool,
        typer.Option(
            "--reviewed", help="Measure only pseudolabel masks that were accepted or corrected in `medclipsam review`."
        ),
    ] = False,
    label: Annotated[
        str | None, typer.Option(help="Value, #colour or name of the label to measure, where references have several.")
    ] = None,
    labels: Annotated[
        Path | None,
        typer.Option(help='JSON with {"name": value} or nnU-Net\'s dataset.json: each prompt against its own label.'),
    ] = None,
    above: Annotated[
        int | None,
        typer.Option(min=0, max=254, help="Foreground of pictures is above this grey value.", metavar="GREY"),
    ] = None,
    pictures: Annotated[
        Literal["as-shown", "as-stored"] | None,
        typer.Option(help="How PNG masks lie on NIfTI ones: as segment shows a scan, or as the file stores it."),
    ] = None,
    pred_suffix: Annotated[
        str, typer.Option(help="What follows the case in names of predictions, or of the scans of a run.")
    ] = "",
    ref_suffix: Annotated[str, typer.Option(help="What follows the case in names of references, as _mask.")] = "",
    resize: Annotated[
        bool, typer.Option("--resize", help="Resize predictions of another size: nearest, by pixel centres.")
    ] = False,
    missing_is_empty: Annotated[
        bool, typer.Option("--missing-is-empty", help="Score a reference without prediction as missed.")
    ] = False,
    protocol: Annotated[
        Literal["medclip-samv2"] | None,
        typer.Option(
            help="Measure as the paper (resize by pixel corners), with its table: folders breast, brain, xray, ct."
        ),
    ] = None,
    csv: Annotated[Path | None, typer.Option(help="Write one row for each case.")] = None,
    json: Annotated[
        Path | None,
        typer.Option(help="Write settings, summary, groups, comparison and cases; - prints them in place of tables."),
    ] = None,
    report: Annotated[
        Path | None, typer.Option(help="Write a page with tables, figures, worst and best cases (extra `eval`).")
    ] = None,
    scans: Annotated[Path | None, typer.Option(help="Folder of the scans, shown on the page of --report.")] = None,
    bootstrap: Annotated[int, typer.Option(min=100, help="Resamples for the 95 % intervals.")] = 1000,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the resamples.")] = 0,
) -> None:
    """Measure predicted masks against references: Dice, IoU, NSD, HD95, ASSD, with intervals.

    Masks are paired by their path below the folder, those of pseudolabel and predict by the name of their scan; there
    the groups are done, doubtful and not found. A structure that is missed scores 0 and lies infinitely far, and
    two empty masks agree; nothing is left out of a mean. Labels of several structures are never united.
    """
    from medclipsam.evaluate import Measuring, evaluate_folders

    folders = _named(pred_dir, compare)
    _check(folders, prompt, reviewed, scans, report)
    distance, unit = _tolerance(tolerance_px, tolerance_mm)
    names, structure = _structures(labels, label)
    measuring = Measuring(
        tolerance=distance,
        unit=unit,
        surface=surface_method,
        spacing_mm=_spacing(spacing),
        resize="centres" if resize else None,
        missing_is_empty=missing_is_empty,
        foreground_above=above,
        predicted_suffix=pred_suffix,
        reference_suffix=ref_suffix,
        prompt=prompt,
        reviewed=reviewed,
        label=structure,
        names=names,
        pictures=pictures,
    )
    if protocol:
        from medclipsam.evaluate.protocol import as_in_the_paper

        measuring = as_in_the_paper(measuring)
    table = _groups(groups, group_column, ref_dir)
    with progress() as tell:
        runs = {name: evaluate_folders(path, ref_dir, measuring, table, tell) for name, path in folders.items()}
    found = _findings(runs, ref_dir if protocol else None, scans, bootstrap, seed)
    _write(found, csv, None if json == STDOUT else json, report)
    if json == STDOUT:
        _show_json(found)
        return
    _show(found)
    written = [str(path) for path in (csv, json, report) if path]
    if written:
        say(f"written: {', '.join(written)}")


def _structures(names: Path | None, label: str | None) -> tuple[LabelNames | None, Structure | None]:
    """What --labels names, and the one that --label chooses."""
    if names is None and label is None:
        return None, None
    from medclipsam.evaluate import parse_label, read_label_names

    known = read_label_names(names) if names else None
    return known, parse_label(label, known) if label is not None else None


def _groups(table: Path | None, column: str, references: Path) -> dict[str, str] | None:
    if table is None:
        return None
    from medclipsam.evaluate import read_groups

    return read_groups(table, column, references)


def _check(
    folders: Mapping[str, Path], prompt: str | None, reviewed: bool, scans: Path | None, report: Path | None
) -> None:
    from medclipsam.evaluate.work import is_run

    if reviewed and not any(map(is_run, folders.values())):
        raise BadInput("--reviewed chooses among the masks of a pseudolabel run, and this is none", "leave it out")
    if prompt is not None and not any(map(is_run, folders.values())):
        raise BadInput("--prompt chooses among the masks of a pseudolabel run, and this is none", "leave it out")
    if scans and not report:
        raise BadInput("--scans are for the page of --report", "say where to write it")


def _findings(
    runs: dict[str, Evaluation], of_the_paper: Path | None, scans: Path | None, resamples: int, seed: int
) -> Findings:
    """What the runs come to, and how they compare; `of_the_paper` has the references of its protocol."""
    from medclipsam.evaluate import compare_runs
    from medclipsam.evaluate.text_tables import Findings

    for run in runs.values():
        _refuse_nothing_measured(run)
    first, *others = runs.values()
    return Findings(
        runs=runs,
        compared=compare_runs(first, others[0], resamples, seed) if others else {},
        paper=_standings(runs, of_the_paper) if of_the_paper else {},
        scans=_scans(scans) if scans else None,
        resamples=resamples,
        seed=seed,
    )


def _standings(runs: Mapping[str, Evaluation], references: Path) -> dict[str, Standing]:
    from medclipsam.evaluate.protocol import standing

    return {name: standing(run, references) for name, run in runs.items()}


def _scans(folder: Path) -> Scans:
    from medclipsam.evaluate.pictures import Scans

    return Scans(folder)


def _write(found: Findings, csv: Path | None, json: Path | None, report: Path | None) -> None:
    """Each file that is asked for; what writes it is loaded with it."""
    if csv:
        from medclipsam.evaluate import write_csv

        write_csv(found.first, csv)
    if json:
        from medclipsam.evaluate import write_json

        write_json(found.first, json, found.compared, found.resamples, found.seed, protocol=_paper_record(found))
    if report:
        from medclipsam.evaluate.report import write_report

        write_report(found, report)


def _show_json(found: Findings) -> None:
    """What --json writes, on stdout; what no mean holds is told on stderr all the same."""
    from medclipsam.evaluate.tables import json_text

    say_json(json_text(found.first, found.compared, found.resamples, found.seed, protocol=_paper_record(found)))
    for name, run in found.runs.items():
        _tell_apart(run, Path(name))


def _paper_record(found: Findings) -> dict[str, Any] | None:
    if not found.paper:
        return None
    from medclipsam.evaluate.protocol import to_record

    return to_record(found.paper)


def _named(first: Path, second: Path | None) -> dict[str, Path]:
    """The folders of predictions by what they are called in tables."""
    if second is None:
        return {str(first): first}
    return {str(first): first, str(second) if second != first else f"{second} again": second}


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


def _show(found: Findings) -> None:
    from medclipsam.evaluate.text_tables import comparison_rows, group_rows, metric_rows

    _print_table(found.told, metric_rows(found.first, found.resamples, found.seed))
    _print_table("means of the groups", group_rows(found.first))
    if found.paper:
        _show_paper(found.paper)
    if found.compared:
        _print_table(found.question, comparison_rows(found.compared))
    for name, run in found.runs.items():
        _tell_apart(run, Path(name))


def _show_paper(paper: Mapping[str, Standing]) -> None:
    from medclipsam.evaluate.protocol import beside_the_paper, remarks

    _print_table("the paper's table: DSC / NSD of the slab, percent", beside_the_paper(paper))
    for remark in remarks(paper):
        say(remark)


def _tell_apart(run: Evaluation, folder: Path) -> None:
    """Name on stderr how files were paired where that is no matter of course, and what is in no mean."""
    for note in run.notes:
        say(f"{folder.name}: {note}", err=True)
    refused = [f"{case.name} ({case.problem})" for case in run.cases if not case.scores]
    for names, what in (
        (refused, "could not be measured"),
        (run.only_predicted, "have no reference"),
        (run.only_reference, "have no prediction and are in no mean (--missing-is-empty counts them as missed)"),
    ):
        if names:
            more = f" and {len(names) - SHOWN_NAMES} more" if len(names) > SHOWN_NAMES else ""
            shown = ", ".join(names[:SHOWN_NAMES])
            say(f"{folder.name}: {len(names)} {what}: {shown}{more}", err=True)


def _print_table(title: str, rows: Sequence[Sequence[str]]) -> None:
    """Print rows of which the first names the columns; nothing where there are none."""
    if rows:
        say_table(rows[0], rows[1:], title)
