"""The table of the weights for work: what is at home, what was left out, and what each image is asked."""

from __future__ import annotations

import open_weights
import pytest
from accuracy_asking import Answer
from accuracy_cases import Case

from medclipsam.training.embedded.corpus import Corpus
from medclipsam.training.embedded.open_sources import open_sources
from medclipsam.weights.targets import Figure, Target

HOME, STRANGE = "breast_us_busi", "liver_ct_lits"


def answer(dataset: str, dice: float | None, *, kind: str = "target", found: bool = True) -> Answer:
    return Answer(
        kind=kind,  # type: ignore[arg-type]
        dataset=dataset,
        modality="ct",
        image=f"{dataset} {dice}",
        split="test",
        target="liver",
        text="liver",
        found=found,
        reason="",
        presence=1.0,
        dice=dice,
        seconds=0.0,
    )


def test_folders_of_the_list_are_at_home_and_all_others_were_left_out() -> None:
    answers = [answer(HOME, 0.8), answer(HOME, 0.6), answer(STRANGE, 0.1, found=False)]
    (row,) = open_weights.rows(answers, {HOME})
    assert row.home == Figure(dice=0.7, found=1.0, n=2)
    assert row.left_out == Figure(dice=0.1, found=0.0, n=1)
    assert "| liver | 5 | 2 | 0.700 | 100% | 1 | 0.100 | 0% |" in open_weights.table([row], {"liver": 5})
    listed = "\n".join(open_weights.folders_table(answers, {HOME}))
    assert STRANGE in listed and HOME not in listed
    (told,) = open_weights.measured([Target(target="liver", images=(HOME,))], [row])
    assert (told.home, told.elsewhere) == (row.home, row.left_out)


def test_false_alarms_at_home_and_elsewhere_are_counted_apart() -> None:
    answers = [answer(HOME, None, kind="absent"), answer(STRANGE, None, kind="absent", found=False)]
    lines = "\n".join(open_weights.absent_lines(answers, {HOME}))
    assert "at home: 0% of 1" in lines and "left out: 100% of 1" in lines


@pytest.mark.parametrize(
    ("folder", "asked"), [(HOME, {"a": "target", "b": "absent"}), ("broad_edd2020", {"a": "target"})]
)
def test_what_an_image_lacks_is_asked_for_where_everything_was_drawn(folder: str, asked: dict[str, str]) -> None:
    case = Case(dataset=folder, image="i", masks={"a": "m", "b": "m", "c": "m"}, absent=frozenset({"b"}))
    (planned,) = open_weights.planned([case], ["a", "b"], Corpus.read(), 8)
    assert {question.target: question.kind for question in planned.questions} == asked


def test_every_source_has_its_row() -> None:
    shown = Case(dataset=HOME, image="i", masks={"breast tumor": "m"}, split="train")
    lines = open_weights.sources_table([shown])
    assert len(lines) == 2 + len(open_sources())
    assert lines[2].endswith("| CC0 | 1 | breast tumor |")
