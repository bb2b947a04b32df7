"""Tables of the supervised comparison, from the scores that are kept; one function for each table.

Dice is the mean over images, as MedCLIPSeg's tables have it: an image without the target scores 1 where nothing was
drawn, else 0. Pooled Dice is that of all pixels together, as BiCLIP's tables have it. Of several seeds an image counts
by its mean. Intervals are bootstraps over images at 95 %, p is Wilcoxon's.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from corruptions import STRENGTHS
from supervised_cases import DESIGNS
from supervised_runs import Training
from supervised_scores import CLEAN, CaseScore, Question, Scored, read_scored

from medclipsam.metrics import compare_paired, pooled_dice, summarise
from medclipsam.metrics.reliability import rank_correlation, referral

BASE = "unet"
"""The method that the others are compared with."""
Facts = Mapping[str, Mapping[str, object]]
"""Name of a training -> what is kept of it."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """The same question to the same training with several seeds."""

    training: Training
    """Of the first seed."""
    question: Question
    seeds: tuple[Scored, ...]

    def values(self, of: Callable[[CaseScore], float], only: Callable[[CaseScore], bool] | None = None) -> list[float]:
        """One value for each image, the mean of the seeds."""
        columns = [[of(case) for case in scored.cases if only is None or only(case)] for scored in self.seeds]
        return np.mean(columns, axis=0).tolist()

    @property
    def pooled(self) -> float:
        """Pooled Dice, the mean of the seeds."""
        return float(np.mean([_pooled(scored.cases) for scored in self.seeds]))

    @property
    def numbers(self) -> str:
        """Of the seeds, for tables."""
        return ", ".join(str(scored.training.seed) for scored in self.seeds)


def read_all(work: Path) -> list[Scored]:
    """Everything that is kept."""
    return [read_scored(path) for path in sorted((work / "scores").glob("*/*.json"))]


def rows_of(everything: Iterable[Scored]) -> list[Row]:
    """Seeds put together."""
    grouped: dict[tuple[object, ...], list[Scored]] = defaultdict(list)
    for scored in everything:
        training = scored.training
        grouped[(training.label, training.dataset, training.share, training.text, scored.question)].append(scored)
    return [
        Row(training=seeds[0].training, question=seeds[0].question, seeds=tuple(seeds))
        for _, seeds in sorted(grouped.items(), key=lambda item: [str(part) for part in item[0]])
    ]


def main_table(rows: Sequence[Row], facts: Facts) -> str:
    """All training cases, the authors' sentences and test lists."""
    lines = [
        "| images | method | seeds | trained parameters | seconds to train | Dice | Dice where present | pooled Dice "
        "| NSD 2 px | slab NSD | found where present | found where absent | minus U-Net | p |",
        "|---|---|---|---:|---:|---|---|---:|---:|---:|---:|---:|---|---:|",
    ]
    kept = [row for row in rows if _is_main(row)]
    for row in kept:
        base = next((other for other in kept if _is_base(other, row)), None)
        lines.append(_main_line(row, facts, base))
    return _joined([*lines, *_settings(kept, facts)])


def _settings(rows: Sequence[Row], facts: Facts) -> list[str]:
    """How each method was trained, on which images, where it was not left as it is."""
    known: dict[tuple[str, str], list[str]] = defaultdict(list)
    for row in rows:
        said = facts.get(row.training.name, {}).get("settings") or ()
        known[row.training.label, ", ".join(map(str, said))].append(row.training.dataset)
    told = [f"`{label}` on {', '.join(datasets)}: {said}." for (label, said), datasets in known.items() if said]
    return ["", *told]


def _is_main(row: Row) -> bool:
    """All training cases, and the most that the method can be told."""
    training, question = row.training, row.question
    own = training.dataset == question.dataset and question.corruption == CLEAN and question.split == "test"
    return own and training.share == 100 and _is_told_all(row)


def _is_told_all(row: Row) -> bool:
    """Sentences in training and test; the target's name where none are read, and zero-shot, which refuses sides."""
    training, design = row.training, row.question.design
    if training.is_zero_shot or not training.reads_text:
        return design == "short"
    return training.text == "sentences" and design == "original"


def _is_base(other: Row, row: Row) -> bool:
    return other.training.method == BASE and other.question.dataset == row.question.dataset


def _main_line(row: Row, facts: Facts, base: Row | None) -> str:
    cells = [
        row.question.dataset,
        row.training.label,
        "-" if row.training.is_zero_shot else row.numbers,
        _cost(row, facts, "parameters"),
        _cost(row, facts, "seconds"),
        _mean(row.values(_dice)),
        _mean(row.values(_dice, _present)),
        f"{row.pooled:.3f}",
        f"{np.mean(row.values(lambda case: case.nsd)):.3f}",
        f"{np.mean(row.values(lambda case: case.nsd_slab)):.3f}",
        *_found(row),
        *_against(row, base),
    ]
    return f"| {' | '.join(cells)} |"


def design_table(rows: Sequence[Row]) -> str:
    """What the text is worth: the authors' five designs, the target's name, no text, another image's sentence."""
    lines = [
        "| images | method | trained with | asked with | Dice | Dice where present | found where present "
        "| found where absent | minus the sentences | p |",
        "|---|---|---|---|---|---|---:|---:|---|---:|",
    ]
    kept = [row for row in rows if _on_own_test(row) and row.training.share == 100]
    for row in sorted(kept, key=lambda row: (row.question.dataset, row.training.label, *_text_order(row))):
        base = next((other for other in kept if _is_same_run(other, row) and other.question.design == "original"), None)
        learned = row.training.text if row.training.reads_text and not row.training.is_zero_shot else "-"
        cells = [row.question.dataset, row.training.label, learned, row.question.design]
        cells += [_mean(row.values(_dice)), _mean(row.values(_dice, _present)), *_found(row)]
        cells += _against(row, None if base is row else base)
        lines.append(f"| {' | '.join(cells)} |")
    return _joined(lines)


def _on_own_test(row: Row) -> bool:
    is_own = row.training.dataset == row.question.dataset and row.question.split == "test"
    return is_own and row.question.corruption == CLEAN


def _text_order(row: Row) -> tuple[str, int]:
    return row.training.text, DESIGNS.index(row.question.design)


def _is_same_run(other: Row, row: Row) -> bool:
    return other.training == row.training and other.question.dataset == row.question.dataset


def hospital_table(rows: Sequence[Row]) -> str:
    """Trained on one data set, asked about other hospitals' images of the same target."""
    lines = [
        "| trained on | images of | asked with | method | n | Dice | NSD 2 px | found | minus U-Net | p |",
        "|---|---|---|---|---:|---|---:|---:|---|---:|",
    ]
    kept = [row for row in rows if _is_elsewhere(row) and row.training.share == 100]
    for row in sorted(kept, key=lambda row: (row.question.dataset, row.question.design, row.training.label)):
        base = next((other for other in kept if _is_base(other, row)), None)
        values = row.values(_dice)
        learned = "-" if row.training.is_zero_shot else row.training.dataset
        cells = [learned, row.question.dataset, row.question.design, _with_text(row), str(len(values))]
        cells += [_mean(values), f"{np.mean(row.values(lambda case: case.nsd)):.3f}", _found(row)[0]]
        cells += _against(row, base)
        lines.append(f"| {' | '.join(cells)} |")
    return _joined(lines)


def _is_elsewhere(row: Row) -> bool:
    """Another hospital's images."""
    is_other = row.training.dataset != row.question.dataset
    return is_other and row.question.corruption == CLEAN


def _with_text(row: Row) -> str:
    text = row.training.text
    usual = text == "sentences" or row.training.is_zero_shot or not row.training.reads_text
    return row.training.label if usual else f"{row.training.label}, {text}"


def uncertainty_table(rows: Sequence[Row]) -> str:
    """Whether a method knows where it is wrong: cases where it drew a mask, and all cases by entropy per area."""
    lines = [
        "| images | method | asked with | uncertainty | n | Spearman with the error | Dice of all "
        "| without the least sure tenth | gain over a random tenth | p |",
        "|---|---|---|---|---:|---|---:|---:|---|---:|",
    ]
    kinds = {
        "mean entropy in the mask": lambda case: case.entropy,
        "mutual information in the mask": lambda case: case.information,
        "entropy over area, all cases": lambda case: case.entropy_per_area,
    }
    for row in rows:
        if _is_main(row) or (_is_elsewhere(row) and row.training.share == 100):
            lines += [line for name, of in kinds.items() if (line := _doubt_line(row, name, of))]
    return _joined(lines)


def _doubt_line(row: Row, name: str, of: Callable[[CaseScore], float | None]) -> str | None:
    cases = [case for scored in row.seeds for case in scored.cases if of(case) is not None]
    if len(cases) < 20:
        return None
    scores, doubts = [case.dice for case in cases], [float(of(case) or 0.0) for case in cases]
    order = rank_correlation(doubts, [1 - value for value in scores])
    left = referral(scores, doubts)
    cells = [row.question.dataset, _with_text(row), row.question.design, name, str(len(cases))]
    cells += [f"{order.value:.2f} ({order.interval[0]:.2f} to {order.interval[1]:.2f})", f"{left.all_mean:.3f}"]
    cells += [f"{left.kept_mean:.3f}", _signed(left.kept_mean - left.all_mean, left.interval), f"{left.p:.2g}"]
    return f"| {' | '.join(cells)} |"


def share_table(rows: Sequence[Row]) -> str:
    """How many labels are needed: Dice for each share of the training cases, the whole test list."""
    kept = [row for row in rows if _is_in_shares(row)]
    shares = sorted({row.training.share for row in kept})
    lines = [
        f"| images | method | seeds | {' | '.join(f'{share} %' for share in shares)} |",
        f"|---|---|---|{'---|' * len(shares)}",
    ]
    grouped: dict[tuple[str, str], dict[int, Row]] = defaultdict(dict)
    for row in kept:
        grouped[(row.question.dataset, row.training.label)][row.training.share] = row
    for (dataset, label), found in grouped.items():
        if found.keys() - {100}:
            cells = [_mean(found[share].values(_dice)) if share in found else "-" for share in shares]
            numbers = " / ".join(dict.fromkeys(row.numbers for row in found.values()))
            lines.append(f"| {dataset} | {label} | {numbers} | {' | '.join(cells)} |")
    return _joined(lines)


def _is_in_shares(row: Row) -> bool:
    return _is_told_all(row) and not row.training.is_zero_shot and _on_own_test(row)


def corruption_table(rows: Sequence[Row]) -> str:
    """Trained on clean images, asked about degraded ones: Dice at each strength."""
    lines = [
        "| images | method | corruption | 224 px | 1 | 2 | 3 | 4 | 5 | mean loss |",
        "|---|---|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    grouped: dict[tuple[str, str, str], dict[int, Row]] = defaultdict(dict)
    for row in rows:
        kind, level = row.question.corruption
        if kind and row.training.share == 100:
            grouped[(row.question.dataset, _with_text(row), kind)][level] = row
    for (dataset, label, kind), found in sorted(grouped.items()):
        curve = {level: float(np.mean(row.values(_dice))) for level, row in found.items()}
        cells = [f"{curve[level]:.3f}" if level in curve else "-" for level in range(6)]
        loss = curve.get(0, np.nan) - np.mean([value for level, value in curve.items() if level])
        strengths = ", ".join(f"{strength:g}" for strength in STRENGTHS[kind])
        lines.append(f"| {dataset} | {label} | {kind} ({strengths}) | {' | '.join(cells)} | {loss:.3f} |")
    return _joined(lines)


def in_short(row: Row) -> str:
    """One line for who waits."""
    present, absent = _found(row)
    return f"Dice {_mean(row.values(_dice))}, pooled {row.pooled:.3f}, found {present} (absent: {absent})"


def heading(facts: Facts, frozen: Mapping[str, str]) -> str:
    """Under which conditions the figures hold, and of which frozen weights (SHA-256 by name)."""
    known = sorted({f"{fact['machine']}, {fact['threads']} thread, {fact['versions']}" for fact in facts.values()})
    weights = ", ".join(f"{name} {sha256[:8]}" for name, sha256 in sorted(frozen.items()))
    return "; ".join(known) + (f"; weights {weights}" if weights else "")


def _dice(case: CaseScore) -> float:
    return case.dice


def _present(case: CaseScore) -> bool:
    return case.present


def _pooled(cases: Sequence[CaseScore]) -> float:
    return pooled_dice(
        [case.overlap_px for case in cases],
        [case.predicted_px for case in cases],
        [case.reference_px for case in cases],
    )


def _mean(values: Sequence[float]) -> str:
    found = summarise(values)
    low, high = found.interval or (found.mean, found.mean)
    return f"{found.mean:.3f} ({low:.3f} to {high:.3f})"


def _found(row: Row) -> tuple[str, str]:
    """Share found where present and where absent, over all seeds; a dash where there is no such case."""
    shares = []
    for present in (True, False):
        answers = [case.found for scored in row.seeds for case in scored.cases if case.present == present]
        shares.append(f"{np.mean(answers):.0%}" if answers else "-")
    return shares[0], shares[1]


def _against(row: Row, base: Row | None) -> tuple[str, str]:
    if base is None or base is row:
        return "-", "-"
    compared = compare_paired(base.values(_dice), row.values(_dice))
    return _signed(compared.mean_difference or 0.0, compared.interval or (0.0, 0.0)), f"{compared.wilcoxon_p:.2g}"


def _signed(value: float, interval: tuple[float, float]) -> str:
    return f"{value:+.3f} ({interval[0]:+.3f} to {interval[1]:+.3f})"


def _cost(row: Row, facts: Facts, what: str) -> str:
    known = [facts[scored.training.name][what] for scored in row.seeds if scored.training.name in facts]
    return f"{np.mean(np.asarray(known, float)):,.0f}" if known else "-"


def _joined(lines: Sequence[str]) -> str:
    """Nothing where a table has no rows."""
    return "\n".join(lines) + "\n" if len(lines) > 2 else ""
