"""Writes an evaluation as one page that holds everything in itself: no server, script or other file.

    tables: metrics, groups, comparison, the paper's   |   figures: histogram of Dice, pairs   |   worst and best cases

The same folders give the same bytes. The pictures show scans only where their folder is given.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from io import BytesIO
from pathlib import Path

from PIL import Image

from medclipsam import html
from medclipsam.evaluate.figures import dice_histogram, dice_pairs
from medclipsam.evaluate.pictures import MISSED, PREDICTED, REFERENCE, RIGHT, TOO_MUCH, Scans, draw_case
from medclipsam.evaluate.protocol import Standing, beside_the_paper, remarks
from medclipsam.evaluate.reading import read_pair
from medclipsam.evaluate.run import Case, Evaluation
from medclipsam.evaluate.text_tables import Findings, Rows, comparison_rows, group_rows, metric_rows, number
from medclipsam.evaluate.work import Task
from medclipsam.io.atomic import write_atomic
from medclipsam.notice import RESEARCH_USE_ONLY

MOST = 6
"""Worst cases on the page, and as many best ones."""
JPEG_QUALITY = 85
CONTOURS = ((REFERENCE, "reference"), (PREDICTED, "predicted"))
AREAS = ((RIGHT, "right"), (MISSED, "missed"), (TOO_MUCH, "too much"))
STYLE = """
.legend b { font-weight: inherit } .legend * + b { margin-left: 2.4em }
.legend i { border-radius: 3px; display: inline-block; height: .8em; margin: 0 .4em 0 1.2em; width: .8em }
.figures { display: flex; flex-wrap: wrap; gap: 2rem } .figures svg { background: #fff; border-radius: 10px }
td { font-variant-numeric: tabular-nums }
"""


def write_report(found: Findings, path: Path) -> Path:
    """Write the page.

    Raises:
        MissingExtra: Matplotlib is not installed.
        CannotWrite: the file cannot be written.
    """
    return write_atomic(path, "\n".join([*html.begin("medclipsam evaluation", STYLE), *_body(found), *html.end()]))


def _body(found: Findings) -> Iterator[str]:
    run = found.first
    yield f"<h1>{escape(' and '.join(found.runs))}</h1><p>{escape(found.told)}.</p>"
    yield f'<p class="faded">{escape(RESEARCH_USE_ONLY)}</p>'
    yield from html.table("Scores", metric_rows(run, found.resamples, found.seed))
    yield from html.table("Means of the groups", group_rows(run))
    if found.paper:
        yield from _paper(found.paper)
    if found.compared:
        yield from html.table(found.question, comparison_rows(found.compared))
    yield from _figures(found.runs)
    yield from _cases(run, found.scans)
    yield from html.table("Not measured", _left_out(run))


def _paper(paper: Mapping[str, Standing]) -> Iterator[str]:
    yield from html.table("Beside the paper: DSC / NSD of the slab, percent", beside_the_paper(paper))
    yield from (f"<p>{escape(remark)}.</p>" for remark in remarks(paper))


def _figures(runs: Mapping[str, Evaluation]) -> Iterator[str]:
    dices = {name: run.values("dice") for name, run in runs.items()}
    yield '<h2>Spread</h2><div class="figures">'
    yield dice_histogram({name: list(values.values()) for name, values in dices.items()})
    if len(dices) > 1:
        names = list(dices)
        yield dice_pairs(dices[names[0]], dices[names[1]], (names[0], names[1]))
    yield "</div>"


def _cases(run: Evaluation, scans: Scans | None) -> Iterator[str]:
    for title, cases in zip(("Worst cases", "Best cases"), extremes(run), strict=True):
        if cases:
            yield f'<h2>{title}</h2><p class="faded legend">{"".join(_legend(scans))}</p><div class="cards">'
            yield from (_card(case, case.task, run, scans) for case in cases if case.task)
            yield "</div>"


def _legend(scans: Scans | None) -> Iterator[str]:
    for title, keys in (("Contours:", CONTOURS if scans else ()), ("Areas:", AREAS)):
        yield from ([f"<b>{title}</b>"] if keys else [])
        yield from (f'<i style="background:rgb{colour}"></i>{what} ' for colour, what in keys)


def extremes(run: Evaluation, most: int = MOST) -> tuple[list[Case], list[Case]]:
    """The cases with the least Dice, worst first, and those with the greatest, best first; no case is in both.

    Cases in which both masks are empty have nothing to show.
    """
    shown = [case for case in run.cases if case.scores and case.outcome != "both empty"]
    ranked = sorted(shown, key=lambda case: (case.scores.dice if case.scores else 0, case.name))
    worst = ranked[: min(most, (len(ranked) + 1) // 2)]
    return worst, ranked[len(worst) :][::-1][:most]


def _card(case: Case, task: Task, run: Evaluation, scans: Scans | None) -> str:
    found, expected = read_pair(task.predicted, task.reference, run.measuring, task.choice)
    drawn = draw_case(found.mask, expected.mask, scans.of(task.case) if scans else None)
    place = case.name if drawn.slice_index is None else f"{case.name}, slice {drawn.slice_index}"
    facts = ", ".join(part for part in (case.outcome, case.group) if part)
    scores = case.scores
    shown = f"<strong>Dice {number(scores.dice)}</strong>" if scores else ""
    caption = f'{shown}<div>{escape(place)}</div><div class="faded">{escape(facts)}</div>'
    return html.card(_embedded(drawn.picture), caption)


def _embedded(picture: Image.Image) -> str:
    stream = BytesIO()
    picture.save(stream, "JPEG", quality=JPEG_QUALITY)
    return f"data:image/jpeg;base64,{b64encode(stream.getvalue()).decode()}"


def _left_out(run: Evaluation) -> Rows:
    """What is in no mean, and why."""
    refused = [[case.name, case.problem] for case in run.cases if not case.scores]
    orphans: Sequence[tuple[Sequence[str], str]] = (
        (run.only_predicted, "no reference"),
        (run.only_reference, "no prediction"),
    )
    rows = [*refused, *([name, why] for names, why in orphans for name in names)]
    return [["case", "why"], *rows] if rows else []
