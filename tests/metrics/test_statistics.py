from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from medclipsam.errors import BadInput
from medclipsam.metrics import compare_paired, summarise

scores = st.lists(st.floats(0, 1), min_size=2, max_size=12)


def test_mean_and_spread_of_four_values() -> None:
    summary = summarise([0.2, 0.4, 0.6, 1.0])
    assert (summary.n, summary.n_infinite) == (4, 0)
    assert summary.mean == summary.finite_mean == pytest.approx(0.55)
    assert summary.median == pytest.approx(0.5)
    assert summary.std == pytest.approx(math.sqrt((0.35**2 + 0.15**2 + 0.05**2 + 0.45**2) / 3))


@given(scores, st.integers(0, 9))
def test_the_interval_lies_between_the_extremes_and_repeats_with_its_seed(values: list[float], seed: int) -> None:
    low, high = summarise(values, resamples=50, seed=seed).interval
    assert min(values) - 1e-12 <= low <= high + 1e-12 <= max(values) + 2e-12
    assert summarise(values, resamples=50, seed=seed).interval == (low, high)


def test_another_seed_draws_another_interval() -> None:
    values = np.random.default_rng(0).random(20).tolist()
    assert summarise(values, seed=0).interval != summarise(values, seed=1).interval


def test_the_interval_of_many_values_is_that_of_the_normal_approximation() -> None:
    values = np.random.default_rng(5).normal(0.7, 0.2, 400)
    low, high = summarise(values.tolist(), resamples=2000).interval
    half = 1.96 * values.std(ddof=1) / 20
    assert (low, high) == pytest.approx((values.mean() - half, values.mean() + half), abs=0.003)


def test_one_infinite_distance_makes_the_mean_infinite_and_stays_counted() -> None:
    summary = summarise([1.0, 3.0, math.inf])
    assert summary.mean == math.inf
    assert (summary.std, summary.interval) == (None, None)
    assert (summary.median, summary.n_infinite, summary.finite_mean) == (3.0, 1, 2.0)


def test_only_infinite_distances_have_no_finite_mean() -> None:
    assert summarise([math.inf, math.inf]).finite_mean is None


def test_a_single_case_has_no_spread() -> None:
    summary = summarise([0.5])
    assert (summary.mean, summary.std, summary.interval) == (0.5, None, None)


def test_no_values_and_nan_are_refused() -> None:
    with pytest.raises(BadInput, match="no values"):
        summarise([])
    with pytest.raises(BadInput, match="NaN"):
        summarise([0.5, math.nan])


def test_the_tests_are_those_of_scipy_on_the_pairs() -> None:
    random = np.random.default_rng(3)
    first = random.random(30)
    second = first + random.normal(0.05, 0.1, 30)
    found = compare_paired(first.tolist(), second.tolist())
    assert found.n == 30
    assert found.mean_difference == pytest.approx((second - first).mean())
    assert found.t_p == pytest.approx(stats.ttest_rel(second, first).pvalue)
    assert found.wilcoxon_p == pytest.approx(stats.wilcoxon(second, first).pvalue)
    low, high = found.interval
    assert low < found.mean_difference < high


def test_a_clear_gain_is_significant_and_its_interval_leaves_zero_out() -> None:
    first = np.linspace(0.3, 0.7, 25)
    found = compare_paired(first.tolist(), (first + 0.1 + 0.01 * np.sin(np.arange(25))).tolist())
    assert found.t_p < 1e-6
    assert found.wilcoxon_p < 1e-4
    assert found.interval[0] > 0.09


def test_equal_runs_do_not_differ() -> None:
    found = compare_paired([0.1, 0.5, 0.9], [0.1, 0.5, 0.9])
    assert (found.mean_difference, found.interval, found.t_p, found.wilcoxon_p) == (0, (0, 0), 1, 1)


@settings(max_examples=15)
@given(st.lists(st.floats(0, 1), min_size=2, max_size=6))
def test_exchanging_the_runs_turns_the_difference_round(values: list[float]) -> None:
    shuffled = values[::-1]
    forth, back = compare_paired(values, shuffled, resamples=20), compare_paired(shuffled, values, resamples=20)
    assert forth.mean_difference == pytest.approx(-back.mean_difference)
    assert forth.t_p == pytest.approx(back.t_p)
    assert forth.wilcoxon_p == pytest.approx(back.wilcoxon_p)


def test_pairs_with_an_infinite_distance_are_counted_apart() -> None:
    found = compare_paired([1.0, 2.0, math.inf, 4.0], [2.0, math.inf, math.inf, 6.0])
    assert (found.n, found.n_infinite, found.mean_difference) == (2, 2, 1.5)


def test_one_pair_gives_a_difference_but_no_test() -> None:
    found = compare_paired([0.4], [0.7])
    assert found.mean_difference == pytest.approx(0.3)
    assert (found.interval, found.t_p, found.wilcoxon_p) == (None, None, None)


def test_sequences_of_different_lengths_are_not_pairs() -> None:
    with pytest.raises(BadInput, match="not pairs"):
        compare_paired([0.1], [0.1, 0.2])
