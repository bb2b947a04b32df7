"""Measures whether a method knows where it is wrong: its uncertainty of each case against the case's score.

Two questions: do unsure cases score lower (Spearman's rank correlation), and does a person who looks at the least sure
tenth, and leaves the rest to the method, gain more than by looking at any tenth (referral).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from medclipsam.errors import BadInput
from medclipsam.metrics.statistics import CONFIDENCE, RESAMPLES

Values = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Correlation:
    """How far two orders of the same cases agree."""

    n: int
    value: float
    """Spearman's coefficient in [-1, 1]; 0 where all cases of one side are alike."""
    interval: tuple[float, float]
    """Bootstrap interval over cases at 95 %."""


@dataclass(frozen=True, kw_only=True)
class Referral:
    """What leaving out the least sure cases does to the mean score."""

    n: int
    dropped: int
    all_mean: float
    """The mean of all cases, which is also what is expected after dropping as many at random."""
    kept_mean: float
    """The mean of the cases that are left."""
    interval: tuple[float, float]
    """Bootstrap interval over cases, at 95 %, of `kept_mean - all_mean`."""
    p: float
    """One-sided: the share of random choices of as many cases whose loss raises the mean as much."""


def rank_correlation(
    first: Sequence[float], second: Sequence[float], resamples: int = RESAMPLES, seed: int = 0
) -> Correlation:
    """Spearman's rank correlation of two values of the same cases.

    Raises:
        BadInput: fewer than three cases, sequences of different lengths, or a value that is not finite.
    """
    one, other = _same_cases(first, second)
    return Correlation(
        n=one.size, value=_spearman(one, other), interval=_interval(_spearman, one, other, resamples, seed)
    )


def referral(
    scores: Sequence[float],
    unsure: Sequence[float],
    share: float = 0.1,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Referral:
    """Leave out the least sure share of the cases.

    Args:
        scores: of each case; more is better.
        unsure: of each case; of equal ones the earlier goes first.
        share: between 0 and 1; at least one case is left out.

    Raises:
        BadInput: a share that leaves none, fewer than three cases, sequences of different lengths, or a value that is
            not finite.
    """
    values, doubts = _same_cases(scores, unsure)
    if not 0 < share < 1:
        raise BadInput(f"a share of {share} leaves no cases", "give one between 0 and 1")
    gain = _gain_of(share)
    return Referral(
        n=values.size,
        dropped=_dropped(values.size, share),
        all_mean=float(values.mean()),
        kept_mean=float(values.mean()) + gain(values, doubts),
        interval=_interval(gain, values, doubts, resamples, seed),
        p=_by_chance(gain, values, doubts, resamples, seed),
    )


def _gain_of(share: float) -> Callable[[Values, Values], float]:
    def gain(values: Values, doubts: Values) -> float:
        kept = np.argsort(-doubts, kind="stable")[_dropped(values.size, share) :]
        return float(values[kept].mean() - values.mean())

    return gain


def _dropped(cases: int, share: float) -> int:
    return min(max(1, round(share * cases)), cases - 1)


def _by_chance(
    gain: Callable[[Values, Values], float], values: Values, doubts: Values, resamples: int, seed: int
) -> float:
    """The share of random orders that do as well; the one observed counts as one of them (Phipson and Smyth, 2010)."""
    generator, observed = np.random.default_rng(seed), gain(values, doubts)
    as_good = sum(gain(values, generator.permutation(doubts)) >= observed - 1e-12 for _ in range(resamples))
    return (as_good + 1) / (resamples + 1)


def _spearman(first: Values, second: Values) -> float:
    from scipy import stats  # noqa: PLC0415  (slow to load; who segments needs none)

    if np.ptp(first) == 0 or np.ptp(second) == 0:
        return 0.0
    return float(np.corrcoef(stats.rankdata(first), stats.rankdata(second))[0, 1])


def _interval(
    statistic: Callable[[Values, Values], float], first: Values, second: Values, resamples: int, seed: int
) -> tuple[float, float]:
    """The percentile interval of a statistic of pairs."""
    generator = np.random.default_rng(seed)
    drawn = [
        statistic(first[chosen], second[chosen])
        for chosen in (generator.integers(0, first.size, first.size) for _ in range(resamples))
    ]
    low, high = np.quantile(drawn, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return float(low), float(high)


def _same_cases(first: Sequence[float], second: Sequence[float]) -> tuple[Values, Values]:
    one, other = np.asarray(first, np.float64), np.asarray(second, np.float64)
    if one.size != other.size or one.size < 3:
        raise BadInput(f"{one.size} and {other.size} values are not of the same three or more cases")
    if not (np.isfinite(one).all() and np.isfinite(other).all()):
        raise BadInput("a value is not finite")
    return one, other
