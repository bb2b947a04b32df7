"""Uncertainty against scores, on a handful of cases whose answers can be worked out by hand."""

from __future__ import annotations

import pytest

from medclipsam.errors import BadInput
from medclipsam.metrics.reliability import rank_correlation, referral

SCORES = [0.9, 0.8, 0.7, 0.6, 0.5, 0.9, 0.8, 0.7, 0.6, 0.1]


def test_the_same_order_is_one_and_the_opposite_minus_one() -> None:
    assert rank_correlation([1, 2, 3, 4], [10, 20, 30, 400]).value == pytest.approx(1)
    assert rank_correlation([1, 2, 3, 4], [8, 4, 2, 1]).value == pytest.approx(-1)


def test_one_swap_of_neighbours_among_four_costs_a_fifth() -> None:
    assert rank_correlation([1, 2, 3, 4], [1, 3, 2, 4]).value == pytest.approx(1 - 6 * 2 / (4 * 15))


def test_cases_that_are_all_alike_say_nothing() -> None:
    assert rank_correlation([1, 1, 1], [1, 2, 3]).value == 0


def test_the_interval_holds_the_coefficient() -> None:
    found = rank_correlation(SCORES, [1 - score for score in SCORES])
    assert found.interval[0] <= found.value <= found.interval[1] <= 1


def test_referring_the_worst_of_ten_cases_raises_the_mean_of_the_other_nine() -> None:
    found = referral(SCORES, [0.0] * 9 + [1.0])
    assert found.dropped == 1
    assert found.all_mean == pytest.approx(6.6 / 10)
    assert found.kept_mean == pytest.approx(6.5 / 9)
    assert found.p == pytest.approx(0.1, abs=0.03), "a random choice hits the one bad case one time in ten"


def test_being_unsure_of_a_good_case_costs() -> None:
    found = referral(SCORES, [1.0] + [0.0] * 9)
    assert found.kept_mean == pytest.approx(5.7 / 9)
    assert found.p > 0.9


def test_unequal_or_too_few_cases_are_refused() -> None:
    with pytest.raises(BadInput, match="2 and 3 values"):
        rank_correlation([1, 2], [1, 2, 3])
    with pytest.raises(BadInput, match="share of 1"):
        referral(SCORES, SCORES, share=1)
    with pytest.raises(BadInput, match="not finite"):
        referral([0.1, 0.2, float("nan")], [1, 2, 3])
