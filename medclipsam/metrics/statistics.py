"""Summarises the scores of many cases, and tests whether two runs over the same cases differ.

Intervals are percentile bootstraps over cases (Efron, 1979) from a seed, so that they can be drawn again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from medclipsam.errors import BadInput

CONFIDENCE = 0.95
RESAMPLES = 1000
DRAWS_AT_ONCE = 2_000_000
"""Bounds the memory of a bootstrap over many cases."""


@dataclass(frozen=True, kw_only=True)
class Summary:
    """One metric over many cases; no case is left out of the mean."""

    n: int
    mean: float
    """Infinite where any value is."""
    std: float | None
    """Standard deviation of the sample (n - 1); None for a single case and where a value is infinite."""
    interval: tuple[float, float] | None
    """Bootstrap interval of the mean at 95 %; None where `std` is."""
    median: float
    n_infinite: int
    finite_mean: float | None
    """The mean of the finite values, to be read with `n_infinite` beside it; None where there is none."""


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Two runs over the same cases, second minus first."""

    n: int
    n_infinite: int
    """Pairs left out because a distance in them is infinite: read the missed cases beside it."""
    mean_difference: float | None
    interval: tuple[float, float] | None
    """Bootstrap interval of the mean difference at 95 %; None under two pairs."""
    t_p: float | None
    """Two-sided p of the paired t-test; None under two pairs."""
    wilcoxon_p: float | None
    """Two-sided p of Wilcoxon's signed-rank test; None under two pairs."""


def summarise(values: Sequence[float], resamples: int = RESAMPLES, seed: int = 0) -> Summary:
    """Mean, spread and interval of one metric.

    Raises:
        BadInput: no values, or one that is NaN.
    """
    numbers = _numbers(values)
    if numbers.size == 0:
        raise BadInput("there are no values to summarise")
    finite = numbers[np.isfinite(numbers)]
    whole = finite.size == numbers.size and numbers.size > 1
    return Summary(
        n=numbers.size,
        mean=float(numbers.mean()),
        std=float(numbers.std(ddof=1)) if whole else None,
        interval=bootstrap_interval(numbers, resamples, seed) if whole else None,
        median=float(np.median(numbers)),
        n_infinite=numbers.size - finite.size,
        finite_mean=float(finite.mean()) if finite.size else None,
    )


def compare_paired(
    first: Sequence[float], second: Sequence[float], resamples: int = RESAMPLES, seed: int = 0
) -> Comparison:
    """Does the second run differ from the first on the same cases in the same order?

    Equal runs have p = 1.

    Raises:
        BadInput: sequences of different lengths, or a value that is NaN.
    """
    before, after = _numbers(first), _numbers(second)
    if before.size != after.size:
        raise BadInput(f"{before.size} and {after.size} values are not pairs")
    finite = np.isfinite(before) & np.isfinite(after)
    differences = after[finite] - before[finite]
    enough = differences.size > 1
    return Comparison(
        n=differences.size,
        n_infinite=before.size - differences.size,
        mean_difference=float(differences.mean()) if differences.size else None,
        interval=bootstrap_interval(differences, resamples, seed) if enough else None,
        t_p=_t_test(differences) if enough else None,
        wilcoxon_p=_wilcoxon(differences) if enough else None,
    )


def bootstrap_interval(values: NDArray[np.float64], resamples: int, seed: int) -> tuple[float, float]:
    """The 95 % percentile interval of the mean of at least two finite values."""
    from scipy import stats  # noqa: PLC0415  (slow to load; who segments needs none)

    drawn = stats.bootstrap(
        (values,),
        np.mean,
        n_resamples=resamples,
        batch=max(1, DRAWS_AT_ONCE // values.size),
        confidence_level=CONFIDENCE,
        method="percentile",
        rng=np.random.default_rng(seed),
    )
    return float(drawn.confidence_interval.low), float(drawn.confidence_interval.high)


def _t_test(differences: NDArray[np.float64]) -> float:
    if np.ptp(differences) == 0 or differences.std() == 0:
        return 0.0 if differences.mean() else 1.0
    from scipy import stats  # noqa: PLC0415  (slow to load; who segments needs none)

    return float(stats.ttest_1samp(differences, 0.0).pvalue)


def _wilcoxon(differences: NDArray[np.float64]) -> float:
    from scipy import stats  # noqa: PLC0415  (slow to load; who segments needs none)

    return float(stats.wilcoxon(differences).pvalue) if differences.any() else 1.0


def _numbers(values: Sequence[float]) -> NDArray[np.float64]:
    numbers = np.asarray(values, np.float64)
    if np.isnan(numbers).any():
        raise BadInput("a value is NaN; scores never are")
    return numbers
