"""The program that fits the confidence finds what was put in, and counts as it says."""

from __future__ import annotations

from dataclasses import replace

import confidence as program
import numpy as np
import pytest


@pytest.fixture
def masks() -> list[program.Mask]:
    """Dice is agreement squared times presence; SAM's score is noise."""
    drawn = np.random.default_rng(0).uniform(0.2, 1, (120, 3))
    return [
        program.Mask(
            group=f"folder{index % 4}: x",
            image=str(index),
            dice=agreement**2 * presence,
            agreement=agreement,
            sam=sam,
            presence=presence,
            contrast=0.5,
        )
        for index, (agreement, presence, sam) in enumerate(drawn.tolist())
    ]


def test_the_fit_finds_the_exponents_that_were_put_in(masks: list[program.Mask]) -> None:
    assert program.fit(masks, program.WITNESSES) == {"agreement": 2.0, "sam": 0.0, "presence": 1.0}
    alone = [replace(mask, dice=mask.agreement**1.5) for mask in masks]
    assert program.fit(alone, ["agreement"]) == {"agreement": 1.5}


def test_the_figures_of_a_perfect_confidence_are_perfect(masks: list[program.Mask]) -> None:
    sure = program.sure(masks, {"agreement": 2.0, "presence": 1.0})
    assert program.scored(masks, sure) == pytest.approx((1, 1, 1, 0))
    assert program.scored(masks, -sure)[:3] == pytest.approx((-1, -1, 0))


def test_auroc_counts_pairs_and_ties_by_half() -> None:
    truth = np.array([0.1, 0.2, 0.9, 0.8])
    assert program.auroc(np.array([0.3, 0.5, 0.5, 0.9]), truth) == pytest.approx(3.5 / 4)
    assert np.isnan(program.auroc(np.ones(2), np.array([0.6, 0.7])))


def test_a_larger_sample_adds_to_a_smaller_one_and_takes_of_every_folder() -> None:
    cases = [program.Case(dataset=folder, image=f"{folder}{k}", masks={}) for folder in "ab" for k in range(9)]
    few, more = (program.drawn(cases, limit, seed=0) for limit in (3, 5))
    assert [case.dataset for case in few] == list("ababab")
    assert more[: len(few)] == few
    assert program.drawn(cases, 3, seed=1) != few


def test_what_is_kept_is_counted(masks: list[program.Mask]) -> None:
    rows = list(program.kept(masks, program.column(masks, "dice")))
    assert rows[2].startswith("| 0.0 | 100% |")
    high = [mask.dice for mask in masks if mask.dice >= 0.5]
    assert rows[3].startswith(f"| 0.5 | {len(high) / 120:.0%} | {np.mean(high):.3f} | 0.0% |")
